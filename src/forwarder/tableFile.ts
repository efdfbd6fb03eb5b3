import { hash } from 'node:crypto';
import { open, rm } from 'node:fs/promises';
import type { ForwarderTable } from '../backends/backend.ts';
import { decodeTable, encodeTable, MAX_TABLE_BYTES } from '../backends/udp/tableBytes.ts';
import { type Addr, addrBytes, addrFromBytes, type Family } from '../net/addr.ts';
import { writeAtomically } from '../subnet/files.ts';

/** All that is needed to forward: what the last daemon did is what the next one does until it knows better. */
export interface SavedForwarding {
  readonly device: string;
  readonly port: number;
  /** Addresses the sockets are bound to, at most one of each family. */
  readonly local: readonly Addr[];
  readonly table: ForwarderTable;
}

/**
 * The file: magic "LodenFW2" (8), SHA-256 of the network's name, u16 port (little-endian), u8 length of the device's name,
 * 15 bytes of it (padded by 0), two local addresses (u8 family, 16 bytes; IPv4, then IPv6; family 0: none), then the table
 * (native/core/table.h).
 */
const MAGIC = new TextEncoder().encode('LodenFW2');
const MARK_AT = MAGIC.length;
const PORT_AT = MARK_AT + 32;
const NAME_MAX = 15;
const NAME_AT = PORT_AT + 2;
const LOCAL_AT = NAME_AT + 1 + NAME_MAX;
const ADDRESS = 17;
const TABLE_AT = LOCAL_AT + 2 * ADDRESS;

const markOf = (network: string): Uint8Array => hash('sha256', network, 'buffer');

/** `network`: a name that no other network has. */
export function encodeSaved({ device, port, local, table }: SavedForwarding, network: string): Uint8Array {
  const name = new TextEncoder().encode(device);
  if (name.length === 0 || name.length > NAME_MAX) throw new RangeError(`no name of a device: ${device}`);
  const rest = encodeTable(table);
  const bytes = new Uint8Array(TABLE_AT + rest.length);
  bytes.set(MAGIC);
  bytes.set(markOf(network), MARK_AT);
  new DataView(bytes.buffer).setUint16(PORT_AT, port, true);
  bytes[NAME_AT] = name.length;
  bytes.set(name, NAME_AT + 1);
  for (const a of local) {
    const at = LOCAL_AT + (a.family === 4 ? 0 : ADDRESS);
    bytes[at] = a.family;
    bytes.set(addrBytes(a), at + 1);
  }
  bytes.set(rest, TABLE_AT);
  return bytes;
}

/** Undefined, with the reason, for anything but such a file of this network. */
export function decodeSaved(
  bytes: Uint8Array,
  network: string,
): { saved: SavedForwarding } | { wrong: string } {
  if (bytes.length < TABLE_AT) return { wrong: 'it is too short' };
  if (MAGIC.some((byte, i) => bytes[i] !== byte))
    return { wrong: 'it does not begin like one of this version' };
  if (markOf(network).some((byte, i) => bytes[MARK_AT + i] !== byte))
    return { wrong: 'it is of another network' };
  const port = bytes[PORT_AT]! | (bytes[PORT_AT + 1]! << 8);
  const length = bytes[NAME_AT]!;
  const name = bytes.subarray(NAME_AT + 1, NAME_AT + 1 + length);
  const isName = length > 0 && length <= NAME_MAX && name.every((c) => c > 0x20 && c < 0x7f && c !== 0x2f);
  if (port === 0 || !isName) return { wrong: 'its port or its device is none' };
  const local: Addr[] = [];
  for (const [i, family] of ([4, 6] as const).entries()) {
    const at = LOCAL_AT + i * ADDRESS;
    if (bytes[at] === 0) continue;
    if (bytes[at] !== family) return { wrong: `its local address is of family ${bytes[at]}` };
    local.push(addressAt(bytes, at + 1, family));
  }
  const read = decodeTable(bytes.subarray(TABLE_AT));
  if ('wrong' in read) return { wrong: `its table: ${read.wrong}` };
  return { saved: { device: new TextDecoder().decode(name), port, local, table: read.table } };
}

const addressAt = (bytes: Uint8Array, at: number, family: Family): Addr =>
  addrFromBytes(bytes.subarray(at, at + (family === 4 ? 4 : 16)));

/** What was read, and what it was read from. */
export interface ReadSaved {
  readonly saved: SavedForwarding;
  readonly bytes: Buffer;
}

/**
 * What is saved for this network; undefined when there is no file, or none to be believed (`onWrong` is told why). `before`:
 * what was read the last time, given back when it is still what the file holds.
 */
export async function readSaved(
  path: string,
  network: string,
  onWrong: (reason: string) => void,
  before?: ReadSaved,
): Promise<ReadSaved | undefined> {
  try {
    const file = await open(path, 'r');
    try {
      const { size } = await file.stat();
      if (size > TABLE_AT + MAX_TABLE_BYTES) throw new Error(`it has ${size} bytes`);
      const bytes = await file.readFile();
      if (before?.bytes.equals(bytes)) return before;
      const read = decodeSaved(bytes, network);
      if ('saved' in read) return { saved: read.saved, bytes };
      onWrong(read.wrong);
    } finally {
      await file.close();
    }
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') onWrong((cause as Error).message);
  }
  return undefined;
}

/** Milliseconds before what could not be written is tried again. */
const RETRY = 1_000;

/** Keeps the file as it should be: of several wishes that come while one is written, the last. */
export class SavedFile {
  readonly #path: string;
  readonly #network: string;
  readonly #onError: (message: string | undefined) => void;
  #next: SavedForwarding | 'none' | undefined;
  #writing: Promise<void> | undefined;
  #retry: NodeJS.Timeout | undefined;

  /** `onError` is told of a failure, and of its end (undefined). */
  constructor(path: string, network: string, onError: (message: string | undefined) => void) {
    this.#path = path;
    this.#network = network;
    this.#onError = onError;
  }

  save(saved: SavedForwarding | undefined): void {
    clearTimeout(this.#retry);
    this.#next = saved ?? 'none';
    this.#writing ??= this.#work();
  }

  /** When all is written that can be. */
  async settled(): Promise<void> {
    await this.#writing;
  }

  /** Nothing is to be saved any more, and what cannot be written is given up. */
  async close(): Promise<void> {
    await this.settled();
    clearTimeout(this.#retry);
  }

  async #work(): Promise<void> {
    for (let next = this.#next; next !== undefined; next = this.#next) {
      this.#next = undefined;
      try {
        await this.#write(next);
        this.#onError(undefined);
      } catch (e) {
        this.#onError((e as Error).message);
        const again = next === 'none' ? undefined : next;
        if (!this.#next) this.#retry = setTimeout(() => this.save(again), RETRY).unref();
      }
    }
    // In the same turn as the last look, or a wish could come in between and find somebody at work.
    this.#writing = undefined;
  }

  async #write(saved: SavedForwarding | 'none'): Promise<void> {
    if (saved === 'none') await rm(this.#path, { force: true });
    else await writeAtomically(this.#path, encodeSaved(saved, this.#network), 0o600, 0o755);
  }
}
