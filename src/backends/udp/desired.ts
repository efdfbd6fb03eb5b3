import { ROUTE_PROTOCOL, TUN_DEVICE } from '../../contract.ts';
import type { KernelObject, Route, Sysctl } from '../../kernel/types.ts';
import { memo } from '../../memo.ts';
import type { Family } from '../../net/addr.ts';
import { hostPrefix, network, type Prefix } from '../../net/prefix.ts';
import type { LeaseView, NetworkConfig } from '../../subnet/types.ts';
import { subnetOf } from '../../subnet/types.ts';
import type { Desired, HostFacts, PeerPath } from '../backend.ts';
import { forwarding } from '../forwarding.ts';
import { type PeerSubnet, vetAnyFamily } from '../peers.ts';
import type { UdpConfig } from './config.ts';
import { deviceLink, deviceMtu } from './device.ts';

/**
 * The kernel's part of a udp overlay: a TUN device, and a route through it to the whole network. Who is where, the kernel need
 * not know: see {@link ./table.ts}. What is in no bridge of this host goes to the forwarder too, which says that it is
 * unreachable.
 */
export function* desiredUdp(_config: UdpConfig, view: LeaseView, host: HostFacts): Desired & Generator {
  const families = [...view.network.families.keys()];
  yield* forwarding(families, host);
  yield deviceLink(families, host);
  for (const family of families) yield sysctl(family);
  for (const [family, { network: range }] of view.network.families) yield* inFamily(family, range, view);
  for (const vetted of vetAnyFamily(view, host)) {
    if ('problem' in vetted) yield { kind: 'problem', problem: vetted.problem };
  }
}

function* inFamily(
  family: Family,
  range: Parameters<typeof network>[0],
  { self }: LeaseView,
): Generator<KernelObject> {
  const own = subnetOf(self, family);
  // A host address, so that no broadcast or connected route comes with it: only the source of this host's own packets.
  if (own) yield { kind: 'address', dev: TUN_DEVICE, addr: hostPrefix(own.addr) };
  yield {
    kind: 'route',
    type: 'unicast',
    dst: network(range),
    dev: TUN_DEVICE,
    onlink: false,
    protocol: ROUTE_PROTOCOL,
    ...(own ? { home: [network(own)] } : {}),
  };
}

/**
 * IPv4: the forwarder's ICMP errors come in by the device from the device's own address, which the kernel would otherwise
 * take for forged. IPv6: a router advertisement from inside the overlay must not make us a default route.
 */
const sysctl = (family: Family): Sysctl =>
  family === 4
    ? { kind: 'sysctl', path: `net/ipv4/conf/${TUN_DEVICE}/accept_local`, value: '1', dev: TUN_DEVICE }
    : { kind: 'sysctl', path: `net/ipv6/conf/${TUN_DEVICE}/accept_ra`, value: '0', dev: TUN_DEVICE };

/** Where packets to each peer go: flannel's device has the subnet's own address too. */
export function* udpPaths(
  _config: UdpConfig,
  view: LeaseView,
  host: HostFacts,
): Generator<PeerPath | undefined> {
  const made = paths(view.network)(host);
  for (const vetted of vetAnyFamily(view, host)) yield 'peer' in vetted ? made(vetted.peer) : undefined;
}

const paths = memo(({ families }: NetworkConfig) =>
  memo((host: HostFacts) => {
    const mtu = deviceMtu([...families.keys()], host);
    return memo(
      ({ lease: { key }, family, subnet: { addr }, endpoints: [via] }: PeerSubnet): PeerPath => ({
        key,
        family,
        addr,
        dev: TUN_DEVICE,
        mtu,
        offloads: false,
        via,
      }),
    );
  }),
);

/** Beside the route to the whole network, and as that. */
export const udpRoute = memo(
  (subnet: Prefix): Route => ({
    kind: 'route',
    type: 'unicast',
    dst: network(subnet),
    dev: TUN_DEVICE,
    onlink: false,
    protocol: ROUTE_PROTOCOL,
  }),
);
