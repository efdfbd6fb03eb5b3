import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Netns } from './netns.ts';
import { ping } from './ping.ts';
import type { Proc } from './proc.ts';

const LOSSMETER = fileURLToPath(new URL('../../build/native/lossmeter', import.meta.url));

/** What became of a stream of numbered datagrams. */
export interface Loss {
  /** How many there were. */
  readonly numbers: number;
  readonly received: number;
  readonly lost: number;
  readonly doubled: number;
  readonly reordered: number;
  /** The longest time without an arrival, by the receiving kernel's timestamps. */
  readonly longestGapMs: number;
  /** The most datagrams lost in a row. */
  readonly longestLossRun: number;
  /** The receiver heard the end: `lost` includes what was lost last. */
  readonly ended: boolean;
  /** Datagrams that the sending host itself refused (no route, …), by errno; they count as lost. */
  readonly errors: Readonly<Record<string, number>>;
  readonly durationMs: number;
}

export interface LossOptions {
  /** What happens meanwhile. The stream runs before it begins and ends when it has ended. */
  readonly during: () => Promise<unknown>;
  /** A directory for the meters' output. */
  readonly dir: string;
  /** Datagrams a second; 1000. */
  readonly rate?: number;
  readonly port?: number;
  /** UDP payload, bytes; 64. */
  readonly size?: number;
}

let streams = 0;

/** Numbered UDP datagrams from one namespace to an address in another, while something happens: how many are lost? */
export async function measureLoss(
  from: Netns,
  to: Netns,
  address: string,
  options: LossOptions,
): Promise<Loss> {
  const { rate = 1000, port = 5300, size = 64 } = options;
  const id = String((process.pid % 10_000) * 100_000 + (++streams % 100_000));
  const log = (half: string) => ({ log: join(options.dir, `loss-${id}-${half}.log`) });
  const common = ['--port', String(port), '--id', id];
  // Neighbour discovery is not what is measured.
  await ping(from, address);
  await using receiver = await to.start([LOSSMETER, 'receive', ...common, '--bind', address], log('receive'));
  await receiver.saying(/listening/);
  await using sender = await from.start(
    [
      LOSSMETER,
      'send',
      '--to',
      address,
      ...common,
      '--rate',
      String(rate),
      '--size',
      String(size),
      '--seconds',
      '3600',
    ],
    log('send'),
  );
  await sender.saying(/sending/);
  await options.during();
  // Told to stop, it tells the receiver how many there were.
  const sent = await result(sender, 'SIGTERM');
  const received = await result(receiver, undefined);
  if (received.droppedHere !== 0) {
    throw new Error(`the meter itself lost ${received.droppedHere} datagrams: this is no measurement`);
  }
  return { ...(received as unknown as Loss), errors: sent.errors as Record<string, number> };
}

/** Datagrams that nobody counts, 1000 a second, for as long as the namespace lives. */
export async function traffic(from: Netns, address: string, dir: string): Promise<void> {
  const sender = await from.start(
    [LOSSMETER, 'send', '--to', address, '--port', '5301', '--seconds', '3600'],
    {
      log: join(dir, `traffic-${++streams}.log`),
    },
  );
  await sender.saying(/sending/);
}

/** A meter's line of JSON, after its end; `signal` asks for that, else it is awaited for 2 s and then asked for. */
async function result(meter: Proc, signal: NodeJS.Signals | undefined): Promise<Record<string, unknown>> {
  if (signal) meter.kill(signal);
  const timer = setTimeout(() => meter.kill('SIGTERM'), 2_000);
  await meter.exited;
  clearTimeout(timer);
  const line = meter
    .output()
    .split('\n')
    .findLast((text) => text.startsWith('{'));
  if (line === undefined)
    throw new Error(`${meter.argv.join(' ')} ended (${meter.ended}) without a result:\n${meter.tail()}`);
  return JSON.parse(line) as Record<string, unknown>;
}
