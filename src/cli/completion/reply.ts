import type { LeaseJson } from '../../api/shapes.ts';
import { DEFAULTS } from '../../contract.ts';
import { printable } from '../../text.ts';
import type { Command, Io } from '../command.ts';
import { type Completion, complete } from './complete.ts';
import type { Shell } from './scripts.ts';

/** Milliseconds that the daemon has: somebody waits with a finger on the key. */
const TIMEOUT = 300;
/** Bytes of its answer, and words of ours. */
const LARGEST = 16 << 20;
const MOST = 1_000;

/** The words of a line up to the cursor, without `loden` itself; quotes are taken as they stand. */
const wordsOf = (line: string): string[] => line.trimStart().split(/\s+/).slice(1);

/** What a shell is told: one word on a line. Never fails, and says nothing where it knows nothing. */
export async function reply(
  commands: readonly Command[],
  shell: Shell,
  given: readonly string[],
  io: Pick<Io, 'env' | 'print'>,
): Promise<void> {
  const words = shell === 'bash' ? wordsOf(given[0] ?? '') : given.slice(1);
  const current = words.at(-1) ?? '';
  const found = complete(commands, words);
  const all = [...found.words, ...(await asked(found, words, io.env))];
  const fitting = [...new Set(all)].filter((w) => w.startsWith(current)).slice(0, MOST);
  // bash replaces only what is behind the last of its word breaks.
  const cut = shell === 'bash' ? Math.max(current.lastIndexOf('='), current.lastIndexOf(':')) + 1 : 0;
  io.print(fitting.map((w) => `${printable(w.slice(cut))}\n`).join(''));
}

/** The directory of the daemon the line is about. */
function runDirOf(words: readonly string[], env: Io['env']): string {
  for (const [i, word] of words.entries()) {
    const [, value] = /^--?run-dir(?:=(.*))?$/.exec(word) ?? [];
    if (value !== undefined) return value;
    if (/^--?run-dir$/.test(word) && words[i + 1]) return words[i + 1]!;
  }
  return env.FLANNELD_RUN_DIR || DEFAULTS.runDir;
}

async function asked(
  { ask, prefix }: Completion,
  words: readonly string[],
  env: Io['env'],
): Promise<string[]> {
  if (!ask) return [];
  try {
    const { getJson } = await import('../../api/client.ts');
    const answer = await getJson(runDirOf(words, env), '/v1/leases', { timeout: TIMEOUT, largest: LARGEST });
    const { leases } = answer as { leases: readonly LeaseJson[] };
    return leases.flatMap((lease) => namesOf(lease, ask)).map((name) => prefix + name);
  } catch {
    return [];
  }
}

function namesOf(lease: LeaseJson, ask: NonNullable<Completion['ask']>): string[] {
  const addresses = [lease.publicIP, lease.publicIPv6].filter((a) => typeof a === 'string');
  if (ask === 'nodes') return [...(lease.node ? [lease.node] : []), ...addresses];
  if (ask === 'subnets') return [...lease.subnets];
  return lease.self ? [] : [...lease.subnets.map((s) => s.replace(/\/\d+$/, '')), ...addresses];
}
