import { join } from 'node:path';
import type { CniUninstallOptions } from '../../config/commands.ts';
import { CNI } from '../../contract.ts';
import { CONFLIST, ownerOf } from './conflist.ts';
import { attempt, isPlugin, look, type Outcome, remove, sweep, tell } from './place.ts';

/**
 * `loden cni uninstall`: the configuration first, so that nobody looks for a plugin that is gone, then the plugin under both
 * names. What install has not written is kept. Throws LodenError (exit 1) when something of ours could not be removed.
 */
export async function cniUninstall(
  options: CniUninstallOptions,
  print: (text: string) => void,
): Promise<void> {
  const conf = join(options.confDir, CONFLIST);
  const files: Outcome[] = [await attempt(conf, '--conf-dir', () => removeConf(conf, options.force))];
  // A configuration of ours that stays needs its plugin.
  const needed = files[0]?.state === 'failed';
  for (const name of CNI.names) {
    const path = join(options.binDir, name);
    files.push(await attempt(path, '--bin-dir', () => removePlugin(path, needed ? conf : undefined)));
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

async function removePlugin(path: string, neededBy: string | undefined): Promise<Outcome> {
  const there = await look(path);
  if (there === 'nothing') return { path, state: 'absent', reason: null };
  if (!isPlugin(there)) return { path, state: 'kept', reason: "it is another program's" };
  if (neededBy === undefined) return remove(path);
  return { path, state: 'kept', reason: `${neededBy} is still there` };
}
