import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { CniInstallOptions } from '../../config/commands.ts';
import { CNI } from '../../contract.ts';
import { LodenError } from '../../errors.ts';
import { CHAINED, CONFLIST, conflistText, isConf, ownerOf } from './conflist.ts';
import { attempt, beside, isPlugin, keepBeside, look, type Outcome, put, sweep, tell } from './place.ts';

/** Where the build leaves the plugin. */
const BUILT = fileURLToPath(new URL('../../../build/cni/loden', import.meta.url));

/**
 * `loden cni install`: the plugin under both its names, then the configuration. Each file is written beside its place and
 * renamed, so that a running plugin is not disturbed and containerd, which watches the directory, notices. What is as it
 * should be is not touched. Throws LodenError (exit 1) when something that is needed could not be put in place.
 */
export async function cniInstall(
  options: CniInstallOptions,
  print: (text: string) => void,
  built = BUILT,
): Promise<void> {
  const plugin = await readPlugin(built);
  await sweep(options.binDir, CNI.names);
  await sweep(options.confDir, [CONFLIST]);
  const [main, alias] = CNI.names.map((name) => join(options.binDir, name)) as [string, string];
  const files: Outcome[] = [];
  files.push(await attempt(main, '--bin-dir', () => putPlugin(main, plugin, options.force, 'failed')));
  // Whoever has another flannel there uses it, and our configuration does not need the second name.
  files.push(await attempt(alias, '--bin-dir', () => putPlugin(alias, plugin, options.force, 'kept')));
  const conf = join(options.confDir, CONFLIST);
  files.push(
    files[0]!.state === 'failed'
      ? { path: conf, state: 'failed', reason: 'not written, for its plugin is not in place' }
      : await attempt(conf, '--conf-dir', () => putConf(conf, options)),
  );
  tell({ files, notes: await notes(options) }, options.json, print);
}

async function readPlugin(built: string): Promise<Buffer> {
  const there = await look(built);
  if (typeof there === 'object' && isPlugin(there)) return there.bytes;
  const why = there === 'nothing' ? 'is missing' : 'is not the plugin';
  throw new LodenError(`${built} ${why}: build it by \`npm run setup\``);
}

/** `otherwise`: what it is when somebody else's file is in the place. */
async function putPlugin(
  path: string,
  plugin: Buffer,
  force: boolean,
  otherwise: 'kept' | 'failed',
): Promise<Outcome> {
  const there = await look(path);
  if (there === 'nothing' || isPlugin(there)) return put(path, plugin, 0o755, there);
  if (!force)
    return { path, state: otherwise, reason: "another program's file is there; --force replaces it" };
  await keepBeside(path);
  const outcome = await put(path, plugin, 0o755, there);
  return { ...outcome, reason: `what was there is kept as ${beside(path)}` };
}

async function putConf(path: string, options: CniInstallOptions): Promise<Outcome> {
  const there = await look(path);
  const text = Buffer.from(conflistText(options));
  if (there === 'nothing' || options.force) return put(path, text, 0o644, there);
  const owner = there === 'other' ? 'foreign' : ownerOf(there.bytes.toString('utf8'));
  if (owner === 'ours') return put(path, text, 0o644, there);
  return owner === 'changed'
    ? { path, state: 'kept', reason: 'it was changed by hand; --force replaces it' }
    : { path, state: 'failed', reason: 'it does not name our plugin; --force replaces it' };
}

/** What is in order, but may keep pods from getting what this configuration says. */
async function notes({ binDir, confDir }: CniInstallOptions): Promise<string[]> {
  const found: string[] = [];
  const confs = (await readdir(confDir).catch(() => [])).filter(isConf);
  const first = confs.sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))[0];
  if (first !== undefined && first !== CONFLIST)
    found.push(`runtimes take the first configuration by name, which is ${join(confDir, first)}`);
  if ((await look(join(binDir, CHAINED)).catch(() => 'other')) === 'nothing')
    found.push(
      `the configuration also names the plugin ${CHAINED}, which is not in ${binDir}: pods fail unless the runtime finds it elsewhere`,
    );
  return found;
}
