import { ROUTE_PROTOCOL } from '../../contract.ts';
import type { KernelObject } from '../../kernel/types.ts';
import type { Family } from '../../net/addr.ts';
import type { Mac } from '../../net/mac.ts';
import { hostPrefix } from '../../net/prefix.ts';
import type { Lease, LeaseView } from '../../subnet/types.ts';
import { subnetOf } from '../../subnet/types.ts';
import type { Desired, HostFacts } from '../backend.ts';
import { forwarding } from '../forwarding.ts';
import { type PeerSubnet, vet } from '../peers.ts';
import type { VxlanConfig } from './config.ts';
import { deviceLink, deviceName } from './device.ts';
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
  for (const vetted of vet(view, 'vxlan', host)) {
    if ('problem' in vetted) {
      yield { kind: 'problem', problem: vetted.problem };
      continue;
    }
    const { peer } = vetted;
    const owners = ends.get(peer.family);
    if (!owners) continue;
    const vtep = claimVtep(peer, config.vni, owners);
    if (typeof vtep === 'object') {
      yield { kind: 'problem', problem: { lease: peer.lease, reason: vtep.wrong } };
    } else if (config.directRouting && host.onLink(peer.endpoint)) {
      yield { ...route(peer), via: peer.endpoint, dev: host.uplink.name, onlink: false };
    } else {
      yield* tunnel(peer, vtep, deviceName(config, peer.family));
    }
  }
}

/** Whose a tunnel MAC is (undefined: ours); two peers with one MAC would share one FDB entry. */
type VtepOwners = Map<Mac, Lease | undefined>;

function claimVtep(peer: PeerSubnet, vni: number, owners: VtepOwners): Mac | { readonly wrong: string } {
  const vtep = parseVtep(peer.data, vni);
  if ('wrong' in vtep) return vtep;
  if (owners.has(vtep.mac)) {
    const owner = owners.get(vtep.mac);
    return {
      wrong: `its VtepMAC ${vtep.mac} belongs to ${owner ? `the older lease ${owner.key}` : 'this host'}`,
    };
  }
  owners.set(vtep.mac, peer.lease);
  return vtep.mac;
}

const route = (peer: PeerSubnet) =>
  ({ kind: 'route', type: 'unicast', dst: peer.subnet, protocol: ROUTE_PROTOCOL }) as const;

function* tunnel(peer: PeerSubnet, mac: Mac, dev: string): Generator<KernelObject> {
  const end = peer.subnet.addr;
  yield { kind: 'neigh', dev, addr: end, mac };
  yield { kind: 'fdb', dev, mac, dst: peer.endpoint };
  yield { ...route(peer), via: end, dev, onlink: true };
}
