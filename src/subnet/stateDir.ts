import { randomBytes } from 'node:crypto';
import { type FileHandle, mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';
import { EXIT, FILES } from '../contract.ts';
import { LodenError } from '../errors.ts';
import { isObject } from '../fields.ts';
import { addon } from '../native/addon.ts';
import { type Mac, parseMac } from '../net/mac.ts';
import { formatPrefix, type Prefix, parsePrefix } from '../net/prefix.ts';
import { readSmall, writeAtomically } from './files.ts';
import type { NodeId } from './types.ts';
import { isNodeId } from './value.ts';

const [FILE_MODE, DIR_MODE] = [0o600, 0o700];

/** What is remembered of the last run; wishes only. */
interface LastState {
  readonly subnets: readonly Prefix[];
  /** MACs of devices that were adopted, by device name. */
  readonly macs: ReadonlyMap<string, Mac>;
}

/**
 * The directory that outlives reboots: who this node is and what it had. Opened by one daemon at a time: `flock` on
 * its lock file, which ends with the process.
 */
export class StateDir implements AsyncDisposable {
  readonly path: string;
  readonly #lock: FileHandle;
  readonly #onError: (error: Error) => void;
  #node: NodeId;
  #last: LastState;
  /** Writes of the last state, one after the other. */
  #writing: Promise<void> = Promise.resolve();

  private constructor(
    path: string,
    lock: FileHandle,
    onError: (error: Error) => void,
    node: NodeId,
    last: LastState,
  ) {
    this.path = path;
    this.#lock = lock;
    this.#onError = onError;
    this.#node = node;
    this.#last = last;
  }

  /**
   * `onError` gets failures to remember. Throws {@link LodenError}: with exit code 75 when another daemon has it, 78
   * when the node id is damaged: a new id in silence would give up the node's lease.
   */
  static async open(path: string, onError: (error: Error) => void = () => {}): Promise<StateDir> {
    const lock = await takeLock(path);
    try {
      const node = (await readNodeId(path)) ?? (await writeNodeId(path));
      // Nothing of this is needed, so a damaged file reads as an empty one.
      const last = parseLast((await readSmall(join(path, FILES.lastState)).catch(() => undefined)) ?? '');
      return new StateDir(path, lock, onError, node, last);
    } catch (error) {
      await lock.close();
      throw error;
    }
  }

  get node(): NodeId {
    return this.#node;
  }

  /** The subnets held last. */
  get subnets(): readonly Prefix[] {
    return this.#last.subnets;
  }

  /** MACs of devices, by name. */
  get macs(): ReadonlyMap<string, Mac> {
    return this.#last.macs;
  }

  /** Make a new node id; kept on disk before this resolves. Throws {@link LodenError}. */
  async renewNode(): Promise<NodeId> {
    this.#node = await writeNodeId(this.path);
    return this.#node;
  }

  /** Written soon, if it is new. */
  rememberSubnets(subnets: readonly Prefix[]): void {
    this.#remember({ ...this.#last, subnets });
  }

  /** Written soon, if it is new. */
  rememberMacs(macs: ReadonlyMap<string, Mac>): void {
    this.#remember({ ...this.#last, macs });
  }

  /** Writes what is still to be written, then lets another daemon have it. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writing;
    await this.#lock.close();
  }

  #remember(next: LastState): void {
    const text = formatLast(next);
    if (text === formatLast(this.#last)) return;
    this.#last = next;
    const path = join(this.path, FILES.lastState);
    this.#writing = this.#writing
      .then(() => writeAtomically(path, text, FILE_MODE, DIR_MODE))
      .catch(this.#onError);
  }
}

async function takeLock(path: string): Promise<FileHandle> {
  const lockPath = join(path, FILES.stateLock);
  let lock: FileHandle;
  try {
    await mkdir(path, { recursive: true, mode: DIR_MODE });
    lock = await open(lockPath, 'a', FILE_MODE);
  } catch (cause) {
    throw new LodenError(`cannot open the state directory ${path}: ${(cause as Error).message}`, { cause });
  }
  if (addon().flockTry(lock.fd)) return lock;
  await lock.close();
  throw new LodenError(
    `another loden daemon uses the state directory ${path} (${lockPath} is locked); stop it or pass another --state-dir`,
    { exitCode: EXIT.busy },
  );
}

async function writeNodeId(stateDir: string): Promise<NodeId> {
  const node = randomBytes(16).toString('hex') as NodeId;
  await writeAtomically(join(stateDir, FILES.nodeId), `${JSON.stringify({ node })}\n`, FILE_MODE, DIR_MODE);
  return node;
}

const formatLast = (last: LastState): string =>
  `${JSON.stringify({ subnets: last.subnets.map(formatPrefix), macs: Object.fromEntries(last.macs) })}\n`;

/**
 * The node id kept in a state directory, without opening it (for commands); undefined when there is none.
 * Throws {@link LodenError} saying how to repair a damaged file.
 */
export async function readNodeId(stateDir: string): Promise<NodeId | undefined> {
  const path = join(stateDir, FILES.nodeId);
  const text = await readSmall(path);
  if (text === undefined) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    value = undefined;
  }
  if (isObject(value) && isNodeId(value.node)) return value.node;
  throw new LodenError(
    `${path} holds no node id ({"node":"<32 hex digits>"}); put the id back (it is in the Loden member of this node's ` +
      'lease in etcd: loden leases --json), or remove the file to become a new node with a new subnet',
    { exitCode: EXIT.config },
  );
}

function parseLast(text: string): LastState {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    value = undefined;
  }
  const { subnets, macs } = isObject(value) ? value : {};
  const texts = Array.isArray(subnets) ? subnets.filter((s): s is string => typeof s === 'string') : [];
  const known = new Map<string, Mac>();
  for (const [name, text] of Object.entries(isObject(macs) ? macs : {})) {
    const mac = typeof text === 'string' ? parseMac(text) : undefined;
    if (mac) known.set(name, mac);
  }
  return { subnets: texts.map(parsePrefix).filter((p) => p !== undefined), macs: known };
}
