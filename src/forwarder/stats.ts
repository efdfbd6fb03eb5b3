import type { CounterName, ForwarderAddon } from '../native/forwarder.ts';
import { formatPrefix } from '../net/prefix.ts';
import type { Forwarder } from './forwarder.ts';
import { refusedOffloads } from './words.ts';

/** Drops by reason; those that never happened are left out. */
type Drops = Readonly<Record<string, number>>;

/** The `forwarder` section of `/v1/status`. Counters go on across restarts, until the run directory is emptied. */
export interface ForwarderJson {
  readonly running: boolean;
  readonly threads: number;
  /** Offloads that this kernel does not do for us. */
  readonly refused: readonly string[];
  readonly counters: Readonly<Record<string, number>>;
  readonly drops: { readonly out: Drops; readonly in: Drops };
  readonly ratios: {
    /** Packets to peers, for each message to the socket, and for each system call. */
    readonly packetsPerTrain: number | null;
    readonly packetsPerSendCall: number | null;
    /** Packets from peers, for each message from the socket, and for each write to the device. */
    readonly packetsPerDatagram: number | null;
    readonly packetsPerSuper: number | null;
  };
}

const ratio = (a = 0, b = 0): number | null => (b === 0 ? null : Math.round((a / b) * 100) / 100);

const named = (names: readonly CounterName[], values: BigUint64Array, from: number): [string, number][] =>
  names.map(({ name }, i) => [name, Number(values[from + i] ?? 0n)]);

/** Null for a forwarder that has nothing to do. */
export function forwarderJson(forwarder: Forwarder, addon: ForwarderAddon): ForwarderJson | null {
  if (!forwarder.native || !forwarder.table) return null;
  const { counters: names, drops } = addon.forwarderLayout();
  const values = forwarder.native.counters();
  const counters = Object.fromEntries(named(names, values, 0));
  const dropsAt = (from: number): Drops =>
    Object.fromEntries(named(drops, values, from).filter(([, n]) => n > 0));
  return {
    running: forwarder.running,
    threads: forwarder.threads,
    refused: refusedOffloads(forwarder.ability),
    counters,
    drops: { out: dropsAt(names.length), in: dropsAt(names.length + drops.length) },
    ratios: {
      packetsPerTrain: ratio(counters.out_packets, counters.out_trains),
      packetsPerSendCall: ratio(counters.out_packets, counters.out_calls),
      packetsPerDatagram: ratio(counters.in_packets, counters.in_datagrams),
      packetsPerSuper: ratio(counters.in_packets, counters.in_supers),
    },
  };
}

/** `GET /v1/forwarder/peers`: what went to and came from each peer, as pieces of a JSON text. */
export function* peersText(forwarder: Forwarder): Generator<string> {
  const peers = forwarder.table?.peers ?? [];
  const counts = forwarder.native?.peerCounters(Uint32Array.from(peers, (p) => p.slot));
  yield '[';
  for (const [i, { prefixes }] of peers.entries()) {
    const [outPackets, outBytes, inPackets, inBytes] = Array.from({ length: 4 }, (_, k) =>
      Number(counts?.[4 * i + k] ?? 0n),
    );
    const row = { subnets: prefixes.map(formatPrefix), outPackets, outBytes, inPackets, inBytes };
    yield `${i === 0 ? '' : ','}\n${JSON.stringify(row)}`;
  }
  yield ']\n';
}
