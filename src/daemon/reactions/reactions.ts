import type { ProbesJson } from '../../api/shapes.ts';

/** What has been done about paths that do not do what they should. */
export interface Reactions {
  /** Bytes that the route of a path (by `pathKey`) was lowered to; undefined: it was not. */
  routeMtu(path: string): number | undefined;
  /** Of the overlay's device; null: there is none that has it. */
  checksumOffload(): ProbesJson['checksumOffload'];
}
