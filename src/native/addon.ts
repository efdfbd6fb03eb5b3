import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { NativeError } from '../errors.ts';
import type { ForwarderAddon } from './forwarder.ts';
import type { ProberAddon } from './prober.ts';

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
  /** The socket's port id (nlmsg_pid in replies); undefined of one that is opened `later`. */
  readonly portId: number | undefined;
  /**
   * Read or write files below /proc/sys on the socket's thread, so those of its namespace, in order. `value` absent: read.
   * One result for each: the text read (at most 4 KB, trimmed), true for written, or why not (`{code: 'ENOENT'}`).
   * Paths as `net/ipv6/conf/eth0/accept_ra`; anything that could climb out (`..`, empty parts) is `EINVAL`.
   */
  sysctls(
    jobs: readonly { readonly path: string; readonly value?: string }[],
  ): Promise<readonly (string | true | { readonly code: string })[]>;
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

/** A listening SEQPACKET socket. */
export interface NativeListener {
  /** Undefined when nobody waits. `onReady`: there is something to receive. */
  accept(onReady: () => void): NativeConnection | undefined;
  close(): void;
}

/** A connected SEQPACKET socket. Nothing on it ever waits. It holds the event loop until it is closed. */
export interface NativeConnection {
  /** Whose socket the other end is (SO_PEERCRED): of who connected, or listened, at that moment. */
  readonly peer: { readonly pid: number; readonly uid: number; readonly gid: number };
  /**
   * Send one message, whole, of 1 to 65,536 bytes with at most 253 descriptors, which stay the caller's. False when the
   * other end does not take it now; throws `{code: 'EPIPE'}` when there is none.
   */
  send(bytes: Uint8Array, fds: readonly number[]): boolean;
  /**
   * The next message; its descriptors are the caller's to close (close-on-exec is set). `refused`: it was too long, or
   * not all its descriptors could be taken; those that came are closed. `end`: there will be no more. Undefined: not now.
   */
  receive(): { readonly bytes: Uint8Array; readonly fds: readonly number[] } | 'refused' | 'end' | undefined;
  /** The other end sees it at once, after what was sent before. Idempotent. */
  close(): void;
}

export interface Addon extends ForwarderAddon, ProberAddon {
  /**
   * `netnsFd` -1: the process's own. `rcvbuf` bytes (forced past rmem_max when allowed). `later`: returns before it is open,
   * which takes a thread longer to begin than to do; what goes wrong then is what its exchanges reject with.
   */
  netlinkOpen(protocol: number, netnsFd: number, rcvbuf: number, later?: boolean): NativeNetlink;
  /**
   * Subscribe to multicast groups. `onHints` gets de-duplicated hints at most once per `quietMs`;
   * `overrun` true means some were lost and everything may have changed. Routes and neighbours that were changed
   * through the socket with the port id `ownPort` are not told. `onlyType`: only notifications of this nlmsg_type are
   * received at all; the thread is not even woken for others.
   */
  netlinkMonitor(
    protocol: number,
    groups: readonly number[],
    netnsFd: number,
    quietMs: number,
    onHints: (hints: readonly NetlinkHint[], overrun: boolean) => void,
    ownPort?: number,
    onlyType?: number,
  ): NativeMonitor;
  /**
   * Send one datagram to NOTIFY_SOCKET (`/path` or `@abstract`), with at most 253 descriptors beside it (FDSTORE=1).
   * False when nobody listens, or takes no more now.
   */
  sdNotify(socketPath: string, state: string, fds?: readonly number[]): boolean;
  /** Set FD_CLOEXEC; throws `{code: 'EBADF'}` for what is no open descriptor. */
  closeOnExec(fds: readonly number[]): void;
  /**
   * Listen on a Unix socket of type SEQPACKET, whose file gets mode 0600; throws `{code: 'EADDRINUSE'}` when there is a
   * file. `onReady`: somebody may be accepted. It does not hold the event loop.
   */
  handoverListen(path: string, onReady: () => void): NativeListener;
  /** Connect to such a socket. Throws `{code}`: ECONNREFUSED when nobody listens, ENOENT, EAGAIN when too many wait. */
  handoverConnect(path: string, onReady: () => void): NativeConnection;
  /**
   * Open a network namespace by path: at once where the kernel knows the whole path already, else on a thread of its own, for
   * a path of a stranger may hang. Rejects with `{code}`: what open(2) says, `EINVAL` for a file that is no network namespace
   * (NS_GET_NSTYPE), `ETIMEDOUT` after `timeoutMs`.
   * `fd` (close-on-exec) is the caller's to close. `dev` and `ino` tell namespaces apart.
   */
  netnsOpen(path: string, timeoutMs: number): Promise<{ fd: number; dev: bigint; ino: bigint }>;
  /** flock(fd, LOCK_EX), waiting on a thread of its own; false when `timeoutMs` passed. The lock goes with the descriptor. */
  flockWait(fd: number, timeoutMs: number): Promise<boolean>;
  /** flock(fd, LOCK_EX | LOCK_NB). False when somebody else holds it. */
  flockTry(fd: number): boolean;
  /** SO_PEERCRED of a connected Unix socket's descriptor. */
  peerCred(fd: number): { pid: number; uid: number; gid: number };
  /** CLOCK_BOOTTIME in milliseconds: goes on while the machine sleeps, as a lease does. */
  bootTimeMs(): number;
  /** Does the kernel say that somebody keeps the wall clock right (adjtimex)? Null: it does not say. */
  clockSynchronised(): boolean | null;
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
