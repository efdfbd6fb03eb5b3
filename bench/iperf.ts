import type { Netns } from '../test/support/netns.ts';
import { busySeconds } from './procStats.ts';

export const IPERF_PORT = 5202;

interface Sum {
  readonly bits_per_second: number;
  readonly bytes: number;
}
interface Report {
  readonly end: {
    readonly sum_received: Sum;
    readonly sum_received_bidir_reverse?: Sum;
    readonly sum_sent: { readonly retransmits?: number };
    readonly sender_tcp_congestion: string;
  };
}

/** TCP by iperf3, as its receivers counted it; both ways are added. */
export interface IperfResult {
  readonly bitsPerSecond: number;
  readonly bytes: number;
  /** Of the whole machine while iperf3 ran. */
  readonly cpuSeconds: number;
  readonly retransmits: number;
  readonly congestion: string;
}

/** `seconds` are rounded: iperf3 knows whole ones only. */
export async function iperf(
  from: Netns,
  address: string,
  options: { seconds: number; streams: number; bothWays: boolean; congestion: string },
): Promise<IperfResult> {
  const seconds = Math.max(1, Math.round(options.seconds));
  const busy = busySeconds();
  const out = await from.run(
    [
      ...['iperf3', '--json', '--client', address, '--port', String(IPERF_PORT), '--connect-timeout', '3000'],
      ...['--time', String(seconds), '--congestion', options.congestion],
      ...['--parallel', String(options.streams), ...(options.bothWays ? ['--bidir'] : [])],
    ],
    { timeout: (seconds + 20) * 1000 },
  );
  const cpuSeconds = busySeconds() - busy;
  const { end } = JSON.parse(out) as Report;
  const sums = [
    end.sum_received,
    ...(end.sum_received_bidir_reverse ? [end.sum_received_bidir_reverse] : []),
  ];
  const total = (of: keyof Sum) => sums.reduce((sum, each) => sum + each[of], 0);
  return {
    bitsPerSecond: total('bits_per_second'),
    bytes: total('bytes'),
    cpuSeconds,
    retransmits: end.sum_sent.retransmits ?? 0,
    congestion: end.sender_tcp_congestion,
  };
}
