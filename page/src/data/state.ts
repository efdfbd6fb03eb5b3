import type { LeaseJson, StatusJson } from '../../../src/api/shapes.ts';
import { addEvents, type SeenEvent } from '../model/eventLog.ts';
import type { Life } from '../model/lifetimes.ts';
import type { Matrix } from '../model/matrix.ts';
import type { Direction, Plot } from '../model/rates.ts';
import { type LeaseRow, type OwnLife, type PeerView, rowOf } from '../model/rows.ts';
import { Signal } from '../signal.ts';
import type { FromWorker, Topic, ToWorker } from './messages.ts';

/** Seconds that our own lease has left when it is said to be running out, if there is a reason why it is not renewed. */
const ENDING = 600;

export interface TopicState {
  /** Date.now() of the last good answer. */
  readonly okAt: number | null;
  readonly error: string | null;
}

const NEVER: TopicState = { okAt: null, error: null };

/** All the page knows, as values that components follow. */
export class State {
  readonly status = new Signal<{ readonly at: number; readonly status: StatusJson } | undefined>(undefined);
  readonly rows = new Signal<readonly LeaseRow[] | undefined>(undefined);
  readonly setAside = new Signal<readonly { readonly key: string; readonly reason: string }[]>([]);
  readonly plot = new Signal<Plot | undefined>(undefined);
  readonly matrix = new Signal<Matrix | undefined>(undefined);
  readonly events = new Signal<readonly SeenEvent[]>([]);
  readonly streaming = new Signal(false);
  readonly topics: Readonly<Record<Topic, Signal<TopicState>>> = {
    status: new Signal(NEVER),
    leases: new Signal(NEVER),
    peers: new Signal(NEVER),
    matrix: new Signal(NEVER),
  };
  readonly #leases = new Map<string, LeaseJson>();
  readonly #peers = new Map<string, PeerView>();
  readonly #lives = new Map<string, Life>();
  readonly #rows = new Map<string, LeaseRow>();
  #seen = false;
  #life: OwnLife = { fenced: false, isEnding: false };
  readonly #worker: Worker;

  constructor(worker: Worker) {
    this.#worker = worker;
    worker.onmessage = ({ data }: MessageEvent<FromWorker>) => this.#take(data);
  }

  tell(message: ToWorker): void {
    this.#worker.postMessage(message);
  }

  plotOf(direction: Direction, top: number): void {
    this.tell({ kind: 'plot', direction, top });
  }

  #take(data: FromWorker): void {
    switch (data.kind) {
      case 'status':
        this.status.set({ at: data.at, status: data.status });
        this.#ownLife(data.status);
        break;
      case 'leases':
        this.#merge(this.#leases, data);
        this.#seen ||= data.done;
        this.setAside.set(data.setAside);
        if (data.done) this.#arrange();
        break;
      case 'peers':
        this.#merge(this.#peers, data);
        if (data.done) this.#arrange();
        break;
      case 'lives':
        this.#merge(this.#lives, data);
        this.#arrange();
        break;
      case 'plot':
        this.plot.set(data.plot);
        break;
      case 'matrix':
        this.matrix.set(data.matrix);
        break;
      case 'events':
        this.events.set(addEvents(this.events.value, data.instance, data.events));
        break;
      case 'topic':
        this.topics[data.topic].set({ okAt: data.okAt, error: data.error });
        break;
      case 'stream':
        this.streaming.set(data.open);
    }
  }

  #merge<T extends { readonly key: string }>(
    into: Map<string, T>,
    { changed, gone }: { readonly changed: readonly T[]; readonly gone: readonly string[] },
  ): void {
    for (const value of changed) {
      into.set(value.key, value);
      this.#rows.delete(value.key);
    }
    for (const key of gone) {
      into.delete(key);
      this.#rows.delete(key);
    }
  }

  #ownLife({ lease }: StatusJson): void {
    const fenced = lease.state === 'fenced';
    const isEnding =
      !fenced && lease.secondsLeft !== null && lease.secondsLeft < ENDING && lease.reason !== null;
    if (fenced === this.#life.fenced && isEnding === this.#life.isEnding) return;
    this.#life = { fenced, isEnding };
    for (const [key, l] of this.#leases) if (l.self) this.#rows.delete(key);
    this.#arrange();
  }

  /** Rows that nothing has changed are the same objects. */
  #arrange(): void {
    if (!this.#seen) return;
    const all: LeaseRow[] = [];
    for (const [key, lease] of this.#leases) {
      let row = this.#rows.get(key);
      if (!row) {
        row = rowOf(lease, this.#peers.get(key), this.#life, this.#lives.get(key));
        this.#rows.set(key, row);
      }
      all.push(row);
    }
    all.sort((a, b) => (a.order < b.order ? -1 : 1));
    this.rows.set(all);
  }
}
