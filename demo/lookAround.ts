import { ROUTE_PROTOCOL } from '../src/contract.ts';
import type { Cluster } from '../test/support/cluster.ts';
import { LODEN } from '../test/support/host.ts';

/** What to type to look at a demo that was kept, and to remove it. */
export function lookAround(cluster: Cluster, backend: string): string {
  const device = backend === 'vxlan' ? 'flannel.1' : backend === 'udp' ? 'flannel0' : undefined;
  const something = device ? `link del ${device}` : `route flush proto ${ROUTE_PROTOCOL}`;
  const host = cluster.hosts[0]!;
  const inside = `ip netns exec ${host.netns.name}`;
  return `
It is left running. On ${host.name}, for example:

  ${inside} ip -d addr
  ${inside} ip route
  ${inside} bridge fdb show
  ${LODEN} leases --run-dir ${host.runDir}
  tail -f ${host.logFile}
  ip netns exec ${cluster.etcd.at.netns.name} env ETCDCTL_API=3 etcdctl get --prefix /coreos.com/network

Take something away and see it come back:

  ${inside} ip ${something}

Remove it all:

  npm run demo -- --remove
`;
}
