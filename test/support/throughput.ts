import { join } from 'node:path';
import type { Netns } from './netns.ts';

export interface Throughput {
  /** Bits per second that arrived. */
  readonly bitsPerSecond: number;
  readonly bytes: number;
  readonly seconds: number;
  readonly retransmits: number;
  readonly congestion: string;
}
let count = 0;

/** One TCP stream by iperf3 with cubic (the machine's default may be another), as the receiver counted it. */
export async function tcpThroughput(
  from: Netns,
  to: Netns,
  address: string,
  options: { seconds: number; dir: string; port?: number },
): Promise<Throughput> {
  const port = String(options.port ?? 5201);
  await using server = await to.start(
    ['iperf3', '--server', '--one-off', '--forceflush', '--bind', address, '--port', port],
    { log: join(options.dir, `iperf3-${++count}.log`) },
  );
  await server.saying(/Server listening/);
  const out = await from.run(
    [
      ...['iperf3', '--json', '--client', address, '--port', port, '--time', String(options.seconds)],
      ...['--congestion', 'cubic', '--connect-timeout', '3000'],
    ],
    { timeout: (options.seconds + 15) * 1000 },
  );
  const { end } = JSON.parse(out) as {
    end: {
      sum_received: { bits_per_second: number; bytes: number; seconds: number };
      sum_sent: { retransmits?: number };
      sender_tcp_congestion?: string;
    };
  };
  return {
    bitsPerSecond: end.sum_received.bits_per_second,
    bytes: end.sum_received.bytes,
    seconds: end.sum_received.seconds,
    retransmits: end.sum_sent.retransmits ?? 0,
    congestion: end.sender_tcp_congestion ?? 'unknown',
  };
}
