import { connect, createServer, type Server, type Socket } from 'node:net';

/** A way to a TCP port of this host that can be made to swallow everything without closing anything, or to hang up. */
export class TcpProxy implements AsyncDisposable {
  readonly #server: Server;
  readonly #pairs = new Set<readonly [Socket, Socket]>();
  #isHole = false;

  private constructor(server: Server) {
    this.#server = server;
  }

  static async to(port: number): Promise<TcpProxy> {
    const server = createServer();
    const proxy = new TcpProxy(server);
    server.on('connection', (inner) => proxy.#join(inner, connect(port, '127.0.0.1')));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return proxy;
  }

  get endpoint(): string {
    return `http://127.0.0.1:${(this.#server.address() as { port: number }).port}`;
  }

  /** Swallow what comes from both sides, for good, on old connections and new ones. */
  blackHole(): void {
    this.#isHole = true;
    for (const [a, b] of this.#pairs) this.#swallow(a, b);
  }

  /** New connections work again; those that fell into the hole stay there. */
  heal(): void {
    this.#isHole = false;
  }

  /** Reset every connection. */
  hangUp(): void {
    for (const [a, b] of this.#pairs) {
      a.resetAndDestroy();
      b.resetAndDestroy();
    }
  }

  /** Reset every connection and refuse new ones. */
  async refuse(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.hangUp();
    await closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#server.listening) await this.refuse();
  }

  #join(a: Socket, b: Socket): void {
    const pair = [a, b] as const;
    this.#pairs.add(pair);
    for (const [from, to] of [
      [a, b],
      [b, a],
    ] as const) {
      from.on('error', () => to.destroy());
      from.on('close', () => {
        to.destroy();
        this.#pairs.delete(pair);
      });
      from.pipe(to);
    }
    if (this.#isHole) this.#swallow(a, b);
  }

  #swallow(a: Socket, b: Socket): void {
    a.unpipe(b);
    b.unpipe(a);
    a.resume();
    b.resume();
  }
}
