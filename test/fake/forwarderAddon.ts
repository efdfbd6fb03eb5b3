import { decodeTable } from '../../src/backends/udp/tableBytes.ts';
import type {
  ForwarderAddon,
  ForwarderEvent,
  ForwarderQueue,
  NativeForwarder,
} from '../../src/native/forwarder.ts';

/** An error as the addon throws it. */
const failure = (code: string): Error => Object.assign(new Error(`${code}: no`), { code, errno: 1 });

type Fd =
  | { readonly of: 'tun'; readonly name: string; readonly ifindex: number }
  | { readonly of: 'udp'; readonly at: string; readonly address: Uint8Array; readonly port: number };

const text = (address: Uint8Array, port: number): string => `${address.join('.')} ${port}`;

/**
 * A model of the addon's data path, as far as its owner meets it, that throws an AssertionError-like Error at whoever uses it
 * wrongly: closes twice, closes what is in use, starts with what is not open. test/netns/forwarder.test.ts holds it to the
 * real one.
 */
export class FakeForwarderAddon implements ForwarderAddon {
  /** Devices by name. */
  readonly devices = new Map<string, { ifindex: number; busy?: string }>();
  /** Taken by other programs, as `address port`. */
  readonly taken = new Set<string>();
  /** Addresses that are not on this host. */
  readonly foreign = new Set<string>();
  readonly open = new Map<number, Fd>();
  readonly forwarders: FakeNativeForwarder[] = [];
  /** All that was asked for, in a word each. */
  readonly calls: string[] = [];
  /** What is wrong with the file for the counters. */
  statsNote: string | undefined;
  #next = 100;

  /** The forwarder that was made last. */
  get last(): FakeNativeForwarder {
    return this.forwarders.at(-1)!;
  }

  device(name: string, ifindex: number): void {
    this.devices.set(name, { ifindex });
  }

  tunCreate(name: string): void {
    if (!this.devices.has(name)) this.device(name, 1000 + this.devices.size);
  }

  tunAttach(name: string, count: number): number[] {
    this.calls.push(`attach ${name} ${count}`);
    const device = this.devices.get(name);
    if (!device) throw failure('ENODEV');
    if (device.busy) throw failure(device.busy);
    return Array.from({ length: count }, () => this.#add({ of: 'tun', name, ifindex: device.ifindex }));
  }

  tunIdentity(fd: number): { name: string; ifindex: number; flags: number } {
    const it = this.open.get(fd);
    if (!it) throw failure('EBADF');
    if (it.of !== 'tun') throw failure('ENOTTY');
    for (const [name, { ifindex }] of this.devices) {
      if (ifindex === it.ifindex) return { name, ifindex, flags: 0x5901 };
    }
    throw failure('EBADFD');
  }

  udpOpen(address: Uint8Array, port: number, count: number): { sockets: number[]; senders: number[] } {
    const at = text(address, port);
    this.calls.push(`bind ${at} ${count}`);
    if (this.taken.has(at)) throw failure('EADDRINUSE');
    if (this.foreign.has(address.join('.'))) throw failure('EADDRNOTAVAIL');
    if ([...this.open.values()].some((it) => it.of === 'udp' && it.at === at)) throw failure('EADDRINUSE');
    const sockets = Array.from({ length: count }, () => this.#add({ of: 'udp', at, address, port }));
    const senders =
      count > 1
        ? Array.from({ length: count }, () =>
            this.#add({ of: 'udp', at: `${address.join('.')} any`, address, port: 0 }),
          )
        : [];
    return { sockets, senders };
  }

  udpIdentity(fd: number): { address: Uint8Array; port: number } {
    const it = this.open.get(fd);
    if (!it) throw failure('EBADF');
    if (it.of !== 'udp') throw failure('ENOTSOCK');
    return { address: it.address, port: it.port };
  }

  closeFds(fds: readonly number[]): void {
    this.calls.push(`close ${fds.length}`);
    for (const fd of fds) {
      if (!this.open.delete(fd)) throw new Error(`misuse: descriptor ${fd} is not open`);
      if (this.forwarders.some((f) => f.uses(fd))) throw new Error(`misuse: descriptor ${fd} is in use`);
    }
  }

  forwarder(_statsFd: number, onEvent: (event: ForwarderEvent) => void): NativeForwarder {
    const made = new FakeNativeForwarder(this, onEvent);
    if (this.statsNote !== undefined) made.statsNote = this.statsNote;
    this.forwarders.push(made);
    return made;
  }

  forwarderLayout() {
    const names = (all: string) => all.split(' ').map((name) => ({ name, meaning: name }));
    return {
      counters: names('out_packets out_trains out_calls in_packets in_datagrams in_supers'),
      drops: names('none truncated unknown_peer'),
    };
  }

  #add(fd: Fd): number {
    this.open.set(this.#next, fd);
    return this.#next++;
  }
}

export class FakeNativeForwarder implements NativeForwarder {
  statsNote?: string;
  queues: readonly ForwarderQueue[] = [];
  /** The table in force, as bytes. */
  table: Uint8Array | undefined;
  /** Makes the next start fail. */
  fault: string | undefined;
  readonly #addon: FakeForwarderAddon;
  readonly #onEvent: (event: ForwarderEvent) => void;
  #closed = false;

  constructor(addon: FakeForwarderAddon, onEvent: (event: ForwarderEvent) => void) {
    this.#addon = addon;
    this.#onEvent = onEvent;
  }

  uses(fd: number): boolean {
    return this.queues.some((q) => Object.values(q).includes(fd));
  }

  get running(): boolean {
    return this.queues.length > 0;
  }

  /** As a worker whose device is gone. */
  lose(errno = 77): void {
    this.#onEvent({ kind: 'tun-lost', queue: 0, errno });
  }

  /** As a worker whose uplink takes no trains. */
  refuseTrains(): void {
    this.#onEvent({ kind: 'gso-refused', queue: 0, errno: 5 });
  }

  start(queues: readonly ForwarderQueue[]) {
    this.#check();
    this.#addon.calls.push(`start ${queues.length}`);
    if (queues.length < 1 || queues.length > 16) throw new TypeError('queues: 1 to 16');
    if (queues.some((q) => q.tun < 0 || (q.udp4 < 0 && q.udp6 < 0)))
      throw new TypeError('a queue without ends');
    if (this.running) throw failure('EBUSY');
    if (this.fault) throw failure(this.fault);
    for (const queue of queues) {
      for (const fd of Object.values(queue))
        if (fd >= 0 && !this.#addon.open.has(fd)) throw new Error(`misuse: descriptor ${fd} is not open`);
      this.#addon.tunIdentity(queue.tun);
    }
    this.queues = queues;
    return { gso: true, gro: true, tso: true, uso: false };
  }

  stop(): void {
    this.#addon.calls.push('stop');
    this.queues = [];
  }

  swap(table: Uint8Array): void {
    this.#check();
    const read = decodeTable(table);
    if ('wrong' in read) throw new TypeError(read.wrong);
    this.#addon.calls.push('swap');
    this.table = table.slice();
  }

  counters(): BigUint64Array {
    return BigUint64Array.of(100n, 10n, 5n, 60n, 3n, 6n, 0n, 1n, 0n, 0n, 0n, 7n);
  }

  peerCounters(slots: Uint32Array): BigUint64Array {
    return BigUint64Array.from([...slots].flatMap((slot) => [1, 2, 3, 4].map((n) => BigInt(slot * 10 + n))));
  }

  close(): void {
    this.stop();
    this.#closed = true;
  }

  #check(): void {
    if (this.#closed) throw failure('ECANCELED');
  }
}
