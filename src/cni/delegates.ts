import { spawn } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { isAbsolute, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Delegate, DelegateOutcome, PluginCall } from './types.ts';

/** Bytes of a delegate's answer. */
const LARGEST_RESULT = 1 << 20;
/** Milliseconds a delegate may take. */
const PATIENCE = 20_000;

/** Runs a delegate for a call that nobody waits for any more; resolves always. */
export type DelegateRunner = (
  call: PluginCall,
  delegate: Delegate,
  signal: AbortSignal,
) => Promise<DelegateOutcome>;

/** An error in the form of the specification, as a plugin would print it. */
const refused = (exit: number, code: number, msg: string): DelegateOutcome => ({
  exit,
  stdout: JSON.stringify({ cniVersion: '1.0.0', code, msg }),
});

/** The executable of a plugin in CNI_PATH; directories that are not absolute are passed over. */
function find(plugin: string, path: string): string | undefined {
  if (!/^[\w.-]+$/.test(plugin) || /^\.+$/.test(plugin)) return undefined;
  for (const dir of path.split(':').filter(isAbsolute)) {
    try {
      accessSync(join(dir, plugin), constants.X_OK);
      return join(dir, plugin);
    } catch {
      // Perhaps in the next.
    }
  }
  return undefined;
}

/** As the plugin binary does it: in the call's environment, with the delegate's configuration on standard input. */
export const runDelegate: DelegateRunner = async (call, delegate, signal) => {
  const file = find(delegate.plugin, call.env.CNI_PATH ?? '');
  if (!file) {
    const where = call.env.CNI_PATH ?? 'an empty CNI_PATH';
    return refused(127, 4, `there is no plugin ${delegate.plugin} in ${where}`);
  }
  const child = spawn(file, [], {
    env: { PATH: process.env.PATH ?? '', ...call.env, ...delegate.env },
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  let stdout = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    if (stdout.length < LARGEST_RESULT) stdout += text;
  });
  // What ends before it has read everything is judged by its exit code.
  child.stdin.on('error', () => {});
  child.stdin.end(JSON.stringify(delegate.config));
  const ended = new Promise<DelegateOutcome>((resolve) => {
    child.once('error', (e) => resolve(refused(127, 5, `cannot run ${file}: ${e.message}`)));
    child.once('close', (code) => resolve({ exit: code ?? 137, stdout: stdout.slice(0, LARGEST_RESULT) }));
  });
  const waiting = new AbortController();
  const given = AbortSignal.any([signal, waiting.signal]);
  const late = sleep(PATIENCE, undefined, { signal: given }).catch(() => undefined);
  const first = await Promise.race([ended, late]);
  waiting.abort();
  if (first) return first;
  child.kill('SIGKILL');
  return refused(137, 5, `${file} did not end within ${PATIENCE / 1000} s, and was killed`);
};
