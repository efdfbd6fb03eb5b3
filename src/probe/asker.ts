import { getSystemErrorMap } from 'node:util';
import {
  decodeResults,
  encodeProbes,
  type NativeProber,
  type Probe,
  type ProbeKind,
  type ProbeResult,
} from '../native/prober.ts';
import { Budget } from './budget.ts';

/** What became of one packet. `rtt` in milliseconds. */
export type Outcome =
  | { readonly answered: true; readonly rtt: number }
  | {
      readonly answered: false;
      /** What the kernel or a host on the way said; undefined: nobody said anything. */
      readonly why: string | undefined;
      /** The MTU that was named as too small for it. */
      readonly mtu: number | undefined;
    };

const SILENCE: Outcome = { answered: false, why: undefined, mtu: undefined };

interface Asked {
  readonly probe: Probe;
  readonly timeout: number;
  readonly done: (outcome: Outcome) => void;
  timer: NodeJS.Timeout | undefined;
}

/** Milliseconds until those that the budget held back are looked at again. */
const HELD_BACK = 20;

/** Sends packets within a budget and waits for what comes of each, no longer than it is told. */
export class Asker {
  readonly #native: NativeProber;
  readonly #now: () => number;
  readonly #budget: Budget;
  readonly #asked = new Map<number, Asked>();
  readonly #queue: Asked[] = [];
  #flush: NodeJS.Immediate | NodeJS.Timeout | undefined;
  #token = 0;
  #closed = false;
  sent = 0;
  received = 0;

  /** `open` is given where results go. `now`: monotonic, milliseconds. */
  constructor(open: (onResults: (results: Float64Array) => void) => NativeProber, now: () => number) {
    this.#now = now;
    this.#budget = new Budget(now());
    this.#native = open((results) => {
      for (const result of decodeResults(results)) this.#result(result);
    });
  }

  /** Never rejects. `size`: bytes of the whole IP packet. `timeout`: milliseconds from when it is sent. */
  ask(address: Uint8Array, kind: ProbeKind, size: number, port: number, timeout: number): Promise<Outcome> {
    if (this.#closed) return Promise.resolve(SILENCE);
    return new Promise((done) => {
      this.#token = (this.#token + 1) >>> 0;
      this.#queue.push({
        probe: { token: this.#token, address, kind, size, port },
        timeout,
        done,
        timer: undefined,
      });
      // All that are asked for in this turn of the event loop leave together.
      this.#flush ??= setImmediate(this.#send);
    });
  }

  /** What is still waited for is not answered. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#flush as NodeJS.Timeout);
    clearImmediate(this.#flush as NodeJS.Immediate);
    this.#native.close();
    for (const asked of [...this.#asked.values(), ...this.#queue]) {
      clearTimeout(asked.timer);
      asked.done(SILENCE);
    }
    this.#asked.clear();
    this.#queue.length = 0;
  }

  readonly #send = (): void => {
    this.#flush = undefined;
    const now = this.#now();
    let count = 0;
    while (count < this.#queue.length && this.#budget.take(now)) count++;
    const leaving = this.#queue.splice(0, count);
    if (leaving.length > 0) {
      this.sent += leaving.length;
      this.#native.send(encodeProbes(leaving.map(({ probe }) => probe)));
      for (const asked of leaving) {
        const { token } = asked.probe;
        this.#asked.set(token, asked);
        // An answer that has come while the event loop was busy is not late: it is told in the turn that begins here.
        asked.timer = setTimeout(() => setImmediate(() => this.#settle(token, SILENCE)), asked.timeout);
        asked.timer.unref();
      }
    }
    if (this.#queue.length > 0) this.#flush = setTimeout(this.#send, HELD_BACK).unref();
  };

  #result(result: ProbeResult): void {
    switch (result.what) {
      case 'answered':
        this.#settle(result.token, { answered: true, rtt: result.rtt / 1e6 });
        break;
      case 'not-sent':
        this.#settle(result.token, { answered: false, why: errnoText(result.errno), mtu: undefined });
        break;
      case 'unreachable':
        this.#settle(result.token, {
          answered: false,
          why: `destination unreachable (ICMP type ${result.type}, code ${result.code})`,
          mtu: undefined,
        });
        break;
      case 'too-big':
        this.#settle(result.token, {
          answered: false,
          why: `too large for the path (ICMP), which takes ${result.mtu} bytes`,
          mtu: result.mtu === 0 ? undefined : result.mtu,
        });
    }
  }

  #settle(token: number, outcome: Outcome): void {
    const asked = this.#asked.get(token);
    if (!asked) return;
    this.#asked.delete(token);
    clearTimeout(asked.timer);
    if (outcome.answered) this.received++;
    asked.done(outcome);
  }
}

/** `EPERM: operation not permitted` */
function errnoText(errno: number): string {
  const [name, text] = getSystemErrorMap().get(-errno) ?? [`errno ${errno}`, ''];
  return text === '' ? name : `${name}: ${text}`;
}
