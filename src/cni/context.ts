import type { DelegateRunner } from './delegates.ts';
import type { Engine } from './engine.ts';
import type { Ipam } from './ipam/ipam.ts';
import type { KeyedMutex } from './mutex.ts';
import type { Records } from './records.ts';
import type { NodeState } from './types.ts';

/** What is logged, in the form of pino. */
export type Say = (fields: Readonly<Record<string, unknown>>, message: string) => void;
export interface CniLog {
  readonly info: Say;
  readonly warn: Say;
  readonly error: Say;
}

/** What the commands work with. */
export interface Context {
  readonly ipam: Ipam;
  readonly records: Records;
  readonly engine: Engine;
  /** Held for an attachment by whoever changes it. */
  readonly mutex: KeyedMutex;
  readonly node: () => NodeState;
  /** The daemon's own subnet.env: who names this file gets what the daemon knows. */
  readonly subnetFile: string;
  readonly delegates: DelegateRunner;
  /** The kernel's name for this boot. */
  readonly boot: string;
  /** Aborted when the daemon stops. */
  readonly ending: AbortSignal;
  readonly log: CniLog;
  /** Called between the steps of a command; a test ends the process there. */
  readonly step?: ((name: string) => unknown) | undefined;
}
