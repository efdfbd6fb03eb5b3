import { type Addr, bits, type Family } from '../../net/addr.ts';
import { network, type Prefix } from '../../net/prefix.ts';
import type { ForwarderPeer, ForwarderTable } from '../backend.ts';
import { MAX_SLOTS } from './slots.ts';

/**
 * The forwarding table as bytes, in the format of native/core/table.h: made here, read by the forwarder; and read back here
 * by a daemon that starts. Little-endian, addresses in network order.
 */

const MAGIC = 0x3154_466e_6564_6f4cn; // "LodenFT1"
const HEADER = 8 + 2 + 2 + 4 + 4;
const ADDRESS = 1 + 16;
const PREFIX = ADDRESS + 1;
const OWN = 2 * ADDRESS + 2 * PREFIX;
const PEER = 4 + 2 * ADDRESS;
const ROUTE = 4 + PREFIX;
const MAX_ROUTES = 262_144;
/** RFC 791. */
const LEAST_MTU = 68;

/** Longest table, bytes. */
export const MAX_TABLE_BYTES = HEADER + OWN + MAX_SLOTS * PEER + MAX_ROUTES * ROUTE;

const FAMILIES = [4, 6] as const;
const ofFamily = <T extends Addr>(all: readonly T[], family: Family): T | undefined =>
  all.find((a) => a.family === family);

/** Of tables that somebody still holds: what is put in force is saved too. */
const encoded = new WeakMap<ForwarderTable, Uint8Array<ArrayBuffer>>();

/** The bytes of a table, made once; not to be changed. */
export function encodeTable(table: ForwarderTable): Uint8Array<ArrayBuffer> {
  const bytes = encoded.get(table);
  if (bytes) return bytes;
  const steps = tableEncoding(table);
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
  }
}

/** {@link encodeTable} in steps of one peer, for whoever takes slices: 10,000 peers take 10 ms. */
export function* tableEncoding(table: ForwarderTable): Generator<void, Uint8Array<ArrayBuffer>> {
  const { mtu, tun, own, peers } = table;
  const routes = peers.reduce((sum, { prefixes }) => sum + prefixes.length, 0);
  const bytes = new Uint8Array(HEADER + OWN + peers.length * PEER + routes * ROUTE);
  const w = new Pen(new DataView(bytes.buffer));
  w.u64(MAGIC);
  w.u16(mtu);
  w.u16(0);
  w.u32(peers.length);
  w.u32(routes);
  for (const family of FAMILIES) w.address(ofFamily(tun, family));
  for (const family of FAMILIES) w.prefix(own.find((p) => p.addr.family === family));
  for (const { slot, endpoints } of peers) {
    w.u32(slot);
    for (const family of FAMILIES) w.address(ofFamily(endpoints, family));
    yield;
  }
  for (const [index, { prefixes }] of peers.entries()) {
    for (const prefix of prefixes) {
      w.u32(index);
      w.prefix(prefix);
    }
    yield;
  }
  encoded.set(table, bytes);
  return bytes;
}

class Pen {
  readonly #view: DataView;
  #at = 0;

  constructor(view: DataView) {
    this.#view = view;
  }

  u16(value: number): void {
    this.#view.setUint16(this.#at, value, true);
    this.#at += 2;
  }

  u32(value: number): void {
    this.#view.setUint32(this.#at, value, true);
    this.#at += 4;
  }

  u64(value: bigint): void {
    this.#view.setBigUint64(this.#at, value, true);
    this.#at += 8;
  }

  /** Zeros for none. */
  address(a: Addr | undefined): void {
    if (a) {
      this.#view.setUint8(this.#at, a.family);
      if (a.family === 4) this.#view.setUint32(this.#at + 1, Number(a.value));
      else {
        this.#view.setBigUint64(this.#at + 1, a.value >> 64n);
        this.#view.setBigUint64(this.#at + 9, a.value & 0xffff_ffff_ffff_ffffn);
      }
    }
    this.#at += ADDRESS;
  }

  prefix(p: Prefix | undefined): void {
    this.address(p?.addr);
    this.#view.setUint8(this.#at++, p?.len ?? 0);
  }
}

/** The table that the bytes stand for, or why they are none. Believes nothing: they may come from anywhere. */
export function decodeTable(
  bytes: Uint8Array,
): { readonly table: ForwarderTable } | { readonly wrong: string } {
  try {
    return { table: read(bytes) };
  } catch (e) {
    if (e instanceof TableError) return { wrong: e.message };
    throw e;
  }
}

class TableError extends Error {}

function need(condition: boolean, wrong: string): asserts condition {
  if (!condition) throw new TableError(wrong);
}

function read(bytes: Uint8Array): ForwarderTable {
  need(bytes.length >= HEADER + OWN, `it has ${bytes.length} bytes, fewer than any table`);
  const r = new Eye(new DataView(bytes.buffer, bytes.byteOffset, bytes.length));
  need(r.u64() === MAGIC, 'it does not begin like one of this version');
  const mtu = r.u16();
  need(mtu >= LEAST_MTU, `its MTU is ${mtu}`);
  need(r.u16() === 0, 'what is reserved is not 0');
  const [peerCount, routeCount] = [r.u32(), r.u32()];
  need(
    peerCount <= MAX_SLOTS && routeCount <= MAX_ROUTES,
    `it has ${peerCount} peers, ${routeCount} prefixes`,
  );
  const length = HEADER + OWN + peerCount * PEER + routeCount * ROUTE;
  need(bytes.length === length, `it has ${bytes.length} bytes, not ${length}`);
  const tun = FAMILIES.flatMap((family) => r.address(family) ?? []);
  const own = FAMILIES.flatMap((family) => r.prefix(family) ?? []);
  const slots = new Set<number>();
  const peers: (ForwarderPeer & { readonly prefixes: Prefix[] })[] = [];
  for (let i = 0; i < peerCount; i++) {
    const slot = r.u32();
    need(slot < MAX_SLOTS && !slots.has(slot), `slot ${slot} is taken, or there is none`);
    slots.add(slot);
    peers.push({ slot, endpoints: FAMILIES.flatMap((family) => r.address(family) ?? []), prefixes: [] });
  }
  const routes = new Set<string>();
  for (let i = 0; i < routeCount; i++) {
    const peer = peers[r.u32()];
    need(peer !== undefined, 'a prefix is of a peer that is not there');
    const prefix = r.prefix();
    need(prefix !== undefined, 'a prefix has no family');
    const key = `${prefix.addr.family} ${prefix.addr.value} ${prefix.len}`;
    need(!routes.has(key), 'a prefix is there twice');
    routes.add(key);
    peer.prefixes.push(prefix);
  }
  return { mtu, tun, own, peers };
}

class Eye {
  readonly #view: DataView;
  #at = 0;

  constructor(view: DataView) {
    this.#view = view;
  }

  u16(): number {
    this.#at += 2;
    return this.#view.getUint16(this.#at - 2, true);
  }

  u32(): number {
    this.#at += 4;
    return this.#view.getUint32(this.#at - 4, true);
  }

  u64(): bigint {
    this.#at += 8;
    return this.#view.getBigUint64(this.#at - 8, true);
  }

  /** Undefined for none. `wanted`: the one family that may be there. */
  address(wanted?: Family): Addr | undefined {
    const at = this.#at;
    this.#at += ADDRESS;
    const family = this.#view.getUint8(at);
    const high = this.#view.getBigUint64(at + 1);
    const low = this.#view.getBigUint64(at + 9);
    if (family === 0) {
      need(high === 0n && low === 0n, 'there is an address without a family');
      return undefined;
    }
    need(
      (family === 4 || family === 6) && (wanted === undefined || family === wanted),
      `there is an address of family ${family}`,
    );
    if (family === 6) return { family, value: (high << 64n) | low };
    need((high & 0xffff_ffffn) === 0n && low === 0n, 'an IPv4 address is too long');
    return { family, value: high >> 32n };
  }

  prefix(wanted?: Family): Prefix | undefined {
    const addr = this.address(wanted);
    const len = this.#view.getUint8(this.#at++);
    if (!addr) {
      need(len === 0, 'there is a prefix without a family');
      return undefined;
    }
    const prefix = { addr, len };
    need(len <= bits(addr.family) && network(prefix) === prefix, 'a prefix has bits beyond its length');
    return prefix;
  }
}
