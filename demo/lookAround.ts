import { join } from 'node:path';
import { ROUTE_PROTOCOL } from '../src/contract.ts';
import type { Cluster } from '../test/support/cluster.ts';
import { type Host, LODEN } from '../test/support/host.ts';
import { Workload } from '../test/support/workload.ts';

/** Where daemons serve metrics and the page. */
export const METRICS_PORT = 9459;

/** Where a host's network configuration for the plugin is. */
export const configFile = (host: Host): string => join(host.dir, 'pods.json');

/** What to type to look at a demo that was kept, and to remove it; `far` is a pod on another than the first host. */
export function lookAround(cluster: Cluster, far: Workload, backend: string): string {
  const device = backend === 'vxlan' ? 'flannel.1' : backend === 'udp' ? 'flannel0' : undefined;
  const something = device ? `link del ${device}` : `route flush proto ${ROUTE_PROTOCOL}`;
  const host = cluster.hosts[0]!;
  const inside = `ip netns exec ${host.netns.name}`;
  // By its name it belongs to the demo, and goes with it.
  const name = host.netns.owner.netnsName('mine');
  const { plugin, container } = Workload.attaching(host, { name, path: `/run/netns/${name}` });
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

See the page of ${host.name} (a browser as root needs --no-sandbox), or what it reads:

  ${inside} chromium --no-sandbox http://127.0.0.1:${METRICS_PORT}/
  ${inside} busybox wget -qO- http://127.0.0.1:${METRICS_PORT}/v1/matrix

Attach a pod of your own, as a container runtime does, let it reach another host's, and detach it:

  ip netns add ${name}
  ${plugin.shell('ADD', container, configFile(host))}
  ip netns exec ${name} busybox ping -c 3 ${far.addr(4)}
  ${plugin.shell('DEL', container, configFile(host))}

Remove it all:

  npm run demo -- --remove
`;
}
