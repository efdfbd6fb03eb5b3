import { type BigIntStats, statSync } from 'node:fs';
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { LodenError } from '../errors.ts';
import { isObject } from '../fields.ts';
import { readSmall } from '../subnet/files.ts';
import { parseCall } from './protocol/call.ts';
import { keyOf } from './records.ts';
import type { PluginCall } from './types.ts';

/** `<ns since the epoch>-<pid>.json`, as the plugin names them. */
const NAME = /^(\d{1,20})-\d{1,10}\.json$/;
/** Names given to what is not to be tried again. */
const ASIDE = '.bad';
/** Bytes of a file: the configuration, escaped at worst. */
const LARGEST = 16 << 20;
/** Files that are known at once, and those set aside that are kept. */
const [MOST, MOST_ASIDE] = [4_096, 100];
/** Nanoseconds in which two changes of a directory may bear one time: a kernel's tick, and some more. */
const TICK = 50_000_000n;

/** One DEL on disk. */
export interface QueuedDel {
  readonly name: string;
  /** Of the attachment: DELs of one come one after the other. */
  readonly key: string;
  /** `name` of the network configuration. */
  readonly network: string;
  /** Milliseconds since the epoch at which it was asked for. */
  readonly at: number;
}

/** Network of a configuration; nothing in particular of what is none. */
export function networkOf(stdin: string): string {
  try {
    const config: unknown = JSON.parse(stdin);
    return isObject(config) && typeof config.name === 'string' ? config.name : '';
  } catch {
    return '';
  }
}

/** The directory of queued DELs: what is in it, and whether that may be believed. */
export class QueueFiles {
  readonly #dir: string;
  /** The directory's time at the last listing, if that tells of every change since. */
  #listed: bigint | undefined;

  constructor(dir: string) {
    this.#dir = dir;
  }

  /** Make the directory. Throws Error. */
  async make(): Promise<void> {
    await mkdir(this.#dir, { recursive: true, mode: 0o700 });
  }

  /**
   * Has anything come or gone since the last {@link list}? Throws Error when there is no such directory, or when others than we can put
   * something into it: delegates are run out of the directories that its files name, as root.
   */
  changed(): boolean {
    return this.#trusted().mtimeNs !== this.#listed;
  }

  /** Names of queued DELs, oldest first, and how many more there are. Throws as {@link changed}. */
  async list(): Promise<{ readonly names: readonly string[]; readonly more: number }> {
    const { mtimeNs } = this.#trusted();
    const isQuiet = BigInt(Date.now()) * 1_000_000n - mtimeNs > TICK;
    const all = await readdir(this.#dir);
    this.#listed = isQuiet ? mtimeNs : undefined;
    const aside = all.filter((n) => n.endsWith(ASIDE) && NAME.test(n.slice(0, -ASIDE.length))).sort();
    for (const name of aside.slice(0, Math.max(0, aside.length - MOST_ASIDE)))
      await rm(join(this.#dir, name), { force: true });
    const names = all.filter((n) => NAME.test(n)).sort(byTime);
    return { names: names.slice(0, MOST), more: Math.max(0, names.length - MOST) };
  }

  /** Undefined: it is gone. Throws {@link LodenError} when it cannot be read, another Error when it makes no sense. */
  async read(name: string): Promise<{ readonly queued: QueuedDel; readonly call: PluginCall } | undefined> {
    const text = await readSmall(join(this.#dir, name), LARGEST);
    if (text === undefined) return undefined;
    let call: PluginCall;
    try {
      call = parseCall(JSON.parse(text));
    } catch (cause) {
      throw new SyntaxError((cause as Error).message, { cause });
    }
    const { CNI_COMMAND, CNI_CONTAINERID = '', CNI_IFNAME = '' } = call.env;
    if (CNI_COMMAND !== 'DEL') throw new SyntaxError('it is no DEL');
    const key = keyOf({ containerId: CNI_CONTAINERID, ifname: CNI_IFNAME });
    const at = Number(BigInt(NAME.exec(name)![1]!) / 1_000_000n);
    return { queued: { name, key, network: networkOf(call.stdin), at }, call };
  }

  /** It is not to be tried again, but an operator may want to look at it. */
  async setAside(name: string): Promise<void> {
    await rename(join(this.#dir, name), join(this.#dir, `${name}${ASIDE}`));
  }

  async remove(name: string): Promise<void> {
    await rm(join(this.#dir, name), { force: true });
  }

  #trusted(): BigIntStats {
    const stat = statSync(this.#dir, { bigint: true });
    if (!stat.isDirectory()) throw new LodenError(`${this.#dir} is no directory`);
    const uid = process.getuid?.() ?? 0;
    if (Number(stat.uid) !== uid) throw new LodenError(refusal(this.#dir, `user ${stat.uid} owns it`, uid));
    if ((stat.mode & 0o022n) !== 0n) {
      const mode = (stat.mode & 0o7777n).toString(8);
      throw new LodenError(refusal(this.#dir, `others may write to it (mode ${mode})`, uid));
    }
    return stat;
  }
}

const refusal = (dir: string, why: string, uid: number): string =>
  `${dir} is not used, for ${why}: the daemon would run what anybody puts there. Look at what is in it, then ` +
  `chown ${uid} and chmod 700 it`;

const timeOf = (name: string): bigint => BigInt(NAME.exec(name)![1]!);
const byTime = (a: string, b: string): number => {
  const [x, y] = [timeOf(a), timeOf(b)];
  return x < y ? -1 : x > y ? 1 : 0;
};
