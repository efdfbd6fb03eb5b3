import { readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { CniUninstallOptions } from '../../config/commands.ts';
import { CNI } from '../../contract.ts';
import { CONFLIST, isConf, ownerOf, typesIn } from './conflist.ts';
import { attempt, isPlugin, look, type Outcome, remove, restore, sweep, tell } from './place.ts';

/**
 * `loden cni uninstall`: the configuration first, so that nobody looks for a plugin that is gone, then the plugin under both
 * names, but for what another configuration needs. What install has not written is kept, what it has replaced put back. Throws LodenError (exit 1) when something of ours could not be removed.
 */
export async function cniUninstall(
  options: CniUninstallOptions,
  print: (text: string) => void,
): Promise<void> {
  const conf = join(options.confDir, CONFLIST);
  const files: Outcome[] = [await attempt(conf, '--conf-dir', () => removeConf(conf, options.force))];
  // A configuration of ours that stays needs its plugin.
  const ours = files[0]?.state === 'failed' ? `${conf} is still there` : undefined;
  const needed = options.force ? new Map<string, string>() : await neededBy(options.confDir);
  for (const name of CNI.names) {
    const path = join(options.binDir, name);
    const other = needed.get(name);
    const why = ours ?? (other && `${other} names it; --force removes it all the same`);
    files.push(await attempt(path, '--bin-dir', () => removePlugin(path, why)));
  }
  await sweep(options.binDir, CNI.names);
  await sweep(options.confDir, [CONFLIST]);
  tell({ files, notes: [] }, options.json, print);
}

async function removeConf(path: string, force: boolean): Promise<Outcome> {
  const there = await look(path);
  if (there === 'nothing') return { path, state: 'absent', reason: null };
  const owner = there === 'other' ? 'foreign' : ownerOf(there.bytes.toString('utf8'));
  if (owner === 'ours' || (owner === 'changed' && force)) return remove(path);
  const reason =
    owner === 'changed'
      ? 'it was changed by hand; --force removes it'
      : 'it does not name our plugin, so it is not ours';
  return { path, state: owner === 'changed' ? 'failed' : 'kept', reason };
}

/** Which configuration of those that are left, the first of them, names which of our plugin's names. */
async function neededBy(confDir: string): Promise<ReadonlyMap<string, string>> {
  const needed = new Map<string, string>();
  const others = (await readdir(confDir).catch(() => [])).filter((name) => isConf(name));
  for (const path of others.sort().map((name) => join(confDir, name))) {
    const there = await look(path).catch(() => 'other' as const);
    if (typeof there !== 'object') continue;
    for (const type of typesIn(there.bytes.toString('utf8'))) if (!needed.has(type)) needed.set(type, path);
  }
  return needed;
}

/** `needed`: why it is, if it is. A program that ours has replaced can do what it is needed for. */
async function removePlugin(path: string, needed: string | undefined): Promise<Outcome> {
  const there = await look(path);
  if (there !== 'nothing' && !isPlugin(there))
    return { path, state: 'kept', reason: "it is another program's" };
  const replaceable = needed === undefined || basename(path) !== CNI.names[0];
  const restored = replaceable ? await restore(path) : undefined;
  if (restored) return restored;
  if (there === 'nothing') return { path, state: 'absent', reason: null };
  return needed === undefined ? remove(path) : { path, state: 'kept', reason: needed };
}
