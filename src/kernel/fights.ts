/** More repairs of one object than this within the window, and somebody is undoing our work on purpose. */
const BEGINS = 10;
/** With this many or fewer it is over. */
const ENDS = 3;
const WINDOW = 10_000;
/** Milliseconds between repairs meanwhile. */
const PACE = 1_000;

interface Record {
  /** When it was put right, within the window. */
  times: number[];
  fighting: boolean;
  /** It was asked for and refused: whoever asked waits to be told when. */
  heldBack: boolean;
}

/**
 * Notices when another program undoes the same object again and again. Such an object is put right once a second
 * instead of at once, so that neither of the two burns the machine. All times are monotonic milliseconds.
 */
export class Fights {
  readonly #records = new Map<string, Record>();

  /** An object was put right that had been in sync. */
  repaired(key: string, now: number): void {
    const record = this.#records.get(key) ?? { times: [], fighting: false, heldBack: false };
    record.times.push(now);
    this.#records.set(key, record);
    this.#update(record, now);
  }

  get isEmpty(): boolean {
    return this.#records.size === 0;
  }

  /** When the object may be touched again; undefined: at once. */
  until(key: string, now: number): number | undefined {
    const record = this.#records.get(key);
    if (!record) return undefined;
    this.#update(record, now);
    const at = record.fighting ? record.times.at(-1)! + PACE : now;
    record.heldBack = at > now;
    return record.heldBack ? at : undefined;
  }

  /** It cannot be touched whatever the time, because its device is not there: nobody waits to be told when. */
  wait(key: string): void {
    const record = this.#records.get(key);
    if (record) record.heldBack = false;
  }

  /** The first moment at which an object that is fought over may be touched again, or at which a fight is over. */
  due(now: number): number | undefined {
    let first: number | undefined;
    for (const { times, fighting, heldBack } of this.#records.values()) {
      if (!fighting) continue;
      const again = times.at(-1)! + PACE;
      // Time has passed since it was held back: its moment may be over by now, and is due all the same.
      const at = heldBack || again > now ? again : times.at(-1 - ENDS)! + WINDOW;
      if (first === undefined || at < first) first = at;
    }
    return first;
  }

  /** Objects that are being fought over, with the number of repairs in the last seconds. Forgets those long at peace. */
  *ongoing(now: number): Generator<{ readonly key: string; readonly repairs: number }> {
    for (const [key, record] of this.#records) {
      this.#update(record, now);
      if (record.times.length === 0) this.#records.delete(key);
      else if (record.fighting) yield { key, repairs: record.times.length };
    }
  }

  #update(record: Record, now: number): void {
    while (record.times.length > 0 && record.times[0]! <= now - WINDOW) record.times.shift();
    record.fighting = record.times.length > (record.fighting ? ENDS : BEGINS);
  }
}
