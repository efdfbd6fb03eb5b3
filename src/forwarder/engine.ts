import { closeSync, constants, openSync } from 'node:fs';
import { join } from 'node:path';
import type { ForwarderTable } from '../backends/backend.ts';
import { encodeTable } from '../backends/udp/tableBytes.ts';
import { FILES } from '../contract.ts';
import type { ForwarderAbility, ForwarderAddon, NativeForwarder } from '../native/forwarder.ts';
import { formatAddr } from '../net/addr.ts';
import { type Ends, queuesOf } from './ends.ts';
import { refusedOffloads } from './words.ts';

export interface EngineOptions {
  readonly native: ForwarderAddon;
  readonly runDir: string;
  readonly onNote: (
    level: 'info' | 'warn',
    message: string,
    fields?: Readonly<Record<string, unknown>>,
  ) => void;
}

const LEFT_TO_US = 'the kernel leaves some work to us';

/** The native forwarder, made when it is first needed: its counters, its table and its threads. */
export class Engine {
  readonly #options: EngineOptions;
  readonly #onDeviceLost: () => void;
  #native: NativeForwarder | undefined;
  #table: ForwarderTable | undefined;
  #running = false;
  #ability: ForwarderAbility | undefined;
  #hasToldOfTrains = false;

  constructor(options: EngineOptions, onDeviceLost: () => void) {
    this.#options = options;
    this.#onDeviceLost = onDeviceLost;
  }

  /** Undefined before it was ever needed. */
  get native(): NativeForwarder | undefined {
    return this.#native;
  }

  /** In force. */
  get table(): ForwarderTable | undefined {
    return this.#table;
  }

  get running(): boolean {
    return this.#running;
  }

  /** What the kernel does for us, once it has been asked. */
  get ability(): ForwarderAbility | undefined {
    return this.#ability;
  }

  /** Its counters go on from where the last daemon left them. Throws the addon's errors. */
  open(): NativeForwarder {
    if (this.#native) return this.#native;
    const { native, runDir, onNote } = this.#options;
    const alone = (reason: string) =>
      onNote('warn', 'the counters of the forwarder are kept by this process alone', { reason });
    let file = -1;
    try {
      file = openSync(join(runDir, FILES.forwarderStats), constants.O_RDWR | constants.O_CREAT, 0o644);
    } catch (e) {
      alone((e as Error).message);
    }
    try {
      this.#native = native.forwarder(file, ({ kind }) =>
        kind === 'tun-lost' ? this.#onDeviceLost() : this.#trainsRefused(),
      );
      if (file >= 0 && this.#native.statsNote !== undefined) alone(this.#native.statsNote);
      return this.#native;
    } finally {
      if (file >= 0) closeSync(file);
    }
  }

  /** Found when there was something to send; each worker tells, and again each time it is started. */
  #trainsRefused(): void {
    if (!this.#running || !this.#ability?.gso) return;
    this.#ability = { ...this.#ability, gso: false };
    if (this.#hasToldOfTrains) return;
    this.#hasToldOfTrains = true;
    this.#options.onNote('info', LEFT_TO_US, { refused: refusedOffloads(this.#ability) });
  }

  /** Put a table in force. Throws the addon's errors. */
  use(table: ForwarderTable): void {
    if (this.#table === table) return;
    this.open().swap(encodeTable(table));
    this.#table = table;
  }

  /** What is in force means nothing any more. */
  forget(): void {
    this.#table = undefined;
  }

  /** Forward between these ends, unless something is missing. Throws the addon's errors. */
  start(ends: Ends): void {
    const { tun, udp } = ends;
    const queues = queuesOf(ends);
    if (!tun || queues.length === 0) return;
    const ability = this.open().start(queues);
    this.#running = true;
    const refused = refusedOffloads(ability);
    const isNews = refused.join() !== refusedOffloads(this.#ability).join();
    this.#ability = ability;
    const { onNote } = this.#options;
    const local = udp.map(({ addr }) => formatAddr(addr));
    onNote('info', 'forwarding', { threads: queues.length, device: tun.device, port: udp[0]!.port, local });
    if (isNews && refused.length > 0) onNote('info', LEFT_TO_US, { refused });
  }

  /** What was read is sent on; the descriptors are not used any more. */
  stop(): void {
    if (this.#running) this.#native?.stop();
    this.#running = false;
  }

  /** Stop for good. */
  close(): void {
    this.#native?.close();
    this.#running = false;
  }
}
