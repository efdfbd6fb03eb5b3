import { ROUTE_PROTOCOL } from '../../contract.ts';
import type { KernelObject } from '../../kernel/types.ts';
import { memo } from '../../memo.ts';
import type { Family } from '../../net/addr.ts';
import type { Mac } from '../../net/mac.ts';
import { hostPrefix } from '../../net/prefix.ts';
import type { Lease, LeaseView } from '../../subnet/types.ts';
import { subnetOf } from '../../subnet/types.ts';
import type { Desired, HostFacts, PeerPath, PeerProblem } from '../backend.ts';
import { forwarding } from '../forwarding.ts';
import { type PeerSubnet, vet } from '../peers.ts';
import type { VxlanConfig } from './config.ts';
import { deviceLink, deviceMtu, deviceName } from './device.ts';
import { parseVtep } from './vtep.ts';

/**
 * The kernel state of a vxlan overlay. Three tables take a packet to a pod of a peer, each asked for what the one
 * before it found:
 *
 *   route       10.5.9.0/24 via 10.5.9.0 dev flannel.1 onlink   which peer: its subnet address stands for it
 *   neighbour   10.5.9.0 lladdr <VtepMAC>                       the inner destination MAC, which the peer accepts
 *   FDB         <VtepMAC> dst <PublicIP>                        the outer destination address
 *
 * All three are written ahead, so the kernel never asks anybody.
 */
export function* desiredVxlan(config: VxlanConfig, view: LeaseView, host: HostFacts): Desired & Generator {
  const families = [...view.network.families.keys()];
  yield* forwarding(families, host);
  const ends = new Map<Family, VtepOwners>();
  for (const family of families) {
    const link = deviceLink(config, family, host);
    if (!link) continue;
    ends.set(family, new Map([[link.mac, undefined]]));
    yield link;
    // A router advertisement from inside the overlay must not make us a default route.
    yield { kind: 'sysctl', path: `net/ipv6/conf/${link.name}/accept_ra`, value: '0', dev: link.name };
    // A host address, so that no broadcast or connected route comes with it: only the source of this host's own packets.
    const own = subnetOf(view.self, family);
    if (own) yield { kind: 'address', dev: link.name, addr: hostPrefix(own.addr) };
  }
  for (const found of served(config, view, host, ends)) {
    if ('problem' in found) yield { kind: 'problem', problem: found.problem };
    else yield* found.objects;
  }
}

/** Where packets to each peer go. */
export function* vxlanPaths(
  config: VxlanConfig,
  view: LeaseView,
  host: HostFacts,
): Generator<PeerPath | undefined> {
  const ends = new Map<Family, VtepOwners>();
  for (const family of view.network.families.keys()) {
    const link = deviceLink(config, family, host);
    if (link) ends.set(family, new Map([[link.mac, undefined]]));
  }
  for (const found of served(config, view, host, ends)) yield 'problem' in found ? undefined : found.path;
}

/** What each peer makes of the kernel, or why it does not. `ends`: by family, whose tunnel MACs are known already. */
function* served(
  config: VxlanConfig,
  view: LeaseView,
  host: HostFacts,
  ends: ReadonlyMap<Family, VtepOwners>,
): Generator<PeerWish | { readonly problem: PeerProblem }> {
  const made = wishes(config)(host);
  for (const vetted of vet(view, host)) {
    if ('problem' in vetted) {
      yield vetted;
      continue;
    }
    const { peer } = vetted;
    const owners = ends.get(peer.family);
    if (!owners) continue;
    const wish = made(peer);
    const reason = 'wrong' in wish ? wish.wrong : claimed(owners, wish.vtep, peer.lease);
    if (reason !== undefined) yield { problem: { lease: peer.lease, reason } };
    else yield wish as PeerWish;
  }
}

/** Whose a tunnel MAC is (undefined: ours); two peers with one MAC would share one FDB entry. */
type VtepOwners = Map<Mac, Lease | undefined>;

/** Why a MAC cannot be this lease's, if somebody else has it; else it is from now on. */
function claimed(owners: VtepOwners, vtep: Mac, lease: Lease): string | undefined {
  if (!owners.has(vtep)) {
    owners.set(vtep, lease);
    return undefined;
  }
  const owner = owners.get(vtep);
  return `its VtepMAC ${vtep} belongs to ${owner ? `the older lease ${owner.key}` : 'this host'}`;
}

/** What a peer makes of the kernel, as long as nobody has its MAC. */
interface PeerWish {
  readonly vtep: Mac;
  readonly objects: readonly KernelObject[];
  readonly path: PeerPath;
}

/** By peer. The same objects for as long as nothing of it has changed. */
const wishes = memo((config: VxlanConfig) => {
  const devices = { 4: deviceName(config, 4), 6: deviceName(config, 6) };
  return memo((host: HostFacts) => memo((peer: PeerSubnet) => wishOf(config, devices, host, peer)));
});

function wishOf(
  config: VxlanConfig,
  devices: Readonly<Record<Family, string>>,
  host: HostFacts,
  { lease: { key }, family, subnet, endpoints: [endpoint], data }: PeerSubnet,
): PeerWish | { readonly wrong: string } {
  const vtep = parseVtep(data, config.vni);
  if ('wrong' in vtep) return vtep;
  const { mac } = vtep;
  const route = { kind: 'route', type: 'unicast', dst: subnet, protocol: ROUTE_PROTOCOL } as const;
  const end = subnet.addr;
  if (config.directRouting && host.onLink(endpoint)) {
    const { name: dev, mtu } = host.uplink;
    return {
      vtep: mac,
      objects: [{ ...route, via: endpoint, dev, onlink: false }],
      // The peer answers at its end of the tunnel, but neither side's packets go through it.
      path: { key, family, addr: end, dev, mtu, offloads: false, via: endpoint },
    };
  }
  const dev = devices[family];
  return {
    vtep: mac,
    path: {
      key,
      family,
      addr: end,
      dev,
      mtu: deviceMtu(config, family, host),
      offloads: true,
      via: endpoint,
      mac,
    },
    objects: [
      { kind: 'neigh', dev, addr: end, mac },
      { kind: 'fdb', dev, mac, dst: endpoint },
      { ...route, via: end, dev, onlink: true },
    ],
  };
}
