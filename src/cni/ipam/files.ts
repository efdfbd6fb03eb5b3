import { closeSync, constants, ftruncateSync, linkSync, rmSync, unlinkSync } from 'node:fs';
import { type Addr, formatAddr, parseAddr } from '../../net/addr.ts';
import { openPlain, writeAll } from '../plainFile.ts';
import type { Spares } from '../spares.ts';
import { readEntry } from './entry.ts';

/**
 * Writing a host-local store. Every call is a few microseconds on a local disk and none waits for it to be written: after
 * a power cut there are no pods whose addresses could be lost.
 */

const FILE_MODE = 0o644;
/** Where an owner is written before it gets the address's name; no address, so host-local does not look at it. */
const TEMPORARY = '.loden';

const codeOf = (cause: unknown): string | undefined => (cause as NodeJS.ErrnoException).code;

/**
 * Make a file whose content comes with its name, unless there is one: a process killed here leaves no empty reservation.
 * Only one process may be in here, which the store's lock says.
 */
export function createExclusively(dir: string, name: string, text: string, spares?: Spares): boolean {
  const spare = spares?.take();
  if (spare !== undefined) {
    const made = nameSpare(spare, `${dir}/${name}`, text);
    if (made !== undefined) return made;
  }
  const temporary = `${dir}/${TEMPORARY}`;
  const fd = openNew(temporary);
  try {
    writeAll(fd, text, 0);
  } catch (cause) {
    removeFile(dir, TEMPORARY);
    throw cause;
  } finally {
    closeSync(fd);
  }
  return giveName(temporary, `${dir}/${name}`);
}

/** Undefined: it would not do, and is gone. */
function nameSpare(spare: string, path: string, text: string): boolean | undefined {
  try {
    const fd = openPlain(spare, constants.O_WRONLY);
    try {
      writeAll(fd, text, 0);
      ftruncateSync(fd, Buffer.byteLength(text));
    } finally {
      closeSync(fd);
    }
    return giveName(spare, path);
  } catch {
    rmSync(spare, { force: true });
    return undefined;
  }
}

/** In place of the name it has. False when there is such a file. */
function giveName(from: string, to: string): boolean {
  try {
    linkSync(from, to);
    return true;
  } catch (cause) {
    if (codeOf(cause) === 'EEXIST') return false;
    throw cause;
  } finally {
    rmSync(from, { force: true });
  }
}

/** What is there was left by a process killed in here, and may have an address's name by now: it is never written to. */
function openNew(path: string): number {
  const open = () => openPlain(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, FILE_MODE);
  try {
    return open();
  } catch (cause) {
    if (codeOf(cause) !== 'EEXIST') throw cause;
    unlinkSync(path);
    return open();
  }
}

/** Remove a file that may be gone. */
export function removeFile(dir: string, name: string): void {
  try {
    unlinkSync(`${dir}/${name}`);
  } catch (cause) {
    if (codeOf(cause) !== 'ENOENT') throw cause;
  }
}

const lastFile = (set: number): string => `last_reserved_ip.${set}`;

/** The address that was given away last out of a set of ranges, if that can be told. */
export function readLast(dir: string, set: number): Addr | undefined {
  return parseAddr(readEntry(`${dir}/${lastFile(set)}`)?.text ?? '');
}

/**
 * Note the address given away last. Written in place: a file cut to nothing and filled again is written to disk by ext4
 * when it is closed (auto_da_alloc), which takes longer than the whole rest. A half-written one is only a worse start for the next search.
 */
export function writeLast(dir: string, set: number, address: Addr, before: Addr | undefined): void {
  const text = formatAddr(address);
  const fd = openPlain(`${dir}/${lastFile(set)}`, constants.O_WRONLY | constants.O_CREAT, FILE_MODE);
  try {
    writeAll(fd, text, 0);
    if (!before || formatAddr(before).length > text.length) ftruncateSync(fd, text.length);
  } finally {
    closeSync(fd);
  }
}
