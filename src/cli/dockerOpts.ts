import { realpath, stat, writeFile } from 'node:fs/promises';
import { LodenError } from '../errors.ts';
import { readSmall, writeAtomically } from '../subnet/files.ts';
import type { DockerOptsOptions } from './dockerOptsOptions.ts';
import { dockerOptsText } from './dockerOptsText.ts';

/**
 * `loden docker-opts`. A missing subnet file gives no options, as with flannel, and a warning. Throws LodenError (exit 1), and
 * leaves what was written before, when the file says something that is no subnet, MTU or truth value.
 */
export async function dockerOpts(
  options: DockerOptsOptions,
  env: Readonly<Record<string, string | undefined>>,
  warn: (text: string) => void,
): Promise<void> {
  const { from, to } = options;
  const kind = await stat(from).catch(() => undefined);
  if (kind && !kind.isFile()) throw new LodenError(`${from} is no regular file: name the subnet file by -f`);
  const text = await readSmall(from);
  if (text === undefined) warn(`${from} is missing: is the daemon running? No options come from it`);
  await write(to, dockerOptsText(text ?? '', from, options, env));
}

/** In one step, or straight into what is no file (/dev/stdout); behind symbolic links, not in their place. */
async function write(to: string, text: string): Promise<void> {
  const there = await stat(to).catch(() => undefined);
  if (/^\/(?:dev|proc)\//.test(to) || (there && !there.isFile())) {
    await writeFile(to, text).catch((cause: Error) => {
      throw new LodenError(`cannot write ${to}: ${cause.message}`, { cause });
    });
    return;
  }
  await writeAtomically(there ? await realpath(to) : to, text, 0o644, 0o755);
}
