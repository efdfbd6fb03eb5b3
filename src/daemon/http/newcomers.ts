import type { IncomingMessage, Server } from 'node:http';
import type { Socket } from 'node:net';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';

/** Milliseconds that who has connected has to ask, at the end, and turns of the event loop until all who have are accepted. */
const [LINGER, TURNS] = [1_000, 4];

/** Who has connected and not asked yet. A server that is closed drops them, and a plugin cannot know that nothing was begun. */
export class Newcomers {
  readonly #sockets = new Set<Socket>();
  #isEmpty: (() => void) | undefined;

  constructor(server: Server) {
    server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket);
      socket.once('close', () => this.#forget(socket));
    });
    server.on('request', ({ socket }: IncomingMessage) => this.#forget(socket));
  }

  /** Resolves when all have asked or are gone, and those that wait to be accepted too; after a while at the latest. */
  async gone(): Promise<void> {
    for (let turn = 0; turn < TURNS; turn++) await nextTurn();
    if (this.#sockets.size === 0) return;
    const empty = new Promise<void>((resolve) => (this.#isEmpty = resolve));
    await Promise.race([empty, sleep(LINGER, undefined, { ref: false })]);
  }

  #forget(socket: Socket): void {
    this.#sockets.delete(socket);
    if (this.#sockets.size === 0) this.#isEmpty?.();
  }
}
