/**
 * The udp backend's data path in the addon. Numbers are file descriptors, -1: none; they stay the caller's, which closes
 * them when nothing uses them any more.
 */
export interface ForwarderAddon {
  /**
   * Make a TUN device in this network namespace: persistent, with many queues and offload headers; down, without addresses.
   * One that is there already is left as it is, if it can be attached to. Throws `{code}`: EBUSY, EINVAL (a device of another
   * make has the name), EPERM, ENOENT (no /dev/net/tun: the kernel module `tun` is missing).
   */
  tunCreate(name: string): void;
  /** Attach 1 to 16 queues to a device that is there (ENODEV). A device without queues drops what is sent to it. */
  tunAttach(name: string, count: number): number[];
  /**
   * Of which device a descriptor is a queue. `flags`: IFF_* of linux/if_tun.h. Throws for anything else, and when its device is gone
   * (EBADFD).
   */
  tunIdentity(fd: number): { readonly name: string; readonly ifindex: number; readonly flags: number };
  /**
   * Open 1 to 16 sockets bound to an address of this host (4 or 16 bytes) and a port, which share what arrives.
   * For more than one there is a socket to send from for each. Throws `{code}`: EADDRINUSE, EADDRNOTAVAIL, …
   */
  udpOpen(address: Uint8Array, port: number, count: number): { sockets: number[]; senders: number[] };
  /** Where a UDP socket is bound. Throws for anything else. */
  udpIdentity(fd: number): { readonly address: Uint8Array; readonly port: number };
  closeFds(fds: readonly number[]): void;
  /**
   * A forwarder that stands still and has an empty table. `statsFd`: a file for its counters, mapped and made as large as
   * needed, -1: memory of its own. `onEvent` does not hold the event loop.
   */
  forwarder(statsFd: number, onEvent: (event: ForwarderEvent) => void): NativeForwarder;
  /** What counters there are, in the order of {@link NativeForwarder.counters}. */
  forwarderLayout(): { readonly counters: readonly CounterName[]; readonly drops: readonly CounterName[] };
}

export interface CounterName {
  readonly name: string;
  readonly meaning: string;
}

/**
 * `tun-lost`: a queue's device is gone, and its worker sleeps until the forwarder is stopped; packets from peers wait in the sockets.
 * `gso-refused`: the device below a socket takes no trains; each packet is a message from now on.
 */
export interface ForwarderEvent {
  readonly kind: 'tun-lost' | 'gso-refused';
  readonly queue: number;
  readonly errno: number;
}

/** What one worker forwards between. `out4`, `out6`: sockets to send from, where they are not those that receive. */
export interface ForwarderQueue {
  readonly tun: number;
  readonly udp4: number;
  readonly udp6: number;
  readonly out4: number;
  readonly out6: number;
}

/** What the kernel does for all the queues: UDP_SEGMENT, UDP_GRO, TCP and UDP super-packets on the device. */
export interface ForwarderAbility {
  readonly gso: boolean;
  readonly gro: boolean;
  readonly tso: boolean;
  readonly uso: boolean;
}

export interface NativeForwarder {
  /** Why the counters are not in the file that was given for them. */
  readonly statsNote?: string;
  /** One worker for each of 1 to 16 queues. Peers are sent to at the port the sockets are bound to. Throws EBUSY when it runs. */
  start(queues: readonly ForwarderQueue[]): ForwarderAbility;
  /**
   * When it returns (a batch later, well below a millisecond), what has been read has been forwarded, the rest is in the kernel's
   * queues, and the descriptors are not used any more. Idempotent.
   */
  stop(): void;
  /** Put a table (bytes: native/core/table.h) in force at once, running or not. Throws TypeError with the reason for bytes that are none. */
  swap(table: Uint8Array): void;
  /** Summed over workers: counters, drops of packets from the device, drops of packets from peers; see `forwarderLayout`. */
  counters(): BigUint64Array;
  /** Four for each slot: packets out, bytes out, packets in, bytes in. */
  peerCounters(slots: Uint32Array): BigUint64Array;
  /** Stops for good; everything else throws from then on. Idempotent. */
  close(): void;
}
