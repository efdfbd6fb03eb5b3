import { closeSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import type { Netns } from '../test/support/netns.ts';
import type { Proc } from '../test/support/proc.ts';
import { until } from '../test/support/proc.ts';

/** A route that came (or went), and when: milliseconds since the epoch, with microseconds behind the point. */
export interface Seen {
  readonly at: number;
  readonly dst: string;
  readonly deleted: boolean;
}

/** Microsecond clock that can be compared with {@link Seen}. */
export const now = (): number => performance.timeOrigin + performance.now();

/**
 * `ip monitor route` in a host: the kernel's own word on when a route was there, whatever the daemon says.
 * Routes are what the daemon puts last for a peer.
 */
export class RouteMonitor implements AsyncDisposable {
  readonly #proc: Proc;
  readonly #fd: number;
  readonly #seen: Seen[] = [];
  /** The begin of a line whose end is not there yet. */
  #rest = '';

  private constructor(proc: Proc) {
    this.#proc = proc;
    this.#fd = openSync(proc.log, 'r');
  }

  static async start(netns: Netns, dir: string): Promise<RouteMonitor> {
    const proc = await netns.start(['ip', '-4', '-ts', '-o', 'monitor', 'route'], {
      log: join(dir, `routes-${netns.name}-${Math.trunc(now())}.log`),
    });
    const monitor = new RouteMonitor(proc);
    // It prints nothing when it begins to listen: show it a route until it sees one.
    await until('ip monitor to listen', async () => {
      await netns.ip('route replace 192.0.0.8/32 dev lo');
      await netns.ip('route del 192.0.0.8/32 dev lo');
      return monitor.seen().length > 0;
    });
    return monitor;
  }

  /** All seen so far; reads only what is new. */
  seen(): readonly Seen[] {
    const chunk = Buffer.alloc(1 << 20);
    for (let n = 1; n > 0; ) {
      n = readSync(this.#fd, chunk, 0, chunk.length, null);
      this.#rest += chunk.toString('latin1', 0, n);
    }
    const lines = this.#rest.split('\n');
    this.#rest = lines.pop()!;
    for (const line of lines) {
      const match = /^\[([^\]]+)\] (Deleted )?(\d[\d./]*) /.exec(line);
      if (match)
        this.#seen.push({ at: parseTime(match[1]!), deleted: match[2] !== undefined, dst: match[3]! });
    }
    return this.#seen;
  }

  /** Wait until `dst` came (or went) after `since`; returns when that was. */
  async wait(
    dst: string,
    since: number,
    options: { deleted?: boolean; timeout?: number } = {},
  ): Promise<number> {
    const { deleted = false, timeout = 10_000 } = options;
    const found = await until(
      `a route to ${dst}`,
      () => this.seen().findLast((s) => s.dst === dst && s.deleted === deleted && s.at >= since),
      timeout,
    );
    return found.at;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#proc.stop('SIGKILL');
    closeSync(this.#fd);
  }
}

/** iproute2's local time, `2026-11-23T02:06:05.123456`, to milliseconds since the epoch. */
function parseTime(text: string): number {
  const point = text.indexOf('.');
  return new Date(text.slice(0, point)).getTime() + Number(text.slice(point + 1)) / 1000;
}
