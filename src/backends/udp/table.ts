import { TUN_DEVICE } from '../../contract.ts';
import { memo } from '../../memo.ts';
import { formatPrefix, network } from '../../net/prefix.ts';
import type { Lease, LeaseView } from '../../subnet/types.ts';
import type { ForwarderPeer, ForwarderTable, Forwarding, HostFacts, SlotBook } from '../backend.ts';
import { type PeerSubnet, vetAnyFamily } from '../peers.ts';
import type { UdpConfig } from './config.ts';
import { deviceMtu } from './device.ts';
import { assignSlots } from './slots.ts';
import { tableEncoding } from './tableBytes.ts';

/** The name by which a peer keeps its slot: nobody else can have its first prefix. A table read back tells it too. */
export const slotName = (peer: Pick<ForwarderPeer, 'prefixes'>): string => formatPrefix(peer.prefixes[0]!);

/** The slots of a table that was in force before. */
export const slotsOf = (peers: readonly ForwarderPeer[]): SlotBook => ({
  slots: new Map(peers.filter((p) => p.prefixes.length > 0).map((p) => [slotName(p), p.slot])),
  last: peers.reduce((last, { slot }) => Math.max(last, slot), -1),
});

/** What the forwarder is to do for a view: our own ends, and who is where. A lease is one peer, whatever its families. */
export function* udpForwarding(
  { port }: UdpConfig,
  view: LeaseView,
  host: HostFacts,
  before: SlotBook,
): Generator<void, { readonly forwarding: Forwarding; readonly slots: SlotBook }> {
  const families = [...view.network.families.keys()];
  const byLease = new Map<Lease, PeerSubnet[]>();
  for (const vetted of vetAnyFamily(view, host)) {
    yield;
    if ('problem' in vetted) continue;
    const those = byLease.get(vetted.peer.lease);
    if (those) those.push(vetted.peer);
    else byLease.set(vetted.peer.lease, [vetted.peer]);
  }
  const named = Array.from(byLease.values(), (subnets) => ({ name: nameOf(subnets[0]!), subnets }));
  const slots = assignSlots(
    before,
    named.map(({ name }) => name),
  );
  const peers: ForwarderPeer[] = [];
  for (const { name, subnets } of named) {
    yield;
    const slot = slots.slots.get(name);
    if (slot === undefined) continue;
    peers.push({
      slot,
      endpoints: subnets[0]!.endpoints,
      prefixes: subnets.map(({ subnet }) => network(subnet)),
    });
  }
  const own = view.self.subnets.filter(({ addr }) => families.includes(addr.family));
  const table: ForwarderTable = {
    mtu: deviceMtu(families, host),
    tun: own.map(({ addr }) => addr),
    own: own.map(network),
    peers,
  };
  // Its bytes are wanted at once when it is put in force.
  yield* tableEncoding(table);
  return {
    forwarding: {
      device: TUN_DEVICE,
      port,
      local: families.flatMap((family) => host.localAddrs.get(family) ?? []),
      table,
    },
    slots,
  };
}

const nameOf = memo((peer: PeerSubnet): string => slotName({ prefixes: [network(peer.subnet)] }));
