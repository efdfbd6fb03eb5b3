import { join } from 'node:path';
import type { ProbesJson } from '../../api/shapes.ts';
import { FILES } from '../../contract.ts';
import { type PathReport, type Probing, pathKey } from '../../probe/types.ts';
import type { Note } from '../events/log.ts';
import type { Logger } from '../log.ts';
import { type OffloadEffect, type OffloadEvent, offloadNext } from './offload.ts';
import { OffloadBook } from './offloadBook.ts';
import { checkOffload, trialPaths } from './offloadCheck.ts';
import {
  freeOffload,
  type Offload,
  type OffloadOptions,
  restoredOffload,
  unattendedOffload,
  wantedOffload,
} from './offloadState.ts';

export interface OffloadParts {
  readonly log: Logger;
  readonly note: Note;
  /** Where it is remembered which devices' offload was turned off here. */
  readonly runDir: string;
  /** Does the device fill in checksums, as last seen? Undefined: there is none, or nobody can tell. */
  readonly isOn: (device: string) => boolean | undefined;
  /** There are other {@link OffloadReactions.wanted} now. */
  readonly onChange: () => void;
  readonly options: OffloadOptions;
}

/** Turns the checksum offload of devices off that corrupt packets, and on again when they no longer would. */
export class OffloadReactions {
  readonly #parts: OffloadParts;
  readonly #book: OffloadBook;
  #probing: Pick<Probing, 'paths' | 'mayCheck' | 'checkNow'> | undefined;
  readonly #devices = new Map<string, Offload>();
  #wanted: ReadonlyMap<string, boolean> = new Map();
  #timer: NodeJS.Timeout | undefined;
  #isEnded = false;

  constructor(parts: OffloadParts) {
    this.#parts = parts;
    this.#book = new OffloadBook(join(parts.runDir, FILES.offload), parts.log);
  }

  attach(probing: Pick<Probing, 'paths' | 'mayCheck' | 'checkNow'>): void {
    this.#probing = probing;
  }

  /** What an earlier daemon has turned off is off, and is to be turned on again in time; at once if nobody probes. */
  async restore(isProbed: boolean): Promise<void> {
    const { options } = this.#parts;
    for (const { device, ...known } of await this.#book.read())
      this.#devices.set(
        device,
        isProbed ? restoredOffload(known, options, performance.now()) : unattendedOffload(options),
      );
    this.#wanted = wantedOf(this.#devices);
    this.#schedule();
  }

  /** How devices' offload shall be, by name; the same map until anything about it changes. */
  get wanted(): ReadonlyMap<string, boolean> {
    return this.#wanted;
  }

  /** Something was found out about a path. */
  heard({ target, checksum }: PathReport): void {
    if (!target.offloads || checksum !== 'corrupted') return;
    this.#dispatch(target.dev, { event: 'report', path: pathKey(target), checksum });
  }

  /** These are the overlay's devices. */
  devicesAre(devices: readonly string[]): void {
    for (const device of this.#devices.keys()) if (!devices.includes(device)) this.#devices.delete(device);
    this.#settle();
  }

  /** After each look at the kernel. */
  looked(): void {
    for (const device of this.#devices.keys()) this.#dispatch(device, { event: 'kernel' });
  }

  /** Peers are reached by another uplink. */
  uplinkChanged(): void {
    for (const device of this.#devices.keys()) this.#dispatch(device, { event: 'uplink' });
  }

  /** As the API shows it: of `devices`, the one that has most to tell. */
  json(devices: readonly string[]): ProbesJson['checksumOffload'] {
    const known = devices.filter((device) => this.#parts.isOn(device) !== undefined);
    const device = known.find((name) => this.#devices.has(name)) ?? known[0];
    if (device === undefined) return null;
    const state = this.#devices.get(device);
    return {
      device,
      state: this.#parts.isOn(device) ? 'on' : 'off',
      reason: state ? (reasonOf(state) ?? null) : null,
    };
  }

  /** What an operator should look at. */
  problems(): string[] {
    return Array.from(this.#devices, ([device, state]) => [device, reasonOf(state)] as const)
      .filter(([, reason]) => reason !== undefined)
      .map(([device, reason]) => `${device}: ${reason}`);
  }

  async end(): Promise<void> {
    this.#isEnded = true;
    clearTimeout(this.#timer);
    await this.#book.end();
  }

  #dispatch(device: string, event: OffloadEvent): void {
    if (this.#isEnded) return;
    const { options, isOn } = this.#parts;
    const before = this.#devices.get(device) ?? freeOffload(options);
    const { state, effects } = offloadNext(before, event, isOn(device), performance.now(), options);
    if (state !== before) {
      // What has been in vain is remembered, so that it is told ever more seldom.
      if (state.phase === 'free' && state.delay === options.first) this.#devices.delete(device);
      else this.#devices.set(device, state);
      this.#settle();
    }
    for (const effect of effects) this.#carryOut(device, state, effect);
  }

  /** What follows from the states: what is wanted, what is remembered, when to look again. */
  #settle(): void {
    this.#schedule();
    // Remembered first: what nobody remembers nobody would undo. What is remembered already waits for no disk.
    const saving = this.#book.save(this.#devices);
    if (saving) void saving.then(() => this.#wish());
    else this.#wish();
  }

  #wish(): void {
    const wanted = wantedOf(this.#devices);
    if (this.#isEnded || sameWishes(wanted, this.#wanted)) return;
    this.#wanted = wanted;
    this.#parts.onChange();
  }

  /** Would somebody answer in a trial? */
  #isReady(device: string): boolean {
    const suspects = this.#devices.get(device)?.suspects ?? [];
    return this.#probing !== undefined && trialPaths(this.#probing, device, suspects).length > 0;
  }

  #schedule(): void {
    clearTimeout(this.#timer);
    const due = Math.min(...Array.from(this.#devices.values(), ({ until }) => until));
    if (!Number.isFinite(due) || this.#isEnded) return;
    this.#timer = setTimeout(
      () => {
        for (const device of [...this.#devices.keys()])
          this.#dispatch(device, { event: 'tick', ready: this.#isReady(device) });
        this.#schedule();
      },
      Math.min(Math.max(due - performance.now(), 1), 2 ** 31 - 1),
    );
  }

  #carryOut(device: string, state: Offload, effect: OffloadEffect): void {
    if (effect.effect === 'check') void this.#check(device, state, effect);
    else this.#tell(device, effect);
  }

  async #check(
    device: string,
    { phase }: Offload,
    { check, paths }: { readonly check: number; readonly paths: readonly string[] },
  ): Promise<void> {
    const verdict = await checkOffload(
      this.#probing,
      { device, paths, isTrial: phase === 'trial' },
      () => this.#isEnded,
    );
    this.#dispatch(device, { event: 'checked', check, verdict });
  }

  #tell(device: string, { what, reason }: Extract<OffloadEffect, { effect: 'tell' }>): void {
    const { log, note } = this.#parts;
    const { level, message } = WORDS[what];
    log[level]({ device, ...(reason === undefined ? {} : { reason }) }, message);
    note({
      level,
      kind: 'offload',
      subject: device,
      message: reason === undefined ? message : `${message}: ${reason}`,
    });
  }
}

function wantedOf(devices: ReadonlyMap<string, Offload>): ReadonlyMap<string, boolean> {
  const wanted = new Map<string, boolean>();
  for (const [device, state] of devices) {
    const on = wantedOffload(state);
    if (on !== undefined) wanted.set(device, on);
  }
  return wanted;
}

const sameWishes = (a: ReadonlyMap<string, boolean>, b: ReadonlyMap<string, boolean>): boolean =>
  a.size === b.size && Iterator.from(a).every(([device, on]) => b.get(device) === on);

function reasonOf({ phase, reason }: Offload): string | undefined {
  if (phase === 'off' || phase === 'trial')
    return 'it corrupts the checksums that senders leave to it; the kernel fills them in (tx-checksum-ip-generic is off), which costs CPU';
  if (phase === 'verifying')
    return 'packets arrive corrupted; it is seen whether turning its checksum offload off helps';
  return reason;
}

const WORDS = {
  turnedOff: {
    level: 'warn',
    message:
      'packets arrived with wrong checksums: the tx checksum offload of the device is off now, and they arrive whole',
  },
  turnedOn: {
    level: 'info',
    message: 'packets arrive whole again: the tx checksum offload of the device is on again',
  },
  stillCorrupted: {
    level: 'warn',
    message: 'with its tx checksum offload on the device would still corrupt packets: it stays off',
  },
  helpless: { level: 'error', message: 'packets arrive corrupted, and nothing can be done about it here' },
} as const;
