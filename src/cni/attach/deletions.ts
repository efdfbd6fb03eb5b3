import { KernelError } from '../../errors.ts';
import type { Request } from '../../netlink/message.ts';
import { watchLinksGone } from '../../netlink/monitor.ts';
import type { NetlinkFailure } from '../../netlink/protocol.ts';
import { link } from '../../netlink/rtnl.ts';
import { NetlinkSocket } from '../../netlink/socket.ts';

/**
 * The deletion of veths. The kernel acknowledges one only when its last user is gone, after a grace period of 20 ms or so
 * (net/core/dev.c netdev_run_todo, rcu_barrier), while the device has left all tables, and its other end with it, when
 * RTM_DELLINK is told, in a hundredth of that. So the notification is what is waited for, and what waits for the
 * acknowledgement is a socket that nobody else waits for.
 */

/** Sockets that may wait at once: 16 in 23 ms is one deletion in 1.4 ms, beyond which they are batched. */
const MOST_SOCKETS = 16;
/** Devices in one message of a batch: RTNL is held for all of them. */
const BATCH = 32;
/** Milliseconds after which sockets that nobody uses are closed. */
const IDLE = 10_000;

/**
 * Devices of one group are deleted by one message, and so wait for one grace period (rtnl_group_dellink). Any number
 * does that no other program gives to devices of its own; these are the letters "LODN".
 */
export const DOOMED_GROUP = 0x4c4f_444e;

interface Doomed {
  readonly ifindex: number;
  readonly name: string;
  readonly gone: PromiseWithResolvers<void>;
}

export interface DeletionsOptions {
  /** Descriptor of the host's namespace; the process's own if absent. */
  readonly netnsFd?: number;
}

export class Deletions {
  readonly #options: DeletionsOptions;
  readonly #doomed = new Map<number, Doomed>();
  readonly #queue: Doomed[] = [];
  readonly #idle: NetlinkSocket[] = [];
  readonly #sending = new Set<Promise<void>>();
  readonly #monitor: { close(): void };
  #isPlanned = false;
  #isClosed = false;
  #tidy: NodeJS.Timeout | undefined;

  /** Throws NativeError. */
  constructor(options: DeletionsOptions = {}) {
    this.#options = options;
    // What is lost of the notifications, the acknowledgements tell.
    this.#monitor = watchLinksGone(
      (ifindex) => this.#settle(ifindex),
      () => {},
      { ...options, quietMs: 0 },
    );
  }

  /** Requests that the kernel has not acknowledged. */
  get outstanding(): number {
    return this.#sending.size;
  }

  /** Resolves when the device is gone, whoever has removed it. Rejects with KernelError or NativeError. */
  delete({ ifindex, name }: { readonly ifindex: number; readonly name: string }): Promise<void> {
    const known = this.#doomed.get(ifindex);
    if (known) return known.gone.promise;
    const doomed: Doomed = { ifindex, name, gone: Promise.withResolvers() };
    this.#doomed.set(ifindex, doomed);
    this.#queue.push(doomed);
    // All that is asked for in one turn of the event loop goes together.
    if (!this.#isPlanned) {
      this.#isPlanned = true;
      queueMicrotask(() => {
        this.#isPlanned = false;
        this.#pump();
      });
    }
    return doomed.gone.promise;
  }

  /** Waits for every acknowledgement: a device whose deletion was asked for is gone then. Idempotent. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#pump();
    while (this.#sending.size > 0) await Promise.all(this.#sending);
    clearTimeout(this.#tidy);
    this.#closeIdle();
    this.#monitor.close();
  }

  #pump(): void {
    while (this.#queue.length > 0 && this.#sending.size < MOST_SOCKETS) {
      const batch = this.#queue.splice(0, BATCH);
      const sending = this.#send(batch).catch((cause) => {
        for (const { ifindex } of batch) this.#settle(ifindex, cause);
      });
      this.#sending.add(sending);
      void sending.then(() => {
        this.#sending.delete(sending);
        this.#pump();
      });
    }
  }

  async #send(batch: readonly Doomed[]): Promise<void> {
    const socket = this.#idle.pop() ?? NetlinkSocket.open(this.#options);
    try {
      const isRefused = batch.length > 1 && (await deleteTogether(socket, batch));
      const failures = batch.length > 1 && !isRefused ? [] : await socket.transact(batch.map(removal));
      for (const [i, doomed] of batch.entries()) this.#settle(doomed.ifindex, errorOf(doomed, failures[i]));
      this.#rest(socket);
    } catch (cause) {
      socket.close();
      throw cause;
    }
  }

  #settle(ifindex: number, error?: unknown): void {
    const doomed = this.#doomed.get(ifindex);
    if (!doomed) return;
    this.#doomed.delete(ifindex);
    if (error === undefined) doomed.gone.resolve();
    else doomed.gone.reject(error);
  }

  #rest(socket: NetlinkSocket): void {
    if (this.#isClosed) {
      socket.close();
      return;
    }
    this.#idle.push(socket);
    this.#tidy ??= setTimeout(() => {
      this.#tidy = undefined;
      this.#closeIdle();
    }, IDLE).unref();
    this.#tidy.refresh();
  }

  #closeIdle(): void {
    for (const socket of this.#idle.splice(0)) socket.close();
  }
}

/** By their group. True when the kernel would not: then each is to be asked for by itself. */
async function deleteTogether(socket: NetlinkSocket, batch: readonly Doomed[]): Promise<boolean> {
  const group = { IFLA_GROUP: DOOMED_GROUP };
  const outcomes = await socket.transact([
    ...batch.map(({ ifindex }) => link.change({ ifi_index: ifindex }, group) as Request),
    link.remove({}, group) as Request,
  ]);
  return outcomes.some((failure) => failure !== undefined && failure.code !== 'ENODEV');
}

const removal = ({ ifindex }: Doomed): Request => link.remove({ ifi_index: ifindex }, {}) as Request;

function errorOf({ name }: Doomed, failure: NetlinkFailure | undefined): KernelError | undefined {
  if (failure === undefined || failure.code === 'ENODEV') return undefined;
  const { errno, code, extack } = failure;
  return new KernelError({ errno, code, op: 'delete link', object: name, extack });
}
