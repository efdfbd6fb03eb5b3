import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { KernelError, NativeError } from '../errors.ts';
import { addon, type NativeNetlink } from '../native/addon.ts';
import { Encoder } from './encoder.ts';
import { NETLINK_ROUTE, NLMSG_ERROR } from './header.ts';
import { type Message, type Request, readMessage } from './message.ts';
import {
  messages,
  type NetlinkFailure,
  readDump,
  readOutcomes,
  readReplies,
  readStatus,
} from './protocol.ts';
import { source } from './wire.ts';

/** Milliseconds; the kernel answers at once, so this only ends an exchange whose answer will never come. */
const EXCHANGE_TIMEOUT = 30_000;
/** Bytes; a chunk's refusals and a dump's datagrams fit many times over. */
const RECEIVE_BUFFER = 1024 * 1024;
/** A dump that was interrupted or overrun this often is given up: somebody changes the table without pause. */
const DUMP_TRIES = 10;
/** Milliseconds; the second retry waits this long, the third twice as long, and so on. */
const RETRY_STEP = 10;
/** Milliseconds of decoding before the event loop gets a turn. */
const SLICE = 4;

/** What a socket has done since it was opened. */
export interface NetlinkCounters {
  /** Messages sent to change something. */
  messages: number;
  /** Dumps and gets, retries included. */
  reads: number;
  /** Messages the kernel refused. */
  refused: number;
  /** Dumps done again because of NLM_F_DUMP_INTR or an overrun. */
  retries: number;
  /** Exchanges in which the kernel dropped replies. */
  overruns: number;
}

export interface NetlinkOptions {
  /** NETLINK_*; NETLINK_ROUTE if absent. */
  readonly protocol?: number;
  /** Descriptor of a network namespace; the process's own if absent. */
  readonly netnsFd?: number;
  /** Bytes. */
  readonly rcvbuf?: number;
  /** Do not wait until it is open: that it cannot be is told by what is asked first. It has no known port id. */
  readonly later?: boolean;
}

/**
 * A request-and-reply socket to rtnetlink, or another protocol of netlink. Calls may overlap: exchanges queue, one chunk at a time, so that a long
 * transaction does not keep others waiting. Failures of the socket itself are {@link NativeError}s.
 */
export class NetlinkSocket {
  readonly counters: NetlinkCounters = { messages: 0, reads: 0, refused: 0, retries: 0, overruns: 0 };
  readonly #native: NativeNetlink;
  readonly #encoder = new Encoder();

  constructor(native: NativeNetlink) {
    this.#native = native;
  }

  /** What notifications of changes made through this socket carry. */
  get portId(): number | undefined {
    return this.#native.portId;
  }

  /** Opens a socket in a network namespace, where it stays. Throws {@link NativeError}. */
  static open(options: NetlinkOptions = {}): NetlinkSocket {
    try {
      const native = addon().netlinkOpen(
        options.protocol ?? NETLINK_ROUTE,
        options.netnsFd ?? -1,
        options.rcvbuf ?? RECEIVE_BUFFER,
        options.later ?? false,
      );
      return new NetlinkSocket(native);
    } catch (cause) {
      if (cause instanceof NativeError) throw cause;
      throw new NativeError((cause as Error).message, { cause });
    }
  }

  /**
   * Sends messages in order, in chunks, and tells what became of each: undefined for done. A refused message does not
   * keep the next from being carried out. `requests` may be lazy: it is asked for one chunk at a time. There may be gets
   * among them, which see what those before them have done: `onReply` is called with what they find and the request's number.
   */
  async transact(
    requests: Iterable<Request>,
    onReply?: (reply: Message<unknown, unknown>, index: number) => void,
  ): Promise<(NetlinkFailure | undefined)[]> {
    const iterator = requests[Symbol.iterator]();
    const outcomes: (NetlinkFailure | undefined)[] = [];
    for (;;) {
      const chunk = this.#encoder.next(iterator);
      if (chunk === undefined) return outcomes;
      this.counters.messages += chunk.requests.length;
      const { data, overrun } = await this.#exchange(chunk.bytes, chunk.lastSeq);
      const s = source(data);
      if (onReply)
        for (const { index, message } of readReplies(chunk, s)) onReply(message, outcomes.length + index);
      for (const outcome of readOutcomes(chunk, s, overrun)) {
        if (outcome?.outcome === 'refused') this.counters.refused++;
        outcomes.push(outcome);
      }
    }
  }

  /**
   * Reads a whole table. `pick` turns each message into what the caller wants, or undefined to leave it out; decoding
   * lets the event loop run in between. Done again when the table changed meanwhile or replies were lost.
   * Throws {@link KernelError} when the kernel refuses, or when no try was undisturbed (EINTR, ENOBUFS).
   */
  async dump<H, A, T = Message<H, A>>(
    request: Request<H, A>,
    pick: (message: Message<H, A>) => T | undefined = (message) => message as T,
  ): Promise<T[]> {
    let disturbed: 'EINTR' | 'ENOBUFS' = 'EINTR';
    for (let attempt = 1; attempt <= DUMP_TRIES; attempt++) {
      if (attempt > 1) {
        this.counters.retries++;
        // Whoever disturbs is given time to finish, longer each time.
        await sleep(RETRY_STEP * (attempt - 2));
      }
      this.counters.reads++;
      const { bytes, lastSeq } = this.#encoder.one(request, false);
      const { data, overrun } = await this.#exchange(bytes, lastSeq);
      const s = source(data);
      const dump = readDump(request, s);
      // A routing table exists from its first route on; a strict dump of one that has none yet is refused with this.
      if (dump.failure?.code === 'ENOENT') return [];
      if (dump.failure && dump.failure.code !== 'EINTR') throw this.#refused('dump', request, dump.failure);
      if (overrun || !dump.complete) {
        disturbed = 'ENOBUFS';
        continue;
      }
      if (dump.interrupted || dump.failure) {
        disturbed = 'EINTR';
        continue;
      }
      const picked: T[] = [];
      let sliceEnd = performance.now() + SLICE;
      for (const raw of dump.messages) {
        const value = pick(readMessage(request.shape, s, raw));
        if (value !== undefined) picked.push(value);
        if (performance.now() >= sliceEnd) {
          await nextTurn();
          sliceEnd = performance.now() + SLICE;
        }
      }
      return picked;
    }
    throw new KernelError({
      errno: disturbed === 'EINTR' ? 4 : 105,
      code: disturbed,
      op: 'dump',
      object: `${request.shape.name} table`,
      extack: `disturbed ${DUMP_TRIES} times in a row`,
    });
  }

  /**
   * Reads one object. Undefined when it is not there (ENODEV, ENOENT, ESRCH, EADDRNOTAVAIL); throws
   * {@link KernelError} for any other refusal.
   */
  async get<H, A>(request: Request<H, A>): Promise<Message<H, A> | undefined> {
    for (let attempt = 1; ; attempt++) {
      this.counters.reads++;
      const { bytes, lastSeq } = this.#encoder.one(request, true);
      const { data, overrun } = await this.#exchange(bytes, lastSeq);
      const s = source(data);
      let reply: Message<H, A> | undefined;
      for (const raw of messages(s)) {
        if (raw.type !== NLMSG_ERROR) {
          reply = readMessage(request.shape, s, raw);
          continue;
        }
        const failure = readStatus(s, raw, request);
        if (failure === undefined) continue;
        if (['ENODEV', 'ENOENT', 'ESRCH', 'EADDRNOTAVAIL'].includes(failure.code)) return undefined;
        throw this.#refused('get', request, failure);
      }
      if (reply !== undefined) return reply;
      if (!overrun || attempt === DUMP_TRIES) {
        throw this.#refused('get', request, { outcome: 'unknown', errno: 105, code: 'ENOBUFS' });
      }
      this.counters.retries++;
    }
  }

  /** Sysctls of the socket's namespace: {@link NativeNetlink.sysctls}. Throws {@link NativeError} when the socket is closed. */
  async sysctls(jobs: Parameters<NativeNetlink['sysctls']>[0]): ReturnType<NativeNetlink['sysctls']> {
    try {
      return await this.#native.sysctls(jobs);
    } catch (cause) {
      throw new NativeError((cause as Error).message, { retry: 'resync', cause });
    }
  }

  /** Ends the thread and closes the socket; what is under way is rejected. Idempotent. */
  close(): void {
    this.#native.close();
  }
  [Symbol.dispose](): void {
    this.close();
  }

  #refused<H, A>(op: string, request: Request<H, A>, failure: NetlinkFailure): KernelError {
    return new KernelError({ ...failure, op, object: request.shape.name });
  }

  async #exchange(bytes: Uint8Array, lastSeq: number): Promise<{ data: Uint8Array; overrun: boolean }> {
    try {
      const reply = await this.#native.exchange(bytes, lastSeq, EXCHANGE_TIMEOUT);
      if (reply.overrun) this.counters.overruns++;
      return reply;
    } catch (cause) {
      throw new NativeError(`${(cause as Error).message}; the state of the kernel has to be read again`, {
        retry: 'resync',
        cause,
      });
    }
  }
}
