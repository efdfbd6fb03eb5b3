import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { type Addr, formatAddr, parseAddr } from '../../net/addr.ts';
import type { AttachmentId } from '../types.ts';

/** The files of host-local's store: `<dataDir>/<network>/<address>`, with the owner in it. */

/** Between container and interface; host-local's own, on every system. */
const SEPARATOR = '\r\n';
/** Bytes of a file that are looked at: an id (1000 at most) and an interface are shorter, and what is longer is nobody's we know. */
const LONGEST = 4096;

/** What Go's strings.TrimSpace takes away, which is what host-local uses, and not the same as trim() here (U+0085, U+FEFF). */
const SPACES = new Set('\t\n\v\f\r \u0085\u00a0\u1680\u2028\u2029\u202f\u205f\u3000');
for (let code = 0x2000; code <= 0x200a; code++) SPACES.add(String.fromCharCode(code));

function trimmed(text: string): string {
  let [start, end] = [0, text.length];
  while (start < end && SPACES.has(text[start]!)) start++;
  while (start < end && SPACES.has(text[end - 1]!)) end--;
  return text.slice(start, end);
}

/** What a reservation's file holds. Without the spaces around it, for so it is read. */
export const ownerText = (owner: AttachmentId): string =>
  trimmed(`${owner.containerId}${SEPARATOR}${owner.ifname}`);

/** One file of the store. */
export interface StoreEntry {
  readonly address: Addr;
  /** Trimmed, as host-local compares it; empty when it cannot be read. */
  readonly owner: string;
  /** Of the file, below the store's directory. */
  readonly name: string;
  /** Milliseconds since the epoch. */
  readonly mtimeMs: number;
}

/** Whose an entry is. Old versions of host-local wrote no interface: it is undefined then. */
export function parseOwner(text: string): {
  readonly containerId: string;
  readonly ifname: string | undefined;
} {
  const at = text.indexOf(SEPARATOR);
  return at < 0
    ? { containerId: text, ifname: undefined }
    : { containerId: trimmed(text.slice(0, at)), ifname: text.slice(at + SEPARATOR.length) };
}

/** The owner in words. */
export function describeOwner(text: string): string {
  if (text === '') return 'an empty file';
  const { containerId, ifname } = parseOwner(text);
  const id = containerId.length > 80 ? `${containerId.slice(0, 80)}…` : containerId;
  return ifname === undefined ? `container ${id}` : `container ${id}, interface ${ifname.slice(0, 15)}`;
}

/** The address a file stands for; undefined for the lock, the last address and everything strange. */
export const addressOf = (name: string): Addr | undefined => parseAddr(name);

/** The name of an address's file. */
export const fileOf = (address: Addr): string => formatAddr(address);

const buffer = Buffer.alloc(LONGEST);

/**
 * The beginning of a small file as trimmed text; undefined when there is none (any more). What is no plain file, and
 * what cannot be read, reads as empty: taken, by nobody.
 */
export function readEntry(path: string): { readonly text: string; readonly mtimeMs: number } | undefined {
  let fd: number;
  try {
    // Neither a pipe nor a link out of the directory may hold us up.
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW);
  } catch (e) {
    return (e as NodeJS.ErrnoException).code === 'ENOENT' ? undefined : { text: '', mtimeMs: Date.now() };
  }
  try {
    const stat = fstatSync(fd);
    const n = stat.isFile() ? readSync(fd, buffer, 0, LONGEST, 0) : 0;
    return { text: trimmed(buffer.toString('utf8', 0, n)), mtimeMs: stat.mtimeMs };
  } catch {
    return { text: '', mtimeMs: Date.now() };
  } finally {
    closeSync(fd);
  }
}
