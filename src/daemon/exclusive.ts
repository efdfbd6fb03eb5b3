import net from 'node:net';
import { EXIT } from '../contract.ts';
import { LodenError } from '../errors.ts';

/**
 * Take the name of this network on this host: an abstract Unix socket, which is scoped to the network namespace
 * and dies with the process (unix(7)). Throws {@link LodenError} with exit code 75 when another daemon has it.
 */
async function claimNetwork(etcdPrefix: string, backend: string): Promise<AsyncDisposable> {
  const name = `loden:${etcdPrefix}:${backend}`;
  // The kernel's limit is 107 bytes behind the leading NUL; a longer prefix is cut from the left, where prefixes are alike.
  const server = net.createServer((socket) => socket.destroy());
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) =>
      reject(
        cause.code === 'EADDRINUSE'
          ? new LodenError(
              `another loden daemon already serves ${etcdPrefix} by ${backend} on this host (abstract socket @${name}); stop it first`,
              { exitCode: EXIT.busy, cause },
            )
          : new LodenError(`cannot listen on the abstract socket @${name}: ${cause.message}`, { cause }),
      ),
    );
    server.listen({ path: `\0${name.slice(-100)}` }, resolve);
  });
  server.unref();
  return { [Symbol.asyncDispose]: () => new Promise<void>((resolve) => server.close(() => resolve())) };
}

/** Taken once, when it is known what network there is. */
export class NetworkClaim {
  readonly #etcdPrefix: string;
  readonly #stack: AsyncDisposableStack;
  #isHeld = false;

  constructor(etcdPrefix: string, stack: AsyncDisposableStack) {
    this.#etcdPrefix = etcdPrefix;
    this.#stack = stack;
  }

  /** As {@link claimNetwork}; it is given up with the stack. */
  async hold(backend: string): Promise<void> {
    if (this.#isHeld) return;
    this.#stack.use(await claimNetwork(this.#etcdPrefix, backend));
    this.#isHeld = true;
  }
}
