import type { ProbeKind } from '../native/prober.ts';
import type { Outcome } from './asker.ts';
import type { Path } from './path.ts';

/** Milliseconds that a small packet is waited for: four lost ones take less than three seconds. */
export const PATIENCE = 700;
/** Milliseconds between two packets of which the first was refused at once: what refuses it may be about to change. */
export const PAUSE = 250;

/** Packets other than the first small ones are waited for according to how long those took. */
export const patience = (path: Path): number => Math.min(PATIENCE, 200 + 20 * (path.rtt ?? 50));

/** By what a path is asked, and who is told of it. */
export interface Asking {
  ask(address: Uint8Array, kind: ProbeKind, size: number, port: number, timeout: number): Promise<Outcome>;
  random(): number;
  /** Monotonic, milliseconds. */
  now(): number;
  pause(ms: number): Promise<void>;
  /** A small probe was answered after so many milliseconds, or lost. */
  small(rtt: number | undefined): void;
  /** Something was learnt. */
  told(): void;
}
