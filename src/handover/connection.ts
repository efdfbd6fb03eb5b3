import { closeSync } from 'node:fs';
import type { NativeConnection } from '../native/addon.ts';
import { formatMessage, MESSAGE_FDS, type Message, parseMessage } from './protocol.ts';

export interface ConnectionEvents {
  /** Undefined: something that is no message. The descriptors are the receiver's to close. */
  readonly message: (message: Message | undefined, fds: readonly number[]) => void;
  /** There will be nothing more, and nothing can be sent. */
  readonly gone: () => void;
}

/** Close descriptors that nobody else uses; what is closed already is none of our business. */
export function closeAll(fds: Iterable<number>): void {
  for (const fd of fds) {
    try {
      closeSync(fd);
    } catch {
      // EBADF.
    }
  }
}

/** Messages over a SEQPACKET socket. Nothing waits: who does not take what it is sent counts as gone. */
export class Connection {
  #native!: NativeConnection;
  readonly #events: ConnectionEvents;
  #over = false;

  private constructor(events: ConnectionEvents) {
    this.#events = events;
  }

  /** `open` connects or accepts; what it throws is thrown. Undefined when it gives none. Events come later only. */
  static open(
    open: (onReady: () => void) => NativeConnection | undefined,
    events: ConnectionEvents,
  ): Connection | undefined {
    const connection = new Connection(events);
    const native = open(() => connection.#read());
    if (!native) return undefined;
    connection.#native = native;
    return connection;
  }

  get peer(): NativeConnection['peer'] {
    return this.#native.peer;
  }

  /** Send a message with descriptors, which stay the caller's; more than fit go beside messages `more`. */
  send(message: Message, fds: readonly number[] = []): void {
    if (this.#over) return;
    if (!this.#sendOne(message, fds.slice(0, MESSAGE_FDS))) queueMicrotask(() => this.#lost());
    else if (fds.length > MESSAGE_FDS) this.send({ type: 'more' }, fds.slice(MESSAGE_FDS));
  }

  close(): void {
    this.#over = true;
    this.#native.close();
  }

  #sendOne(message: Message, fds: readonly number[]): boolean {
    try {
      return this.#native.send(formatMessage(message), fds);
    } catch {
      return false;
    }
  }

  /** What the other end said last may say why. */
  #lost(): void {
    this.#read();
    this.#end();
  }

  #end(): void {
    if (this.#over) return;
    this.close();
    this.#events.gone();
  }

  #read(): void {
    while (!this.#over) {
      let received: ReturnType<NativeConnection['receive']>;
      try {
        received = this.#native.receive();
      } catch {
        received = 'end';
      }
      if (received === undefined) return;
      if (received === 'end') this.#end();
      else if (received === 'refused') this.#events.message(undefined, []);
      else this.#events.message(parseMessage(received.bytes), received.fds);
    }
  }
}
