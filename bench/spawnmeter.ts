import { fileURLToPath } from 'node:url';
import type { Netns } from '../test/support/netns.ts';
import { busySeconds } from './procStats.ts';

const METER = fileURLToPath(new URL('../build/native/spawnmeter', import.meta.url));

/** A program to be run; it has no other environment. */
export interface Call {
  readonly path: string;
  readonly env: Readonly<Record<string, string>>;
  /** Standard input, 64 KB at most. */
  readonly input: string;
}

export interface CallOutcome {
  readonly status: number;
  /** Milliseconds from before the process was made until it was reaped. */
  readonly ms: number;
  /** Milliseconds of CPU the process used itself. */
  readonly cpuMs: number;
  readonly stdout: string;
}

export interface Metered {
  /** In the order of the calls. */
  readonly outcomes: readonly CallOutcome[];
  /** Milliseconds from the first one's beginning to the last one's end. */
  readonly wallMs: number;
  /** Milliseconds of CPU the whole machine has used meanwhile: also the kernel's and those of daemons that are asked. */
  readonly busyMs: number;
}

/** Run programs in a namespace, `atOnce` at a time; native/tools/spawnmeter.cc. Rejects when one cannot be started. */
export async function meter(netns: Netns, calls: readonly Call[], atOnce = 1): Promise<Metered> {
  const argv = [METER, ...(atOnce > 1 ? ['--at-once', String(atOnce)] : [])];
  const input = calls.map(record).join('');
  const before = busySeconds();
  const out = await netns.run(argv, { input, timeout: 120_000 });
  const busyMs = (busySeconds() - before) * 1000;
  const lines = out.trimEnd().split('\n');
  const { wallNs } = JSON.parse(lines.pop()!) as { wallNs: number };
  if (lines.length !== calls.length) {
    throw new Error(`spawnmeter ran ${lines.length} of ${calls.length} programs`);
  }
  return { outcomes: lines.map(outcome), wallMs: wallNs / 1e6, busyMs };
}

function record({ path, env, input }: Call): string {
  const variables = Object.entries(env).map(([name, value]) => `env ${name}=${value}`);
  return [`run ${path}`, ...variables, `input ${Buffer.byteLength(input)}`, input, ''].join('\n');
}

function outcome(line: string): CallOutcome {
  const { status, ns, cpuNs, stdout } = JSON.parse(line) as {
    status: number;
    ns: number;
    cpuNs: number;
    stdout: string;
  };
  return { status, ms: ns / 1e6, cpuMs: cpuNs / 1e6, stdout };
}
