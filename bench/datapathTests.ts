import { LOSS_BELOW, type TestName } from './datapathFigures.ts';
import { NETLOAD, type Pair, PINNED_PORT, PORT } from './datapathPairs.ts';
import { iperf } from './iperf.ts';

export interface Times {
  /** Measured, of each test; round trips take half of it. */
  readonly seconds: number;
  /** Before that. */
  readonly warm: number;
}

interface TcpResult {
  readonly seconds: number;
  readonly bytesOut: number;
  readonly bytesIn: number;
  readonly cpuSeconds: number;
  readonly retransmits: number;
  readonly congestion: string;
}
interface UdpResult {
  readonly sent: number;
  readonly received: number;
  readonly overflowed: number;
  readonly seconds: number;
}
interface RttResult {
  readonly count: number;
  readonly lost: number;
  readonly p50: number;
  readonly p99: number;
}

const CONGESTION = 'cubic';

/** Run netload's client in the first pod; `pinned`: it and the server on different CPUs. */
async function load<T>(
  pair: Pair,
  command: string,
  options: readonly string[],
  times: Times,
  pinned = false,
): Promise<T> {
  const seconds = times.seconds + times.warm;
  const [before, port] = pinned ? [['taskset', '-c', '0'], PINNED_PORT] : [[], PORT];
  const out = await pair.from.run(
    [...before, ...[NETLOAD, command, '--to', pair.address, '--port', String(port)], ...options],
    { timeout: (seconds + 20) * 1000 },
  );
  return JSON.parse(out) as T;
}

/** Each figure of TCP by the tool that everybody has; how it fares on fast paths differs from moment to moment: see `steady`. */
const tcp =
  (streams: number, bothWays: boolean) =>
  async (pair: Pair, times: Times): Promise<Record<string, number>> => {
    const options = { seconds: times.seconds, streams, bothWays, congestion: CONGESTION };
    const result = await iperf(pair.from, pair.address, options);
    return { gbps: result.bitsPerSecond / 1e9, ...priced(result) };
  };

/** By netload: a thread for each connection's end, and only what comes after warming up. */
const steady =
  (out: number, back: number) =>
  async (pair: Pair, times: Times): Promise<Record<string, number>> => {
    const result = await load<TcpResult>(
      pair,
      'tcp',
      [
        ...['--out', String(out), '--in', String(back), '--congestion', CONGESTION],
        ...['--seconds', String(times.seconds), '--warm', String(times.warm)],
      ],
      times,
    );
    const bytes = result.bytesOut + result.bytesIn;
    return { gbps: (bytes * 8) / result.seconds / 1e9, ...priced({ ...result, bytes }) };
  };

/** CPU seconds per GB (10^9 bytes), if it carried any; throws if it was not the congestion control that was named. */
function priced(result: {
  readonly bytes: number;
  readonly cpuSeconds: number;
  readonly retransmits: number;
  readonly congestion: string;
}): Record<string, number> {
  const { bytes, cpuSeconds, retransmits, congestion } = result;
  if (congestion !== CONGESTION) throw new Error(`congestion control was ${congestion}`);
  return { ...(bytes > 0 ? { cpuPerGB: cpuSeconds / (bytes / 1e9) } : {}), retransmits };
}

interface Delivered {
  /** Thousands a second, as they arrived. */
  readonly kpps: number;
  /** Per cent of what was sent. */
  readonly loss: number;
  /** How much of that was at the receiving socket. */
  readonly overflowed: number;
  readonly offered: number;
}

/** One flow of datagrams: as fast as they go, or `rate` thousands a second. */
async function datagrams(pair: Pair, size: number, times: Times, rate?: number): Promise<Delivered> {
  const args = ['--size', String(size), '--seconds', String(times.seconds)];
  if (rate !== undefined) args.push('--rate', String(Math.max(1, Math.round(rate * 1e3))));
  const { sent, received, overflowed, seconds } = await load<UdpResult>(pair, 'udp', args, times);
  return {
    kpps: seconds > 0 ? received / seconds / 1e3 : 0,
    loss: sent > 0 ? (1 - received / sent) * 100 : 0,
    overflowed: sent > 0 ? (overflowed / sent) * 100 : 0,
    offered: sent / times.seconds / 1e3,
  };
}

const udp =
  (size: number) =>
  async (pair: Pair, times: Times): Promise<Record<string, number>> => ({
    ...(await datagrams(pair, size, times)),
  });

/** Slower and slower until hardly any is lost: that many of what arrives when too many are sent, at the first try. */
const STEPS = [1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.35, 0.2];

/** As fast as they go, and the most that get through with a loss below `LOSS_BELOW`, for a quarter of the time each. */
const udpClean =
  (size: number) =>
  async (pair: Pair, times: Times): Promise<Record<string, number>> => {
    const flood = await datagrams(pair, size, times);
    if (flood.loss < LOSS_BELOW) return { ...flood, clean: flood.kpps };
    const short = { ...times, seconds: times.seconds / 4 };
    for (const step of STEPS) {
      const paced = await datagrams(pair, size, short, flood.kpps * step);
      if (paced.loss < LOSS_BELOW) return { ...flood, clean: paced.kpps };
    }
    return { ...flood };
  };

/**
 * Awake, and the two ends on different CPUs, as the ends of a network are: left to the scheduler, a server now runs on the
 * client's CPU and now does not, which makes more of a difference than what is measured.
 */
const rtt =
  (options: { udp: boolean; awake: boolean }) =>
  async (pair: Pair, times: Times): Promise<Record<string, number>> => {
    const args = ['--seconds', String(times.seconds / 2), '--warm', String(times.warm / 2)];
    if (options.udp) args.push('--udp');
    if (options.awake) args.push('--awake');
    const result = await load<RttResult>(pair, 'rtt', args, times, options.awake);
    return { p50: result.p50, p99: result.p99, lost: result.lost, count: result.count };
  };

/** What each test does with a pair; resolves to figures by name, those of FIGURES and some more. */
export const RUN: Readonly<Record<TestName, (pair: Pair, times: Times) => Promise<Record<string, number>>>> =
  {
    tcp1: tcp(1, false),
    tcp4: tcp(4, false),
    both: tcp(1, true),
    steady1: steady(1, 0),
    steady4: steady(4, 0),
    steadyBoth: steady(1, 1),
    udp64: udpClean(64),
    udp1400: udp(1400),
    rttTcp: rtt({ udp: false, awake: true }),
    rttUdp: rtt({ udp: true, awake: true }),
    rttTcpIdle: rtt({ udp: false, awake: false }),
    rttUdpIdle: rtt({ udp: true, awake: false }),
  };
