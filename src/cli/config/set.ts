import { readFile } from 'node:fs/promises';
import type { NetworkChangeJson } from '../../api/changes.ts';
import type { ClientOptions } from '../../config/commands.ts';
import { EXIT } from '../../contract.ts';
import { LodenError } from '../../errors.ts';
import { adminOf } from '../admin.ts';
import { coloured, type Io } from '../command.ts';
import { paint } from '../paint.ts';
import { renderNetworkChange } from '../render/changes.ts';
import { json } from '../render.ts';

/** Bytes: more than a network config may have characters. */
const LARGEST = 256 << 10;

/** The text of a file, or of standard input for `-`; throws LodenError (exit 78) when it cannot be read. */
export async function readConfigFile(file: string, io: Io): Promise<string> {
  if (file === '-') return io.read(LARGEST);
  try {
    const bytes = await readFile(file);
    if (bytes.length > LARGEST) throw new Error(`it has more than ${LARGEST} bytes`);
    return bytes.toString('utf8');
  } catch (e) {
    throw new LodenError(`cannot read ${file}: ${(e as Error).message}`, { exitCode: EXIT.config });
  }
}

/**
 * `loden config set`: what would change is shown, then set if nothing has changed meanwhile. Exit 1 when leases would be orphaned, or
 * somebody else was quicker; 78 when the config is wrong.
 */
export async function setConfig(
  options: ClientOptions & { readonly file: string; readonly force: boolean; readonly dryRun: boolean },
  io: Io,
): Promise<number> {
  const { force, dryRun } = options;
  const config = await readConfigFile(options.file, io);
  const admin = adminOf(options);
  const look = paint(coloured(options.color, io));
  const show = (change: NetworkChangeJson, refused = false): void =>
    io.print(options.json ? json(change) : renderNetworkChange(change, look, refused));
  const planned = await admin.setNetwork({ config, dryRun: true });
  const refused = planned.orphans.length > 0 && !force;
  const isNothing = planned.changes.length === 0 && planned.problem === null;
  if (dryRun || refused || isNothing) {
    show(isNothing ? { ...planned, done: 'nothing' } : planned, refused && !dryRun);
    if (!refused || isNothing) return EXIT.ok;
    io.warn('leases would be orphaned; --force sets it all the same');
    return EXIT.failure;
  }
  show(await admin.setNetwork({ config, force, revision: planned.revision }));
  return EXIT.ok;
}
