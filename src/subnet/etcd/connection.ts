import grpc from '@grpc/grpc-js';
import { STORE_DEADLINE } from '../../contract.ts';
import { ConfigError, StoreError } from '../../errors.ts';
import type { StoreOptions } from '../api.ts';
import { openEndpoint } from './endpoint.ts';
import { isAuthOff, isStaleToken, storeError } from './faults.ts';
import type { Partly } from './protobuf.ts';
import { type Header, METHODS, type Method } from './rpc.ts';

/** What etcd says in every answer about itself. */
export interface ClusterState {
  /** Undefined before the first answer. */
  readonly clusterId: bigint | undefined;
  /** The highest revision any answer has named. */
  readonly revision: bigint;
}

/** An open stream, and what makes a StoreError of its errors. */
export interface OpenStream<Request, Response> {
  readonly stream: grpc.ClientDuplexStream<Partly<Request>, Response>;
  readonly failed: (error: unknown) => StoreError;
}

/**
 * One gRPC connection to one of several etcd endpoints, for unary calls, keep-alives and the watch alike. It stays
 * with an endpoint until a call fails for the network's sake; the next call then goes to the next endpoint over a new
 * connection. Nothing is retried here but an expired token. Every unary call has a deadline; errors are
 * {@link StoreError}.
 */
export class Connection {
  /** Requests sent since the start, streams included. */
  requests = 0;
  readonly #options: StoreOptions;
  #index = 0;
  #client: grpc.Client | undefined;
  #token: Promise<string | undefined> | undefined;
  #cluster: ClusterState = { clusterId: undefined, revision: 0n };
  #closed = false;

  /** Throws ConfigError when an endpoint is not a URL or a TLS file cannot be used. */
  constructor(options: StoreOptions) {
    this.#options = options;
    if (options.endpoints.length === 0) {
      throw new ConfigError('cannot reach etcd', [
        { path: '--etcd-endpoints', expected: 'at least one endpoint', got: 'none' },
      ]);
    }
    // What is wrong with any of them is better known now than when it is needed.
    for (const endpoint of options.endpoints) openEndpoint(endpoint, options).close();
  }

  /** The one in use. */
  get endpoint(): string {
    return this.#options.endpoints[this.#index % this.#options.endpoints.length]!;
  }

  get cluster(): ClusterState {
    return this.#cluster;
  }

  /** Forget the highest revision: etcd has gone back to an earlier state. */
  restored(clusterId: bigint, revision: bigint): void {
    this.#cluster = { clusterId, revision };
  }

  /** Remember what an answer says. Answers of {@link call} are noted by it, those of streams and raw ones by the caller. */
  note(header: Header | undefined): void {
    if (!header) return;
    const { clusterId, revision } = this.#cluster;
    if (header.revision <= revision) return;
    this.#cluster = { clusterId: clusterId ?? header.cluster_id, revision: header.revision };
  }

  /** A unary call. */
  async call<Q, R>(method: Method<Q, R>, request: Partly<Q>): Promise<R> {
    try {
      return await this.#attempt(method, request);
    } catch (error) {
      if (!(error instanceof StoreError) || !isStaleToken(error.cause) || !this.#options.username)
        throw error;
      this.#token = undefined;
      return this.#attempt(method, request);
    }
  }

  /** Open a stream at a member that has a leader. The caller listens for its `error`s. */
  async stream<Q, R>(method: Method<Q, R>, deadline?: number): Promise<OpenStream<Q, R>> {
    const { client, endpoint } = this.#open();
    const metadata = await this.#metadata(client, endpoint);
    metadata.set('hasleader', 'true');
    this.requests++;
    const stream = client.makeBidiStreamRequest<Partly<Q>, R>(
      method.path,
      method.request.encode,
      method.response.decode,
      metadata,
      deadline === undefined ? {} : { deadline: Date.now() + deadline },
    );
    return {
      stream,
      failed: (error) => this.#failed(error, client, endpoint, method.name, deadline ?? STORE_DEADLINE),
    };
  }

  /** One request and one answer over a stream that is made for many (a keep-alive). */
  async exchange<Q, R extends { readonly header: Header | undefined }>(
    method: Method<Q, R>,
    request: Partly<Q>,
  ): Promise<R> {
    const [started, endpoint] = [performance.now(), this.endpoint];
    const { stream, failed } = await this.stream(method, STORE_DEADLINE);
    const { promise, resolve, reject } = Promise.withResolvers<R>();
    stream.on('data', resolve);
    stream.on('error', (error) => reject(failed(error)));
    stream.on('end', () =>
      reject(failed({ code: grpc.status.UNAVAILABLE, details: 'etcd ended the stream' })),
    );
    stream.write(request);
    let ok = false;
    try {
      const answer = await promise;
      this.note(answer.header);
      ok = true;
      return answer;
    } finally {
      stream.end();
      this.#observe(method.name, endpoint, started, ok);
    }
  }

  close(): void {
    this.#closed = true;
    this.#client?.close();
    this.#client = undefined;
  }

  async #attempt<Q, R>(method: Method<Q, R>, request: Partly<Q>): Promise<R> {
    const { client, endpoint } = this.#open();
    const metadata = await this.#metadata(client, endpoint);
    try {
      const answer = await this.#send(client, endpoint, method, request, metadata);
      this.note((answer as { readonly header?: Header }).header);
      return answer;
    } catch (error) {
      throw this.#failed(error, client, endpoint, method.name, STORE_DEADLINE);
    }
  }

  /** Rejects with gRPC's own error. */
  #send<Q, R>(
    client: grpc.Client,
    endpoint: string,
    method: Method<Q, R>,
    request: Partly<Q>,
    metadata: grpc.Metadata,
  ): Promise<R> {
    const started = performance.now();
    this.requests++;
    return new Promise((resolve, reject) => {
      client.makeUnaryRequest<Partly<Q>, R>(
        method.path,
        method.request.encode,
        method.response.decode,
        request,
        metadata,
        { deadline: Date.now() + STORE_DEADLINE },
        (error, answer) => {
          this.#observe(method.name, endpoint, started, !error);
          if (error) reject(error);
          else resolve(answer!);
        },
      );
    });
  }

  #observe(method: string, endpoint: string, started: number, ok: boolean): void {
    this.#options.onRequest?.({ method, endpoint, milliseconds: performance.now() - started, ok });
  }

  /** A failed call: leave the endpoint when the network or the member is at fault. */
  #failed(
    error: unknown,
    client: grpc.Client,
    endpoint: string,
    method: string,
    deadline: number,
  ): StoreError {
    if (isStaleToken(error)) this.#token = undefined;
    const { code } = error as { code?: number };
    if (code === grpc.status.UNAVAILABLE || code === grpc.status.DEADLINE_EXCEEDED) this.#leave(client);
    return storeError(error, endpoint, method, deadline);
  }

  /** Use another connection from now on. Streams that still live on the old one live on until it is found dead. */
  #leave(client: grpc.Client): void {
    if (this.#client !== client) return;
    this.#client = undefined;
    this.#index++;
    client.close();
  }

  #open(): { readonly client: grpc.Client; readonly endpoint: string } {
    const { endpoint } = this;
    if (this.#closed) throw storeError(new Error('the store is closed'), endpoint, 'connect', 0);
    this.#client ??= openEndpoint(endpoint, this.#options);
    return { client: this.#client, endpoint };
  }

  async #metadata(client: grpc.Client, endpoint: string): Promise<grpc.Metadata> {
    const metadata = new grpc.Metadata();
    const { username } = this.#options;
    if (!username) return metadata;
    this.#token ??= this.#authenticate(client, endpoint, username);
    const token = await this.#token;
    if (token !== undefined) metadata.set('token', token);
    return metadata;
  }

  /** The token for a name and password; undefined when etcd has no users. */
  async #authenticate(client: grpc.Client, endpoint: string, name: string): Promise<string | undefined> {
    const request = { name, password: this.#options.password ?? '' };
    try {
      return (await this.#send(client, endpoint, METHODS.authenticate, request, new grpc.Metadata())).token;
    } catch (error) {
      this.#token = undefined;
      if (isAuthOff(error)) return undefined;
      throw this.#failed(error, client, endpoint, METHODS.authenticate.name, STORE_DEADLINE);
    }
  }
}
