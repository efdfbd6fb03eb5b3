import { realpathSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { RunOptions } from '../config/run.ts';
import { FILES } from '../contract.ts';
import type { Bundle } from '../forwarder/bundle.ts';
import type { Forwarder } from '../forwarder/forwarder.ts';
import { chooseThreads } from '../forwarder/threads.ts';
import { closeAll } from '../handover/connection.ts';
import { FdStore } from '../handover/fdStore.ts';
import { namesOf } from '../handover/listenFds.ts';
import type { Place } from '../handover/protocol.ts';
import { type HandoverLog, HandoverServer } from '../handover/server.ts';
import { takeOver } from '../handover/takeOver.ts';
import { readNodeId } from '../subnet/stateDir.ts';
import type { Logger } from './log.ts';
import type { Stop } from './signals.ts';

/** Milliseconds that ending may take while another daemon waits for our place. */
const END_TIME = 10_000;

export interface HandoverParts {
  readonly options: RunOptions;
  /** Of the process: it loses what was meant for us alone. */
  readonly env: Record<string, string | undefined>;
  readonly log: Logger;
  readonly stop: Stop;
  readonly forwarder: Forwarder;
}

/**
 * How forwarding goes on from one daemon to the next: by a takeover, by the service manager's store, or, after a kill
 * with neither, by what is saved.
 */
export class Handover {
  readonly #parts: HandoverParts;
  readonly #log: HandoverLog;
  readonly #store: FdStore;
  /** What the service manager has passed and nobody uses yet. */
  #passed: Bundle | undefined;
  #server: HandoverServer | undefined;
  /** Until then, what there is to give may still be about to be used. */
  readonly #resumed = Promise.withResolvers<void>();
  #unlisten = (): void => {};

  constructor(parts: HandoverParts) {
    this.#parts = parts;
    this.#log = (level, text, fields) => parts.log[level](fields ?? {}, text);
    this.#store = new FdStore(parts.env, this.#log);
    this.#passed = this.#store.take(parts.env);
  }

  /** With --takeover: wait until the running daemon has given us its place. Before anything of it is opened. */
  async take(): Promise<void> {
    const { options, forwarder, log } = this.#parts;
    if (!options.takeover) return;
    const outcome = await takeOver(this.#path, {
      place: placeOf(options),
      prepare: async () => {
        // What would end us once the other one is gone has to end us before.
        await readNodeId(options.stateDir);
        await forwarder.prepare();
      },
      start: (bundle) => forwarder.adopt(bundle),
      stop: () => forwarder.stop(),
      log: this.#log,
    });
    log.info(outcome, outcome.kind === 'taken' ? 'taken over' : 'there is no daemon to take over from');
  }

  /** Be ready to give this place to another daemon. Throws when another one has the run directory. */
  listen(): void {
    const { options, forwarder, stop } = this.#parts;
    this.#server = new HandoverServer(this.#path, {
      place: placeOf(options),
      release: async () => {
        await this.#resumed.promise;
        return forwarder.release();
      },
      resume: () => forwarder.resume(),
      end: () => {
        setTimeout(() => {
          this.#log('warn', 'cannot end in order: the other daemon waits no longer');
          process.kill(process.pid, 'SIGKILL');
        }, END_TIME).unref();
        stop.abort(undefined);
      },
      log: this.#log,
    });
  }

  /** Forward what the last daemon did, unless we do already. Once nobody else can be doing so. */
  async resume(): Promise<void> {
    const { options, forwarder } = this.#parts;
    if (!forwarder.running && this.#passed) {
      try {
        await forwarder.adopt(this.#passed);
        this.#passed = undefined;
      } catch (err) {
        this.#log('warn', 'the descriptors of the last run cannot be used', { err });
      }
    }
    if (this.#passed) closeAll(namesOf(this.#passed).values());
    this.#passed = undefined;
    if (!forwarder.running) await forwarder.resumeSaved(chooseThreads(options.udpThreads));
    this.#resumed.resolve();
    this.#keep();
    this.#unlisten = forwarder.onChange(() => this.#keep());
  }

  /** The daemon ends: nobody may take over any more, and the store keeps what it has, whatever becomes of our descriptors. */
  close(): void {
    this.#unlisten();
    this.#server?.close();
  }

  /** Last of all: another daemon may be waiting for our end. */
  end(): void {
    this.#server?.end();
  }

  get #path(): string {
    return join(this.#parts.options.runDir, FILES.handoverSocket);
  }

  #keep(): void {
    this.#store.keep(this.#parts.forwarder.bundle);
  }
}

function placeOf({ etcd, stateDir }: RunOptions): Place {
  const { dev, ino } = statSync('/proc/self/ns/net');
  let real = resolve(stateDir);
  try {
    real = realpathSync(real);
  } catch {
    // It is going to be made there.
  }
  return { prefix: etcd.prefix, stateDir: real, netns: `${dev}:${ino}` };
}
