import { ROUTE_PROTOCOL } from '../../contract.ts';
import type { Problem } from '../../errors.ts';
import { memo } from '../../memo.ts';
import type { Family } from '../../net/addr.ts';
import { formatAddr, sameAddr } from '../../net/addr.ts';
import type { LeaseView } from '../../subnet/types.ts';
import type { Backend, Desired, HostFacts, PeerPath } from '../backend.ts';
import { forwarding } from '../forwarding.ts';
import { noOptions } from '../no-options.ts';
import { type PeerSubnet, vet } from '../peers.ts';

/** Nothing to configure. */
type HostGwConfig = Readonly<Record<string, never>>;

/** Routes straight to the peers' addresses: no overhead, but every host must be on one link. */
export const hostGw: Backend<HostGwConfig> = {
  type: 'host-gw',
  parse: noOptions,
  check: checkHostGw,
  mtu: (_config, _families, host) => host.uplink.mtu,
  devices: () => [],
  advertise: () => ({ type: 'host-gw', data: new Map() }),
  desired: desiredHostGw,
  paths: hostGwPaths,
};

/** A PublicIP behind a NAT is no gateway: peers would route to an address that is not on the link. */
function checkHostGw(_config: HostGwConfig, families: readonly Family[], host: HostFacts): Problem[] {
  return families.flatMap((family) => {
    const local = host.localAddrs.get(family);
    const seen = host.publicAddrs.get(family);
    if (local && seen && sameAddr(local, seen)) return [];
    const text = local ? formatAddr(local) : `an IPv${family} address of ${host.uplink.name}`;
    return [
      {
        path: family === 4 ? '--public-ip' : '--public-ipv6',
        expected: `${text}, the uplink's own: host-gw does not work behind a NAT`,
        got: seen ? formatAddr(seen) : 'nothing',
      },
    ];
  });
}

function* desiredHostGw(_config: HostGwConfig, view: LeaseView, host: HostFacts): Desired & Generator {
  yield* forwarding(view.network.families.keys(), host);
  for (const vetted of vet(view, host)) {
    if ('problem' in vetted) {
      yield { kind: 'problem', problem: vetted.problem };
      continue;
    }
    const {
      lease,
      subnet,
      endpoints: [endpoint],
    } = vetted.peer;
    if (host.onLink(endpoint)) {
      yield {
        kind: 'route',
        type: 'unicast',
        dst: subnet,
        via: endpoint,
        dev: host.uplink.name,
        onlink: false,
        protocol: ROUTE_PROTOCOL,
      };
    } else {
      const reason = `its address ${formatAddr(endpoint)} is not on the link of ${host.uplink.name}, as host-gw needs`;
      yield { kind: 'problem', problem: { lease, reason } };
    }
  }
}

function* hostGwPaths(
  _config: HostGwConfig,
  view: LeaseView,
  host: HostFacts,
): Generator<PeerPath | undefined> {
  const made = paths(host);
  for (const vetted of vet(view, host)) {
    yield 'peer' in vetted && host.onLink(vetted.peer.endpoints[0]) ? made(vetted.peer) : undefined;
  }
}

const paths = memo(({ uplink: { name: dev, mtu } }: HostFacts) =>
  memo(
    ({ lease: { key }, family, endpoints: [addr] }: PeerSubnet): PeerPath => ({
      key,
      family,
      addr,
      dev,
      mtu,
      offloads: false,
      via: addr,
    }),
  ),
);
