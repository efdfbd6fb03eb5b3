import { createRequire } from 'node:module';
import grpc from '@grpc/grpc-js';
import protoLoader from '@grpc/proto-loader';
import {
  AuthClient,
  type IDuplexStream,
  type IResponseHeader,
  KVClient,
  LeaseClient,
} from 'etcd3/lib/rpc.js';
import { STORE_DEADLINE } from '../../contract.ts';
import { ConfigError } from '../../errors.ts';
import type { StoreOptions } from '../api.ts';
import { openEndpoint } from './endpoint.ts';
import { isAuthOff, isStaleToken, storeError } from './faults.ts';

/** The messages and services of rpc.proto, as etcd3 ships it. */
const definitions = protoLoader.loadSync(createRequire(import.meta.url).resolve('etcd3/proto/rpc.proto'), {
  keepCase: true,
  longs: String,
  enums: String,
  defaults: true,
  oneofs: true,
});

type Method = grpc.MethodDefinition<object, object>;
const methodOf = (service: string, name: string): Method =>
  (definitions[`etcdserverpb.${service}`] as grpc.ServiceDefinition)[
    name[0]!.toUpperCase() + name.slice(1)
  ] as Method;

/** What etcd says in every answer about itself. */
export interface ClusterState {
  /** Undefined before the first answer. */
  readonly clusterId: string | undefined;
  /** The highest revision any answer has named. */
  readonly revision: bigint;
}

/**
 * One gRPC connection to one of several etcd endpoints, for everything: etcd3's typed clients for unary calls and
 * streams for keep-alives and the watch run over it. It stays with an endpoint until a call fails for the network's
 * sake; the next call then goes to the next endpoint over a new connection. Nothing is retried here but an expired
 * token; every call has a deadline; errors are {@link StoreError}.
 */
export class Connection {
  readonly kv: KVClient;
  readonly lease: LeaseClient;
  /** Requests sent since the start, streams included. */
  requests = 0;
  #options: StoreOptions;
  #index = 0;
  #client: grpc.Client | undefined;
  #token: Promise<string | undefined> | undefined;
  #cluster: ClusterState = { clusterId: undefined, revision: 0n };
  #closed = false;

  /** Throws ConfigError when an endpoint is not a URL or a TLS file cannot be read. */
  constructor(options: StoreOptions) {
    this.#options = options;
    if (options.endpoints.length === 0) {
      throw new ConfigError('cannot reach etcd', [
        { path: '--etcd-endpoints', expected: 'at least one endpoint', got: 'none' },
      ]);
    }
    // What is wrong with any of them is better known now than when it is needed.
    for (const endpoint of options.endpoints) openEndpoint(endpoint, options).close();
    const callable = {
      exec: <T>(service: string, method: string, params: unknown) =>
        this.#unary<T>(service, method, params as object),
      withConnection: () => Promise.reject(new TypeError('streams are opened by Connection.stream')),
      markFailed: () => {},
      callOptionsFactory: undefined,
    };
    this.kv = new KVClient(callable);
    this.lease = new LeaseClient(callable);
  }

  get endpoint(): string {
    return this.#options.endpoints[this.#index % this.#options.endpoints.length]!;
  }

  get cluster(): ClusterState {
    return this.#cluster;
  }

  /** Forget the highest revision: etcd has gone back to an earlier state. */
  restored(clusterId: string, revision: bigint): void {
    this.#cluster = { clusterId, revision };
  }

  /**
   * A range request whose answer comes back undecoded: decoding thousands of keys in one go would block the loop.
   * The caller passes its header to {@link note}.
   */
  rawRange(request: object): Promise<Uint8Array> {
    return this.#unary<Uint8Array>('KV', 'range', request, (bytes) => bytes as unknown as object);
  }

  /** Remember what an answer's header says. */
  note(header: IResponseHeader | null | undefined): void {
    if (!header) return;
    const revision = BigInt(header.revision);
    const { clusterId } = this.#cluster;
    this.#cluster = {
      clusterId: clusterId ?? header.cluster_id,
      revision: revision > this.#cluster.revision ? revision : this.#cluster.revision,
    };
  }

  /**
   * Open a bidirectional stream (`Watch.watch`, `Lease.leaseKeepAlive`) at a member that has a leader.
   * The caller listens for `error` and turns it into a StoreError by `failed`.
   */
  async stream<Request, Response>(
    service: string,
    name: string,
    deadline?: number,
  ): Promise<{ stream: IDuplexStream<Request, Response>; failed: (error: unknown) => Error }> {
    const method = methodOf(service, name);
    const client = this.#open();
    const endpoint = this.endpoint;
    const metadata = await this.#metadata(client, endpoint);
    metadata.set('hasleader', 'true');
    this.requests++;
    const stream = client.makeBidiStreamRequest(
      method.path,
      method.requestSerialize,
      method.responseDeserialize,
      metadata,
      deadline === undefined ? {} : { deadline: Date.now() + deadline },
    );
    return {
      stream: stream as unknown as IDuplexStream<Request, Response>,
      failed: (error) => this.#failed(error, client, endpoint, `${service}.${name}`, deadline ?? 0),
    };
  }

  /** One request and one answer over a stream that is made for many (a keep-alive). */
  async exchange<Request, Response extends { header: IResponseHeader }>(
    service: string,
    name: string,
    request: Request,
  ): Promise<Response> {
    const started = performance.now();
    const endpoint = this.endpoint;
    const { stream, failed } = await this.stream<Request, Response>(service, name, STORE_DEADLINE);
    const { promise, resolve, reject } = Promise.withResolvers<Response>();
    stream.on('data', resolve);
    stream.on('error', reject);
    stream.on('end', () => reject({ code: grpc.status.UNAVAILABLE, details: 'etcd ended the stream' }));
    stream.write(request);
    let ok = false;
    try {
      const answer = await promise;
      this.note(answer.header);
      ok = true;
      return answer;
    } catch (error) {
      // Only here: an answered stream ends too, and that is no reason to leave the endpoint.
      throw failed(error);
    } finally {
      stream.end();
      this.#options.onRequest?.({
        method: `${service}.${name}`,
        endpoint,
        milliseconds: performance.now() - started,
        ok,
      });
    }
  }

  close(): void {
    this.#closed = true;
    this.#client?.close();
    this.#client = undefined;
  }

  async #unary<T>(
    service: string,
    name: string,
    params: object,
    deserialize?: (bytes: Buffer) => object,
    retried = false,
  ): Promise<T> {
    const client = this.#open();
    const endpoint = this.endpoint;
    const method = methodOf(service, name);
    const metadata = await this.#metadata(client, endpoint);
    try {
      const answer = await this.#call(
        client,
        endpoint,
        service,
        name,
        metadata,
        params,
        deserialize ?? method.responseDeserialize,
      );
      if (!deserialize) this.note((answer as { header?: IResponseHeader }).header);
      return answer as T;
    } catch (error) {
      if (isStaleToken(error)) {
        this.#token = undefined;
        if (!retried && this.#options.username) return this.#unary(service, name, params, deserialize, true);
      }
      throw this.#failed(error, client, endpoint, `${service}.${name}`, STORE_DEADLINE);
    }
  }

  #call(
    client: grpc.Client,
    endpoint: string,
    service: string,
    name: string,
    metadata: grpc.Metadata,
    params: object,
    deserialize: (bytes: Buffer) => object,
  ): Promise<object> {
    const method = methodOf(service, name);
    const started = performance.now();
    this.requests++;
    return new Promise((resolve, reject) => {
      client.makeUnaryRequest(
        method.path,
        method.requestSerialize,
        deserialize,
        params,
        metadata,
        { deadline: Date.now() + STORE_DEADLINE },
        (error, answer) => {
          const milliseconds = performance.now() - started;
          this.#options.onRequest?.({ method: `${service}.${name}`, endpoint, milliseconds, ok: !error });
          if (error) reject(error);
          else resolve(answer!);
        },
      );
    });
  }

  /** A failed call: leave the endpoint when the network or the member is at fault. */
  #failed(error: unknown, client: grpc.Client, endpoint: string, method: string, deadline: number): Error {
    const failure = storeError(error, endpoint, method, deadline);
    if (isStaleToken(error)) this.#token = undefined;
    const { code } = error as { code?: number };
    if (code === grpc.status.UNAVAILABLE || code === grpc.status.DEADLINE_EXCEEDED) this.#leave(client);
    return failure;
  }

  /** Use another connection from now on. Streams that still live on the old one live on until it is found dead. */
  #leave(client: grpc.Client): void {
    if (this.#client !== client) return;
    this.#client = undefined;
    this.#index++;
    client.close();
  }

  #open(): grpc.Client {
    if (this.#closed) throw storeError(new Error('the store is closed'), this.endpoint, 'connect', 0);
    this.#client ??= openEndpoint(this.endpoint, this.#options);
    return this.#client;
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
    const auth = new AuthClient({
      exec: <T>(service: string, method: string, params: unknown) => {
        const { responseDeserialize } = methodOf(service, method);
        return this.#call(
          client,
          endpoint,
          service,
          method,
          new grpc.Metadata(),
          params as object,
          responseDeserialize,
        ) as Promise<T>;
      },
      withConnection: () => Promise.reject(new TypeError('authenticate is a unary call')),
      markFailed: () => {},
      callOptionsFactory: undefined,
    });
    try {
      return (await auth.authenticate({ name, password: this.#options.password ?? '' })).token;
    } catch (error) {
      this.#token = undefined;
      if (isAuthOff(error)) return undefined;
      throw this.#failed(error, client, endpoint, 'Auth.authenticate', STORE_DEADLINE);
    }
  }
}
