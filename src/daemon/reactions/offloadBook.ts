import * as v from 'valibot';
import { readSmall, writeAtomically } from '../../subnet/files.ts';
import type { Logger } from '../log.ts';
import { isOurs, type Offload } from './offloadState.ts';

/** What a later daemon must know of a device whose offload was turned off here. */
export interface Remembered {
  readonly device: string;
  readonly suspects: readonly string[];
  /** Milliseconds. */
  readonly delay: number;
}

const TEXT = v.pipe(v.string(), v.maxLength(200));
const SAVED = v.array(
  v.object({
    device: v.pipe(v.string(), v.maxLength(15)),
    suspects: v.pipe(v.array(TEXT), v.maxLength(3)),
    delay: v.pipe(v.number(), v.minValue(0), v.maxValue(2 ** 40)),
  }),
);

/** Remembers in a file which devices' offload was turned off, and what is known of that. */
export class OffloadBook {
  readonly #file: string;
  readonly #log: Pick<Logger, 'error'>;
  #saving: Promise<unknown> = Promise.resolve();
  #saved = '[]';
  #devices: ReadonlySet<string> = new Set();

  constructor(file: string, log: Pick<Logger, 'error'>) {
    this.#file = file;
    this.#log = log;
  }

  async read(): Promise<readonly Remembered[]> {
    const text = await readSmall(this.#file).catch(() => undefined);
    const saved = v.safeParse(SAVED, parsed(text));
    if (!saved.success) return [];
    this.#saved = JSON.stringify(saved.output);
    this.#devices = new Set(saved.output.map(({ device }) => device));
    return saved.output;
  }

  /** Undefined: all these devices are in the file already; else resolves when they are, or it is known that they cannot be. */
  save(devices: ReadonlyMap<string, Offload>): Promise<unknown> | undefined {
    const ours: Remembered[] = [];
    for (const [device, state] of devices)
      if (isOurs(state)) ours.push({ device, suspects: state.suspects, delay: state.delay });
    const text = JSON.stringify(ours);
    if (text !== this.#saved) {
      this.#saved = text;
      this.#saving = this.#saving
        .then(() => writeAtomically(this.#file, `${text}\n`, 0o600, 0o755))
        .catch((err) =>
          this.#log.error(
            { err },
            'cannot remember which checksum offload was turned off: a restart will have forgotten',
          ),
        )
        .then(() => {
          this.#devices = new Set(ours.map(({ device }) => device));
        });
    }
    return ours.every(({ device }) => this.#devices.has(device)) ? undefined : this.#saving;
  }

  /** Resolves when all is written. */
  async end(): Promise<void> {
    await this.#saving;
  }
}

function parsed(text: string | undefined): unknown {
  try {
    return text === undefined ? undefined : JSON.parse(text);
  } catch {
    return undefined;
  }
}
