import type { MatrixJson } from '../../../src/api/matrix.ts';
import type {
  EventJson,
  LeaseJson,
  LeasesJson,
  LifetimesJson,
  PeersJson,
  StatusJson,
} from '../../../src/api/shapes.ts';
import { chunks, Differ } from '../model/differ.ts';
import { LifeBook } from '../model/lifetimes.ts';
import { decodeMatrix } from '../model/matrix.ts';
import { type Direction, RateBook } from '../model/rates.ts';
import type { PeerView } from '../model/rows.ts';
import { ask, resource } from './ask.ts';
import type { FromWorker, Topic, ToWorker } from './messages.ts';
import { Poll } from './poll.ts';
import { EventStream } from './stream.ts';

/**
 * Asks the daemon and takes its answers apart, away from the thread that draws: a megabyte of JSON costs nobody a frame. The page gets
 * what has changed, in pieces.
 */

/** Milliseconds between questions, by topic. */
const EVERY: Readonly<Record<Topic, number>> = { status: 2_000, peers: 2_500, leases: 20_000, matrix: 5_000 };
/** Of lifetimes, which change slowly, and which the daemon learns slowly. */
const EVERY_LIVES = 10_000;
/** Rows of one message. */
const PIECE = 500;
/** Milliseconds in which events are gathered. */
const GATHER = 100;

const scope = globalThis as unknown as {
  postMessage(message: FromWorker, transfer?: Transferable[]): void;
  onmessage: ((message: MessageEvent<ToWorker>) => void) | null;
};
const post = (message: FromWorker, transfer: Transferable[] = []): void =>
  scope.postMessage(message, transfer);

const leases = new Differ<LeaseJson>();
const peers = new Differ<PeerView>();
const lives = new LifeBook();
const rates = new RateBook();
/** Of how many leases the daemon could not tell how long they have left. */
let untold = 0;
/** Leases that name no node: flannel's. */
let ofFlannel: ReadonlySet<string> = new Set();
let instance = '';
let plotted: { direction: Direction; top: number } = { direction: 'both', top: 5 };

const sendPlot = (): void => post({ kind: 'plot', plot: rates.plot(plotted.top, plotted.direction) });

async function askStatus(signal: AbortSignal): Promise<void> {
  const status = await ask<StatusJson>('v1/status', signal);
  // Another daemon counts from nothing.
  if (instance !== '' && status.instance !== instance) rates.forget();
  if (instance !== status.instance && instance !== '') refreshOthers();
  instance = status.instance;
  post({ kind: 'status', at: Date.now(), status });
}

async function askLeases(signal: AbortSignal): Promise<void> {
  const answer = await ask<LeasesJson>('v1/leases', signal);
  ofFlannel = new Set(answer.leases.filter((l) => l.node === null).map((l) => l.key));
  const { changed, gone } = leases.take(answer.leases);
  const pieces = [...chunks(changed, PIECE)];
  pieces.forEach((piece, i) => {
    const done = i === pieces.length - 1;
    post({ kind: 'leases', changed: piece, gone: done ? gone : [], setAside: answer.setAside, done });
  });
}

async function askLives(signal: AbortSignal): Promise<void> {
  const answer = await ask<LifetimesJson>('v1/lifetimes', signal);
  const { changed, gone } = lives.take(answer, Date.now(), (key) => ofFlannel.has(key));
  if (changed.length + gone.length > 0) post({ kind: 'lives', changed, gone });
  const now = Object.values(answer.leases).filter((life) => life === null).length;
  // It is about to learn more, as long as it learns at all.
  if (now > 0 && now !== untold) polls.lives.soon();
  untold = now;
}

async function askPeers(signal: AbortSignal): Promise<void> {
  const answer = await ask<PeersJson>('v1/peers?traffic=true', signal);
  const now = rates.take(
    Date.parse(answer.at),
    answer.peers.map((p) => [p.key, p.traffic] as const),
  );
  const views = answer.peers.map(
    ({ key, backend, problem, paths, traffic }): PeerView => ({
      key,
      backend,
      problem,
      paths,
      traffic,
      inRate: now.get(key)?.in ?? null,
      outRate: now.get(key)?.out ?? null,
    }),
  );
  const { changed, gone } = peers.take(views);
  const pieces = [...chunks(changed, PIECE)];
  pieces.forEach((piece, i) => {
    const done = i === pieces.length - 1;
    post({ kind: 'peers', changed: piece, gone: done ? gone : [], done });
  });
  sendPlot();
}

async function askMatrix(signal: AbortSignal): Promise<void> {
  const matrix = decodeMatrix(await ask<MatrixJson>('v1/matrix', signal));
  post({ kind: 'matrix', matrix }, [matrix.cells.buffer as ArrayBuffer]);
}

/** Did the last question for the status remain without an answer? */
let isAway = false;

/** The daemon is back, or another one is: what is shown is of before. */
function refreshOthers(): void {
  for (const [topic, p] of Object.entries(polls)) if (topic !== 'status') p.now();
  stream.now();
}

const okAt: Partial<Record<Topic, number>> = {};
const poll = (topic: Topic, question: (signal: AbortSignal) => Promise<void>): Poll =>
  new Poll({
    every: EVERY[topic],
    ask: question,
    onTurn: (error) => {
      if (topic === 'status' && error === null && isAway) refreshOthers();
      if (topic === 'status') isAway = error !== null;
      if (error === null) okAt[topic] = Date.now();
      post({ kind: 'topic', topic, okAt: okAt[topic] ?? null, error });
    },
  });

const polls = {
  status: poll('status', askStatus),
  leases: poll('leases', askLeases),
  peers: poll('peers', askPeers),
  matrix: poll('matrix', askMatrix),
  lives: new Poll({ every: EVERY_LIVES, ask: askLives, onTurn: () => {} }),
};

const gathered: EventJson[] = [];
let gatheredOf = '';
let gathering: ReturnType<typeof setTimeout> | undefined;

function sendEvents(): void {
  clearTimeout(gathering);
  gathering = undefined;
  if (gathered.length > 0) post({ kind: 'events', instance: gatheredOf, events: gathered.splice(0) });
}

const stream = new EventStream({
  url: resource('v1/events/stream?since=0'),
  onOpen: (open) => post({ kind: 'stream', open }),
  onEvents: (of, events) => {
    if (of !== gatheredOf) sendEvents();
    gatheredOf = of;
    gathered.push(...events);
    gathering ??= setTimeout(sendEvents, GATHER);
    const kinds = new Set(events.map((e) => e.kind));
    if (kinds.has('lease') || kinds.has('peer')) polls.leases.soon();
    if (kinds.has('path') || kinds.has('peer') || kinds.has('mtu')) polls.peers.soon();
    polls.status.soon();
    if (kinds.has('path')) polls.matrix.soon();
  },
});

let visible = false;
let matrixWanted = false;

function apply(): void {
  for (const topic of ['status', 'peers', 'leases', 'lives'] as const) polls[topic].set(visible);
  polls.matrix.set(visible && matrixWanted);
  stream.set(visible);
}

scope.onmessage = ({ data }) => {
  switch (data.kind) {
    case 'visible':
      visible = data.visible;
      return apply();
    case 'matrix':
      matrixWanted = data.wanted;
      return apply();
    case 'plot':
      plotted = data;
      return sendPlot();
    case 'refresh':
      for (const p of Object.values(polls)) p.now();
      stream.now();
  }
};
