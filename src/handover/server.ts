import { lstatSync, rmSync } from 'node:fs';
import { EXIT } from '../contract.ts';
import { LodenError } from '../errors.ts';
import type { Bundle } from '../forwarder/bundle.ts';
import { addon, type NativeListener } from '../native/addon.ts';
import { Connection, closeAll } from './connection.ts';
import {
  GIVER_DEADLINES,
  type GiverAction,
  type GiverEvent,
  type GiverState,
  giver,
  idleGiver,
} from './giver.ts';
import { manifestOf } from './manifest.ts';
import type { Place } from './protocol.ts';
import { Runner } from './runner.ts';

export type HandoverLog = (level: 'info' | 'warn', text: string, fields?: Record<string, unknown>) => void;

export interface ServerParts {
  readonly place: Place;
  /** Stop forwarding, so that the kernel's queues keep what comes. Undefined: there is nothing to give. */
  readonly release: () => Promise<Bundle | undefined>;
  /** Forward again by what was released. */
  readonly resume: () => void;
  /** The other daemon forwards: end, as on SIGTERM. */
  readonly end: () => void;
  readonly log: HandoverLog;
}

/** Milliseconds before listening is tried again when connections cannot be accepted. */
const RETRY = 1_000;

/** The running daemon's end of handover.sock. */
export class HandoverServer {
  readonly #path: string;
  readonly #parts: ServerParts;
  readonly #runner: Runner<GiverState, GiverEvent, GiverAction>;
  readonly #connections = new Map<number, Connection>();
  #listener: NativeListener | undefined;
  #retry: NodeJS.Timeout | undefined;
  #count = 0;
  #bundle: Bundle | undefined;

  /**
   * Listen on a socket file, mode 0600. One that a dead daemon left is replaced. Throws {@link LodenError}: with exit code 75
   * when a living daemon listens.
   */
  constructor(path: string, parts: ServerParts) {
    this.#path = path;
    this.#parts = parts;
    this.#runner = new Runner<GiverState, GiverEvent, GiverAction>(
      {
        step: (state, event) => giver(parts.place, state, event),
        carryOut: (action) => this.#carryOut(action),
        deadlines: GIVER_DEADLINES,
        deadline: { type: 'deadline' },
      },
      [idleGiver(), []],
    );
    removeStale(path);
    this.#listen();
  }

  /** Take no more connections; the file goes. One that is there stays until {@link end}. */
  close(): void {
    clearTimeout(this.#retry);
    if (!this.#listener) return;
    this.#listener.close();
    this.#listener = undefined;
    rmSync(this.#path, { force: true });
  }

  /** Last of all: what another daemon waits for before it starts in our place. */
  end(): void {
    this.close();
    this.#runner.stop();
    for (const connection of this.#connections.values()) connection.close();
    this.#connections.clear();
  }

  #listen(): void {
    try {
      this.#listener = addon().handoverListen(this.#path, () => this.#accept());
    } catch (cause) {
      throw new LodenError(`cannot listen on ${this.#path}: ${(cause as Error).message}`, { cause });
    }
  }

  #accept(): void {
    try {
      while (this.#listener && this.#acceptOne(this.#listener));
    } catch (err) {
      // Out of descriptors or memory: it would be told of the same one for ever.
      this.#parts.log('warn', 'cannot accept a connection for a takeover; will listen again', { err });
      this.close();
      this.#listenLater();
    }
  }

  #listenLater(): void {
    this.#retry = setTimeout(() => {
      try {
        this.#listen();
      } catch (err) {
        this.#parts.log('warn', 'nobody can take over now; will listen again', { err });
        this.#listenLater();
      }
    }, RETRY).unref();
  }

  /** False when nobody waits. */
  #acceptOne(listener: NativeListener): boolean {
    const id = ++this.#count;
    const connection = Connection.open((onReady) => listener.accept(onReady), {
      message: (message, fds) => {
        closeAll(fds);
        this.#runner.dispatch({ type: 'message', id, message: fds.length === 0 ? message : undefined });
      },
      gone: () => this.#runner.dispatch({ type: 'gone', id }),
    });
    if (!connection) return false;
    const { peer } = connection;
    if (peer.uid !== process.geteuid!()) {
      connection.close();
      this.#parts.log('warn', 'somebody else asked for a takeover: refused', { ...peer });
      return true;
    }
    this.#connections.set(id, connection);
    this.#runner.dispatch({ type: 'connected', id });
    return true;
  }

  #carryOut(action: GiverAction): void {
    const { release, resume, end, log } = this.#parts;
    switch (action.do) {
      case 'send':
        this.#connections.get(action.id)?.send(action.message);
        break;
      case 'close':
        this.#connections.get(action.id)?.close();
        this.#connections.delete(action.id);
        break;
      case 'release':
        release().then(
          (bundle) => {
            this.#bundle = bundle;
            this.#runner.dispatch({ type: 'released' });
          },
          (error: Error) => this.#runner.dispatch({ type: 'notReleased', reason: error.message }),
        );
        break;
      case 'giveBundle': {
        const given = this.#bundle && manifestOf(this.#bundle);
        this.#connections
          .get(action.id)
          ?.send(
            { type: 'bundle', manifest: given?.manifest ?? null, descriptors: given?.fds.length ?? 0 },
            given?.fds,
          );
        break;
      }
      case 'resume':
        this.#bundle = undefined;
        try {
          resume();
        } catch (err) {
          log('warn', 'cannot forward again', { err });
        }
        break;
      case 'end':
        end();
        break;
      case 'log':
        log(action.level, action.text);
    }
  }
}

/** Remove the socket file of a daemon that is dead. Throws when one is alive, or it is no socket. */
function removeStale(path: string): void {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (!found) return;
  if (!found.isSocket()) throw new LodenError(`${path} is in the way of our socket; remove it`);
  try {
    addon()
      .handoverConnect(path, () => {})
      .close();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ECONNREFUSED' || code === 'ENOENT') {
      rmSync(path, { force: true });
      return;
    }
    if (code !== 'EAGAIN') throw new LodenError((error as Error).message, { cause: error });
  }
  throw new LodenError(`another loden daemon listens on ${path}; stop it, or choose another --run-dir`, {
    exitCode: EXIT.busy,
  });
}
