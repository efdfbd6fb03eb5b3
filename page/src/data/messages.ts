import type { EventJson, LeaseJson, StatusJson } from '../../../src/api/shapes.ts';
import type { Life } from '../model/lifetimes.ts';
import type { Matrix } from '../model/matrix.ts';
import type { Direction, Plot } from '../model/rates.ts';
import type { PeerView } from '../model/rows.ts';

/** What the worker that asks the daemon and the page tell each other. */

/** The kinds of answers that grow old, each by itself. */
export type Topic = 'status' | 'leases' | 'peers' | 'matrix';

export type FromWorker =
  /** `at`: Date.now() of the answer. */
  | { readonly kind: 'status'; readonly at: number; readonly status: StatusJson }
  /** Changes of the list, in pieces; `done` with the last. */
  | {
      readonly kind: 'leases';
      readonly changed: readonly LeaseJson[];
      readonly gone: readonly string[];
      readonly setAside: readonly { readonly key: string; readonly reason: string }[];
      readonly done: boolean;
    }
  | {
      readonly kind: 'peers';
      readonly changed: readonly PeerView[];
      readonly gone: readonly string[];
      readonly done: boolean;
    }
  | { readonly kind: 'lives'; readonly changed: readonly Life[]; readonly gone: readonly string[] }
  | { readonly kind: 'plot'; readonly plot: Plot }
  | { readonly kind: 'matrix'; readonly matrix: Matrix }
  | { readonly kind: 'events'; readonly instance: string; readonly events: readonly EventJson[] }
  /** How it stands with a topic: asked again after each answer. */
  | {
      readonly kind: 'topic';
      readonly topic: Topic;
      readonly okAt: number | null;
      readonly error: string | null;
    }
  | { readonly kind: 'stream'; readonly open: boolean };

export type ToWorker =
  /** Nothing is asked while nobody looks. */
  | { readonly kind: 'visible'; readonly visible: boolean }
  /** Is the matrix in sight? Daemons gather it only while somebody looks. */
  | { readonly kind: 'matrix'; readonly wanted: boolean }
  | { readonly kind: 'plot'; readonly direction: Direction; readonly top: number }
  /** Ask for everything now. */
  | { readonly kind: 'refresh' };
