import { hash } from 'node:crypto';
import { closeSync, constants, ftruncateSync, mkdirSync, readdirSync, renameSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { readSmall } from '../subnet/files.ts';
import { CniError, CODE } from './errors.ts';
import { openPlain, writeAll } from './plainFile.ts';
import { CUT, formatRecord, parseRecord } from './recordText.ts';
import type { Attachment, AttachmentId } from './types.ts';

const [FILE_MODE, DIR_MODE] = [0o600, 0o700];
const ADDING = '.adding';
const ATTACHED = '.json';
/** What could not be read is kept under this ending. */
const ASIDE = '.bad';

/** Files kept to be used again. */
const MOST_SPARES = 128;
const SPARE = /^spare-\d+-\d+$/;

/** An attachment on disk. */
export interface AttachmentRecord {
  /** `adding`: the runtime has not been told of it, and its addresses are not known. */
  readonly state: 'adding' | 'attached';
  readonly attachment: Attachment;
  /** Milliseconds since the epoch. */
  readonly since: number;
}

/** Names an attachment in a map. */
export const keyOf = ({ containerId, ifname }: AttachmentId): string => `${containerId}\n${ifname}`;

/** A container's id may be longer than a file name. */
const fileOf = (id: AttachmentId): string => hash('sha256', keyOf(id)).slice(0, 40);

/**
 * The attachments of this node, in memory and in one file each. A file is written when an ADD begins, gets a second line
 * with the whole attachment when all is done, and then its final name: at any moment it tells what may have to be taken back.
 * Nothing is synced: a power cut ends the pods too.
 */
export class Records {
  readonly #dir: string;
  readonly #all = new Map<string, AttachmentRecord>();
  /** Open files of ADDs under way, and how far they are written. */
  readonly #open = new Map<string, { readonly fd: number; readonly end: number }>();
  /** Files of what was removed, to be used again: ext4 takes the longer to make a file the more were removed of late. */
  readonly #spares: string[] = [];
  #count = 0;

  private constructor(dir: string) {
    this.#dir = dir;
  }

  /** Read what an earlier daemon left. `aside` gets the files that are none, and why; they are renamed. Throws {@link CniError}. */
  static async open(dir: string, aside: (file: string, reason: string) => void): Promise<Records> {
    const records = new Records(dir);
    try {
      mkdirSync(dir, { recursive: true, mode: DIR_MODE });
      for (const name of readdirSync(dir)) {
        if (SPARE.test(name)) records.#spares.push(name);
        const state = name.endsWith(ADDING) ? 'adding' : name.endsWith(ATTACHED) ? 'attached' : undefined;
        if (!state) continue;
        const path = join(dir, name);
        const read = await readSmall(path)
          .then((text) => parseRecord(text ?? '', state))
          .catch((e: Error) => e.message);
        const wrong =
          typeof read === 'string'
            ? read
            : fileOf(read.attachment) === name.slice(0, name.lastIndexOf('.'))
              ? undefined
              : 'it has the name of another attachment';
        if (wrong !== undefined || typeof read === 'string') {
          // Not whole: killed, or a power cut, before anything was reserved for it.
          if (wrong === CUT && state === 'adding') {
            unlinkSync(path);
            continue;
          }
          renameSync(path, `${path}${ASIDE}`);
          aside(path, wrong ?? '');
        } else {
          records.#all.set(keyOf(read.attachment), read);
        }
      }
    } catch (cause) {
      throw records.#error('read', cause);
    }
    return records;
  }

  get(id: AttachmentId): AttachmentRecord | undefined {
    return this.#all.get(keyOf(id));
  }

  all(): IterableIterator<AttachmentRecord> {
    return this.#all.values();
  }

  get size(): number {
    return this.#all.size;
  }

  /** An ADD begins. Throws {@link CniError}. */
  begin(attachment: Attachment): void {
    const record: AttachmentRecord = { state: 'adding', attachment, since: Date.now() };
    const path = `${this.#dir}/${fileOf(attachment)}${ADDING}`;
    const text = Buffer.from(formatRecord(record));
    // It gets its name when it is whole.
    const spare = this.#spares.pop() ?? this.#newSpare();
    const from = `${this.#dir}/${spare}`;
    let isOpen = false;
    try {
      const fd = openPlain(from, constants.O_WRONLY | constants.O_CREAT, FILE_MODE);
      isOpen = true;
      this.#open.set(keyOf(attachment), { fd, end: text.length });
      this.#all.set(keyOf(attachment), record);
      writeAll(fd, text, 0);
      ftruncateSync(fd, text.length);
      renameSync(from, path);
    } catch (cause) {
      if (isOpen) this.#spares.push(spare);
      throw this.#error('write', cause);
    }
  }

  /** Its ADD is done: from now on it stays. Throws {@link CniError}. */
  attached(attachment: Attachment): void {
    const key = keyOf(attachment);
    const file = this.#open.get(key);
    const record: AttachmentRecord = { state: 'attached', attachment, since: Date.now() };
    const path = `${this.#dir}/${fileOf(attachment)}`;
    try {
      if (file === undefined) throw new Error('it was not begun');
      writeAll(file.fd, formatRecord(record), file.end);
      this.#close(key);
      renameSync(`${path}${ADDING}`, `${path}${ATTACHED}`);
      this.#all.set(key, record);
    } catch (cause) {
      throw this.#error('write', cause);
    }
  }

  /** It is gone, or was never made. Idempotent; throws {@link CniError}. */
  remove(id: AttachmentId): void {
    const key = keyOf(id);
    const path = `${this.#dir}/${fileOf(id)}`;
    const state = this.#all.get(key)?.state;
    this.#close(key);
    try {
      if (state !== 'adding') this.#discard(`${path}${ATTACHED}`);
      if (state !== 'attached') this.#discard(`${path}${ADDING}`);
      this.#all.delete(key);
    } catch (cause) {
      throw this.#error('remove', cause);
    }
  }

  /** Take a file out of the way. One that is not there is. */
  #discard(path: string): void {
    const spare = this.#spares.length < MOST_SPARES ? this.#newSpare() : undefined;
    try {
      if (spare === undefined) unlinkSync(path);
      else renameSync(path, `${this.#dir}/${spare}`);
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return;
      throw cause;
    }
    if (spare !== undefined) this.#spares.push(spare);
  }

  #newSpare(): string {
    return `spare-${process.pid}-${++this.#count}`;
  }

  #close(key: string): void {
    const file = this.#open.get(key);
    if (file === undefined) return;
    this.#open.delete(key);
    closeSync(file.fd);
  }

  #error(what: string, cause: unknown): CniError {
    return new CniError(
      CODE.files,
      `cannot ${what} the attachments kept in ${this.#dir}: ${(cause as Error).message}; ` +
        'see that the daemon may write there and that the disk is not full',
      undefined,
      cause,
    );
  }
}
