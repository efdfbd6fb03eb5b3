import { spawn } from 'node:child_process';
import { stat } from 'node:fs/promises';
import { constants } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { CODE } from './errors.ts';
import type { Delegate, DelegateOutcome, PluginCall } from './types.ts';

/** Bytes of a delegate's answer. */
const LARGEST_RESULT = 1 << 20;
/** Bytes of the end of its standard error that are kept. */
const LARGEST_STDERR = 2 << 10;
/** Milliseconds a delegate may take; all as in the plugin binary (cni/run.h). */
const PATIENCE = 60_000;

export interface DelegateRun extends DelegateOutcome {
  /** The end of what it has said on standard error, for the log. */
  readonly stderr?: string;
}

/** Runs a delegate for a call that nobody waits for any more; resolves always. */
export type DelegateRunner = (
  call: PluginCall,
  delegate: Delegate,
  signal: AbortSignal,
) => Promise<DelegateRun>;

/** An error in the form of the specification, as a plugin would print it. */
const refused = (exit: number, code: number, msg: string): DelegateOutcome => ({
  exit,
  stdout: JSON.stringify({ cniVersion: '1.0.0', code, msg }),
});

/** One file of a directory. Our own names would ask us again, and wait for what we do. */
const isPlugin = (name: string): boolean =>
  /^[\w.-]{1,64}$/.test(name) && !/^\.+$/.test(name) && name !== 'loden' && name !== 'flannel';

/**
 * The first regular file of that name in CNI_PATH, as libcni looks for it. Directories that are not absolute are passed over: ours is
 * not the runtime's working directory.
 */
async function find(plugin: string, path: string): Promise<string | undefined> {
  if (!isPlugin(plugin)) return undefined;
  for (const dir of path.split(':').filter(isAbsolute)) {
    const file = join(dir, plugin);
    if ((await stat(file).catch(() => undefined))?.isFile()) return file;
  }
  return undefined;
}

/** As the plugin binary does it: in the call's environment, with the delegate's configuration on standard input. */
export const runDelegate: DelegateRunner = async (call, delegate, signal) => {
  const file = await find(delegate.plugin, call.env.CNI_PATH ?? '');
  if (!file) {
    const where = call.env.CNI_PATH ?? 'an empty CNI_PATH';
    return refused(127, CODE.invalidEnvironment, `there is no plugin ${delegate.plugin} in ${where}`);
  }
  const child = spawn(file, [], {
    env: { PATH: process.env.PATH ?? '', ...call.env, ...delegate.env },
    stdio: ['pipe', 'pipe', 'pipe'],
    // A group of its own, so that what it starts can be ended with it.
    detached: true,
  });
  const chunks: Buffer[] = [];
  let size = 0;
  child.stdout.on('data', (chunk: Buffer) => {
    size += chunk.length;
    if (size <= LARGEST_RESULT) chunks.push(chunk);
  });
  let stderr: Buffer = Buffer.alloc(0);
  child.stderr.on('data', (chunk: Buffer) => {
    stderr = Buffer.concat([stderr, chunk]).subarray(-LARGEST_STDERR);
  });
  // What ends before it has read everything is judged by its exit code.
  child.stdin.on('error', () => {});
  child.stdin.end(JSON.stringify(delegate.config));
  const ended = new Promise<DelegateOutcome>((resolve) => {
    child.once('error', (e) => resolve(refused(127, CODE.ioFailure, `cannot run ${file}: ${e.message}`)));
    // Not `close`: what it has started may hold its standard output for ever.
    child.once('exit', async (code, sent) => {
      const exit = code ?? 128 + constants.signals[sent ?? 'SIGKILL'];
      // A whole look at what there is to be read, which a pipe's buffer fits into.
      await nextTurn();
      await nextTurn();
      if (size > LARGEST_RESULT) {
        resolve(refused(exit || 1, CODE.internal, `${file} has printed more than ${LARGEST_RESULT} bytes`));
      } else resolve({ exit, stdout: Buffer.concat(chunks).toString('utf8') });
    });
  });
  const waiting = new AbortController();
  const late = sleep(PATIENCE, undefined, { signal: AbortSignal.any([signal, waiting.signal]) }).catch(
    () => undefined,
  );
  const first = await Promise.race([ended, late]);
  waiting.abort();
  if (!first) end(child.pid);
  for (const stream of [child.stdin, child.stdout, child.stderr]) stream.destroy();
  const said = stderr.length > 0 ? { stderr: stderr.toString('utf8') } : {};
  if (first) return { ...first, ...said };
  const why = signal.aborted ? 'the daemon stops' : `it did not end within ${PATIENCE / 1000} s`;
  return { ...refused(137, CODE.ioFailure, `${file} was killed: ${why}`), ...said };
};

/** It and what it has started. */
function end(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // It has ended by itself just now.
  }
}
