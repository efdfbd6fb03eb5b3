import { createHash, randomBytes } from 'node:crypto';
import { link, mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { isObject } from '../../fields.ts';
import { readSmall } from '../../subnet/files.ts';
import { CniError, CODE } from '../errors.ts';
import type { JsonObject } from '../protocol/json.ts';
import type { AttachmentId } from '../types.ts';
import { type DelegateConfig, isPluginName } from './delegate.ts';

/**
 * flannel's plugin keeps the delegate's configuration in `<dataDir>/<container>`, for its DEL: one of them for a container, so
 * with two networks in a pod the first is lost. Ours are for container and interface: the first interface has flannel's
 * name, so that flannel's plugin finds it, further ones `<container>:<interface>`, which is no container's name. A member
 * of its own in the configuration, which no delegate minds, says whose it is.
 */
const MARK = 'loden';

/** `adding`: the delegate's ADD has been asked for, and nothing is known of it; `failed`: neither it nor its undoing has succeeded. */
export type ScratchState = 'adding' | 'attached' | 'failed';

/** A kept configuration. */
export interface Scratch {
  readonly path: string;
  /** As the delegate got it. */
  readonly config: DelegateConfig;
  /** Absent on a file flannel's plugin wrote. */
  readonly id?: AttachmentId;
  readonly state: ScratchState;
  /** When its ADD began: milliseconds since the epoch. */
  readonly since: number;
  /** The kernel's name for the boot of that; absent where it is not known. */
  readonly boot?: string;
  /** The container's namespace at ADD: a GC has none, and the path may be another's by then. */
  readonly netns?: { readonly path: string; readonly id: string };
}

const STATES: readonly unknown[] = ['adding', 'attached', 'failed'];

/** Characters of a container's id that a file's name has room for beside an interface's. */
const LONGEST_ID = 200;

/** What is kept must be read again: UTF-8 below the limit of readSmall. */
const LARGEST = 20_000;

/** An id that is too long is cut, and told from its like by a hash. */
function nameOf(containerId: string): string {
  if (containerId.length <= LONGEST_ID) return containerId;
  return `${containerId.slice(0, 100)}:${createHash('sha256').update(containerId).digest('hex')}`;
}

const shared = (dataDir: string, id: AttachmentId) => join(dataDir, nameOf(id.containerId));
const own = (dataDir: string, id: AttachmentId) => `${shared(dataDir, id)}:${id.ifname}`;

const sameId = (a: AttachmentId | undefined, b: AttachmentId) =>
  a?.containerId === b.containerId && a.ifname === b.ifname;

const failed = (what: string, cause: unknown): CniError =>
  new CniError(CODE.files, `${what}: ${(cause as Error).message}`, undefined, cause);

const textOf = ({ config, id, state, since, boot, netns }: Omit<Scratch, 'path'>): string =>
  JSON.stringify({
    ...config,
    [MARK]: {
      containerID: id?.containerId,
      ifname: id?.ifname,
      state,
      since,
      ...(boot ? { boot } : {}),
      ...(netns ? { netns: netns.path, netnsId: netns.id } : {}),
    },
  });

/**
 * Keep a delegate's configuration for its DEL, before it is asked to ADD: on the disk when this is done. An earlier one of
 * the same attachment is replaced, another's never. Throws CniError (code 105).
 */
export async function saveScratch(
  dataDir: string,
  id: AttachmentId,
  config: DelegateConfig,
  boot?: string,
  netns?: Scratch['netns'],
): Promise<Scratch> {
  const scratch = {
    ...{ config, id, state: 'adding' as const, since: Date.now() },
    ...(boot ? { boot } : {}),
    ...(netns ? { netns } : {}),
  };
  const text = textOf(scratch);
  if (text.length > LARGEST)
    throw new CniError(
      CODE.invalidConfig,
      `the delegate's configuration is longer than ${LARGEST} characters`,
    );
  const temporary = temporaryIn(dataDir);
  try {
    await mkdir(dataDir, { recursive: true, mode: 0o700 });
    try {
      await write(temporary, text, true);
      return { path: await place(temporary, dataDir, id), ...scratch };
    } finally {
      await rm(temporary, { force: true });
    }
  } catch (cause) {
    throw failed(`cannot keep the delegate's configuration in ${dataDir}`, cause);
  }
}

/** Note what has become of its ADD. Not synced: what a power cut loses is of an earlier boot. Throws CniError (code 105). */
export async function markScratch(scratch: Scratch, state: ScratchState): Promise<void> {
  const temporary = temporaryIn(dirname(scratch.path));
  try {
    await write(temporary, textOf({ ...scratch, state }), false);
    await rename(temporary, scratch.path);
  } catch (cause) {
    await rm(temporary, { force: true }).catch(() => {});
    throw failed(`cannot write ${scratch.path}`, cause);
  }
}

/** No container's name begins with a dot. */
const temporaryIn = (dataDir: string) => join(dataDir, `.${randomBytes(8).toString('hex')}.tmp`);

async function write(path: string, text: string, sync: boolean): Promise<void> {
  const file = await open(path, 'wx', 0o600);
  try {
    await file.writeFile(text);
    if (sync) await file.sync();
  } finally {
    await file.close();
  }
}

/** Put the file where nothing of another attachment is; link(2) takes no name that is taken, whoever is faster. */
async function place(temporary: string, dataDir: string, id: AttachmentId): Promise<string> {
  const [first, second] = [shared(dataDir, id), own(dataDir, id)];
  try {
    await link(temporary, first);
    // One of an earlier ADD would be found before this one.
    await rm(second, { force: true });
    return first;
  } catch (e) {
    if ((e as NodeJS.ErrnoException).code !== 'EEXIST') throw e;
  }
  const there = await readScratch(first);
  const free = there === undefined || there === 'broken' || sameId(there.id, id);
  const path = free ? first : second;
  await rename(temporary, path);
  return path;
}

/** flannel's plugin writes the file when its ADD begins, and never again. */
async function writtenAt(path: string): Promise<number> {
  return (await stat(path).catch(() => undefined))?.mtimeMs ?? 0;
}

/** The file's content; undefined when there is no such file, 'broken' when it makes no sense. Throws LodenError. */
async function readScratch(path: string): Promise<Scratch | 'broken' | undefined> {
  const text = await readSmall(path);
  if (text === undefined) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return 'broken';
  }
  if (!isObject(value)) return 'broken';
  const { [MARK]: mark, ...config } = value;
  const { type, name } = config;
  if (typeof type !== 'string' || !isPluginName(type) || typeof name !== 'string') return 'broken';
  const id =
    isObject(mark) && typeof mark.containerID === 'string' && typeof mark.ifname === 'string'
      ? { containerId: mark.containerID, ifname: mark.ifname }
      : undefined;
  const given: JsonObject = isObject(mark) ? mark : {};
  const since = Number.isFinite(given.since) ? (given.since as number) : await writtenAt(path);
  return {
    path,
    config: { ...config, type, name },
    ...(id ? { id } : {}),
    state: STATES.includes(given.state) ? (given.state as ScratchState) : 'attached',
    since,
    ...(typeof given.boot === 'string' ? { boot: given.boot } : {}),
    ...(typeof given.netns === 'string' && typeof given.netnsId === 'string'
      ? { netns: { path: given.netns, id: given.netnsId } }
      : {}),
  };
}

/**
 * What was kept of this attachment, by us or by flannel's plugin; undefined when nothing was, or nothing that can be read:
 * a DEL must not fail for that again and again. flannel's file tells nothing of the interface: it counts when it is of
 * the same network. Throws CniError (code 105).
 */
export async function loadScratch(
  dataDir: string,
  id: AttachmentId,
  network: string,
): Promise<Scratch | undefined> {
  const belongs = (s: Scratch) => (s.id ? sameId(s.id, id) : s.config.name === network);
  try {
    for (const path of [own(dataDir, id), shared(dataDir, id)]) {
      const scratch = await readScratch(path);
      if (scratch !== undefined && scratch !== 'broken' && belongs(scratch)) return scratch;
    }
    return undefined;
  } catch (cause) {
    throw failed("cannot read the delegate's configuration", cause);
  }
}

/** Forget it: the delegate's DEL has succeeded. Throws CniError (code 105). */
export async function removeScratch(scratch: Scratch): Promise<void> {
  try {
    await rm(scratch.path, { force: true });
  } catch (cause) {
    throw failed(`cannot remove ${scratch.path}`, cause);
  }
}

/** Everything of this network that we have kept in `dataDir`; what cannot be read, and what flannel keeps, is passed over. */
export async function listScratch(dataDir: string, network: string): Promise<Scratch[]> {
  const names = await readdir(dataDir).catch(() => []);
  const out: Scratch[] = [];
  for (const name of names) {
    if (name.startsWith('.')) continue;
    const scratch = await readScratch(join(dataDir, name)).catch(() => undefined);
    if (scratch !== undefined && scratch !== 'broken' && scratch.id && scratch.config.name === network)
      out.push(scratch);
  }
  return out;
}
