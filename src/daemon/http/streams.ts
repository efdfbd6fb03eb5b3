import type { IncomingMessage, ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { ApiError } from './errors.ts';
import { Places } from './places.ts';
import { drained } from './write.ts';

/** Streams at once, and of one address: each holds a connection, and some kilobytes of what its reader has not read. */
const [MOST, OF_ONE] = [32, 8];
/** Milliseconds between signs of life, which keep proxies from closing; a reader that takes nothing for two of them is cut off. */
const BEAT = 15_000;
/** Milliseconds that streams have to say their last, at the daemon's end. */
const LAST = 250;

/** A line that readers of text/event-stream skip (WHATWG HTML, section 9.2.5). */
const COMMENT = ':\n\n';

export interface StreamLimits {
  readonly most?: number;
  readonly ofOne?: number;
  readonly beat?: number;
}

/**
 * Replies without an end. What is not read is not asked for, so that nothing gathers here: whoever makes the stream may skip, and a
 * reader that has stopped is cut off.
 */
export class Streams {
  readonly #places: Places;
  readonly #beat: number;
  readonly #open = new Map<AbortController, Promise<void>>();
  #closed = false;

  constructor(limits: StreamLimits = {}) {
    this.#places = new Places(limits.most ?? MOST, limits.ofOne ?? OF_ONE);
    this.#beat = limits.beat ?? BEAT;
  }

  get size(): number {
    return this.#open.size;
  }

  /** Write until the end of `source` or of its reader. Throws ApiError when there are as many as may be, or the daemon ends. */
  write(
    req: IncomingMessage,
    res: ServerResponse,
    source: AsyncIterable<string>,
    headers: Readonly<Record<string, string>>,
  ): Promise<void> {
    const leave = this.#closed ? undefined : this.#places.take(req.socket.remoteAddress);
    if (!leave)
      throw new ApiError(503, 'busy', `there are ${this.#open.size} streams already; try again later`, {
        headers: { 'retry-after': '10' },
      });
    const ended = new AbortController();
    const work = this.#run(req, res, source, headers, ended).finally(() => {
      this.#open.delete(ended);
      leave();
    });
    this.#open.set(ended, work);
    return work;
  }

  /** All end in order; who does not read is not waited for. */
  async close(): Promise<void> {
    this.#closed = true;
    const all = [...this.#open];
    for (const [ended] of all) ended.abort();
    await Promise.race([Promise.all(all.map(([, work]) => work)), sleep(LAST, undefined, { ref: false })]);
  }

  async #run(
    req: IncomingMessage,
    res: ServerResponse,
    source: AsyncIterable<string>,
    headers: Readonly<Record<string, string>>,
    ended: AbortController,
  ): Promise<void> {
    // It may be silent for longer than other answers; a sign of life tells whether its reader is there.
    res.socket?.setTimeout(0).setKeepAlive(true, this.#beat);
    res.writeHead(200, { ...headers, 'cache-control': 'no-store', 'x-accel-buffering': 'no' });
    if (req.method === 'HEAD') return void res.end();
    res.write(COMMENT);
    let stalled = false;
    const beat = setInterval(() => {
      if (!res.writableNeedDrain) res.write(COMMENT);
      else if (stalled) res.destroy();
      stalled = res.writableNeedDrain;
    }, this.#beat).unref();
    res.once('close', () => ended.abort());
    const stop = new Promise<undefined>((resolve) => {
      ended.signal.addEventListener('abort', () => resolve(undefined), { once: true });
      if (ended.signal.aborted) resolve(undefined);
    });
    const values = source[Symbol.asyncIterator]();
    try {
      for (;;) {
        const next = await Promise.race([values.next(), stop]);
        if (!next || next.done) break;
        if (!res.write(next.value)) await Promise.race([drained(res), stop]);
      }
    } finally {
      clearInterval(beat);
      // Not waited for: it may be in the middle of waiting itself.
      void values.return?.().catch(() => {});
    }
    if (res.destroyed) return;
    await new Promise<void>((resolve) => {
      res.once('close', () => resolve());
      res.end(resolve);
    });
  }
}
