import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { NativeError } from '../errors.ts';

/** A netlink socket with its own thread. Made in the wanted network namespace, where it stays for life. */
export interface NativeNetlink {
  /**
   * Send one chunk of complete netlink messages and collect every reply until the one to `lastSeq` is finished
   * (its NLMSG_ERROR, or NLMSG_DONE of a dump). One exchange runs at a time; further ones queue.
   * Resolves to the raw replies, concatenated; `overrun` tells that the kernel dropped some (ENOBUFS).
   * Rejects with `{code}` when the socket itself fails or `timeoutMs` passes.
   */
  exchange(
    bytes: Uint8Array,
    lastSeq: number,
    timeoutMs: number,
  ): Promise<{ data: Uint8Array; overrun: boolean }>;
  /** The socket's port id (nlmsg_pid in replies). */
  readonly portId: number;
  /** Ends the thread, closes the socket; pending exchanges reject. Idempotent. */
  close(): void;
}

/** A distinct thing that changed since the last call: events are hints, coalesced on the native thread. */
export interface NetlinkHint {
  /** nlmsg_type, e.g. RTM_NEWLINK. */
  readonly type: number;
  /** ifindex for link, address and neighbour messages and RTA_OIF for routes; 0 when the message has none. */
  readonly ifindex: number;
  /** Address family byte of the message header. */
  readonly family: number;
  /**
   * The whole notification, of a neighbour or an FDB entry, unless there are many of them on the device: not all tell
   * who has made the change, so it is for the receiver to see whether it is news.
   */
  readonly message?: Uint8Array;
}

export interface NativeMonitor {
  close(): void;
}

export interface Addon {
  /** `netnsFd` -1: the process's own. `rcvbuf` bytes (forced past rmem_max when allowed). */
  netlinkOpen(protocol: number, netnsFd: number, rcvbuf: number): NativeNetlink;
  /**
   * Subscribe to multicast groups. `onHints` gets de-duplicated hints at most once per `quietMs`;
   * `overrun` true means some were lost and everything may have changed. Routes and neighbours that were changed
   * through the socket with the port id `ownPort` are not told.
   */
  netlinkMonitor(
    protocol: number,
    groups: readonly number[],
    netnsFd: number,
    quietMs: number,
    onHints: (hints: readonly NetlinkHint[], overrun: boolean) => void,
    ownPort?: number,
  ): NativeMonitor;
  /** Send one datagram to NOTIFY_SOCKET (`/path` or `@abstract`). False when nobody listens. */
  sdNotify(socketPath: string, state: string): boolean;
  /** flock(fd, LOCK_EX | LOCK_NB). False when somebody else holds it. */
  flockTry(fd: number): boolean;
  /** SO_PEERCRED of a connected Unix socket's descriptor. */
  peerCred(fd: number): { pid: number; uid: number; gid: number };
  /** CLOCK_BOOTTIME in milliseconds: goes on while the machine sleeps, as a lease does. */
  bootTimeMs(): number;
}

const path = fileURLToPath(new URL('../../build/native/loden.node', import.meta.url));
let loaded: Addon | undefined;

/** The native addon, loaded once. Throws {@link NativeError} naming the command that builds it. */
export function addon(): Addon {
  if (loaded) return loaded;
  try {
    loaded = createRequire(import.meta.url)(path) as Addon;
  } catch (cause) {
    throw new NativeError(
      `cannot load the native addon ${path}: ${(cause as Error).message}; build it by \`npm run setup\``,
      {
        cause,
      },
    );
  }
  return loaded;
}
