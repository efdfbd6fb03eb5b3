import { constants } from 'node:fs';
import { link, lstat, open, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { CNI } from '../../contract.ts';
import { LodenError } from '../../errors.ts';
import { writeAtomically } from '../../subnet/files.ts';

/** Files that `loden cni` puts in place or takes away, one by one, and what came of each. */

/** Bytes of a plugin that we read. Go's are about 4 MB. */
const LARGEST = 64 << 20;

/** What our plugin, and no other, has in it: the content type of answers that name delegates. */
const MARK = Buffer.from(CNI.delegates);
const ELF = Buffer.from('\x7fELF', 'latin1');

export interface Outcome {
  readonly path: string;
  readonly state: 'written' | 'unchanged' | 'removed' | 'restored' | 'absent' | 'kept' | 'failed';
  /** Why it was kept or failed, and what to do; where what was there has gone. */
  readonly reason: string | null;
}

export interface Report {
  readonly files: readonly Outcome[];
  readonly notes: readonly string[];
}

/** What is at a path: nothing, a file with its bytes and permissions, or something else (a directory, a dangling link…). */
export type There = 'nothing' | 'other' | { readonly bytes: Buffer; readonly mode: number };

export async function look(path: string): Promise<There> {
  const entry = await lstat(path).catch(unlessMissing);
  if (!entry) return 'nothing';
  if (!entry.isFile() && !entry.isSymbolicLink()) return 'other';
  // A link may lead to a pipe, which would keep us waiting.
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK).catch(unlessMissing);
  if (!file) return 'other';
  try {
    const stat = await file.stat();
    if (!stat.isFile() || stat.size > LARGEST) return 'other';
    return { bytes: await file.readFile(), mode: stat.mode & 0o7777 };
  } finally {
    await file.close();
  }
}

function unlessMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error;
}

/** Is this our plugin, of whatever version? */
export const isPlugin = (there: There): boolean =>
  typeof there === 'object' && there.bytes.subarray(0, 4).equals(ELF) && there.bytes.includes(MARK);

/** Write a file unless it is just so already. */
export async function put(path: string, bytes: Buffer, mode: number, there: There): Promise<Outcome> {
  if (typeof there === 'object' && there.mode === mode && there.bytes.equals(bytes))
    return { path, state: 'unchanged', reason: null };
  await writeAtomically(path, bytes, mode, 0o755);
  return { path, state: 'written', reason: null };
}

/** Where another program's file is kept while ours has its place. */
export const beside = (path: string): string => `${path}.before-loden`;

/** Keep what is there, so that it can be put back. The place is never empty. What was kept earlier is older, and goes. */
export async function keepBeside(path: string): Promise<void> {
  // That is no program, nor to be replaced.
  if ((await lstat(path)).isDirectory()) return;
  await rm(beside(path), { force: true });
  await link(path, beside(path)).catch((cause: Error) => {
    throw new LodenError(`cannot keep ${path}: ${cause.message}`, { cause });
  });
}

/** Put back what was kept; undefined when nothing was. */
export async function restore(path: string): Promise<Outcome | undefined> {
  try {
    await rename(beside(path), path);
    return { path, state: 'restored', reason: 'it is what was there before' };
  } catch (error) {
    return unlessMissing(error as NodeJS.ErrnoException);
  }
}

export async function remove(path: string): Promise<Outcome> {
  await rm(path);
  return { path, state: 'removed', reason: null };
}

/** Carry out what concerns one file; a failure is an outcome too. */
export async function attempt(
  path: string,
  dirOption: string,
  act: () => Promise<Outcome>,
): Promise<Outcome> {
  try {
    return await act();
  } catch (error) {
    return { path, state: 'failed', reason: `${(error as Error).message}: ${advice(error, dirOption)}` };
  }
}

function advice(error: unknown, dirOption: string): string {
  const { cause = error } = error as Error;
  switch ((cause as NodeJS.ErrnoException).code) {
    case 'EACCES':
    case 'EPERM':
      return 'run this as root';
    case 'EROFS':
      return `name a directory that can be written by ${dirOption}`;
    case 'ENOSPC':
    case 'EDQUOT':
      return 'make room there';
    case 'ENOTDIR':
    case 'EEXIST':
    case 'EISDIR':
    case 'ELOOP':
      return `see what is there in its place, or name another directory by ${dirOption}`;
    default:
      return 'try again when that is put right';
  }
}

/** Remove the temporary files of an install that was killed. They hurt nobody, so failures do not matter. */
export async function sweep(dir: string, names: readonly string[]): Promise<void> {
  for (const entry of await readdir(dir).catch(() => [])) {
    const [, name, pid] = /^(.+)\.tmp-(\d+)$/.exec(entry) ?? [];
    if (name === undefined || !names.includes(name)) continue;
    const alive = await lstat(`/proc/${pid}`).catch(() => undefined);
    if (!alive) await rm(join(dir, entry), { force: true }).catch(() => {});
  }
}

/** Tell what was done; throws LodenError (exit 1) when something failed. */
export function tell(report: Report, json: boolean, print: (text: string) => void): void {
  const line = ({ path, state, reason }: Outcome): string =>
    `${path}: ${state}${reason === null ? '' : `: ${reason}`}\n`;
  const text = report.files.map(line).join('') + report.notes.map((note) => `note: ${note}\n`).join('');
  print(json ? `${JSON.stringify(report, null, 2)}\n` : text);
  const failed = report.files.filter(({ state }) => state === 'failed').length;
  if (failed > 0) throw new LodenError(`${failed} of ${report.files.length} files failed; see above`);
}
