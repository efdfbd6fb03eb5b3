import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { ask, type Told } from './ask.ts';
import type { Owner } from './owner.ts';
import { type Proc, until } from './proc.ts';
import type { Attachment, Underlay } from './underlay.ts';

const PORT = 2379;
/** It has no peers. */
const PEER = 'http://127.0.0.1:2380';
/** etcd refuses transactions of more operations (--max-txn-ops). */
const TXN_OPS = 128;

const base64 = (text: string): string => Buffer.from(text).toString('base64');
const text = (encoded: string | undefined): string => Buffer.from(encoded ?? '', 'base64').toString('utf8');

export interface KeyValue {
  readonly key: string;
  readonly value: string;
  /** Decimal; `0` when the key hangs on no lease. */
  readonly lease: string;
  readonly modRevision: string;
}

/**
 * A real etcd on a host of its own on the underlay: daemons reach it by the network, so that it can be cut off from
 * them. The tests themselves speak with it over a Unix socket, which no cut reaches.
 */
export class EtcdHost implements AsyncDisposable {
  readonly at: Attachment;
  readonly dir: string;
  #proc: Proc | undefined;

  private constructor(at: Attachment, dir: string) {
    this.at = at;
    this.dir = dir;
  }

  static async create(owner: Owner, underlay: Underlay): Promise<EtcdHost> {
    const etcd = new EtcdHost(await underlay.attach('etcd'), owner.tempDir('etcd'));
    await etcd.start();
    return etcd;
  }

  get #data(): string {
    return join(this.dir, 'data');
  }

  get #socket(): string {
    return join(this.dir, `etcd:${PORT}`);
  }

  /** For `--etcd-endpoints`, by IPv4 or IPv6. */
  endpoint(family: 4 | 6 = 4): string {
    return `http://${family === 4 ? this.at.ipv4 : `[${this.at.ipv6}]`}:${PORT}`;
  }

  /** Start it, or start it again on the data it has. Resolves when it answers. */
  async start(extraArgs: readonly string[] = []): Promise<void> {
    if (this.#proc && this.#proc.ended === undefined) return;
    // What a killed one left behind keeps the next from listening.
    rmSync(this.#socket, { force: true });
    const argv = [
      'etcd',
      ...['--data-dir', this.#data, '--unsafe-no-fsync', '--logger', 'zap'],
      // A Unix socket's name has the form of host:port and is relative to the working directory.
      ...['--listen-client-urls', `http://[::]:${PORT},unix://etcd:${PORT}`],
      ...['--advertise-client-urls', this.endpoint()],
      ...['--listen-peer-urls', PEER, '--initial-advertise-peer-urls', PEER],
      ...['--initial-cluster', `default=${PEER}`],
      // Alone, it need not wait a second for a rival.
      ...['--heartbeat-interval', '20', '--election-timeout', '200'],
      ...extraArgs,
    ];
    const proc = await this.at.netns.start(argv, { log: join(this.dir, 'log'), cwd: this.dir });
    this.#proc = proc;
    await until('etcd to be healthy', async () => {
      if (proc.ended !== undefined) return true;
      return (await this.#http('/health', undefined, 1_000)).body.includes('"true"');
    });
    if (proc.ended !== undefined) throw new Error(`etcd ended (${proc.ended}):\n${proc.tail()}`);
  }

  /** Stop it; SIGKILL for a crash. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    await this.#proc?.stop(signal);
  }

  /** Hold it still without closing a connection (SIGSTOP), or let it go on (SIGCONT). */
  signal(signal: 'SIGSTOP' | 'SIGCONT'): void {
    this.#proc?.kill(signal);
  }

  /** `etcdctl <args>`, version 3 API, on etcd's own host. */
  ctl(...args: string[]): Promise<string> {
    return this.at.netns.run(['etcdctl', `--endpoints=http://127.0.0.1:${PORT}`, ...args], {
      env: { ETCDCTL_API: '3' },
    });
  }

  /** Put a key; `lease` a decimal id. */
  async put(key: string, value: string, lease = '0'): Promise<void> {
    await this.#call('kv/put', { key: base64(key), value: base64(value), lease });
  }

  /** Put many keys, 128 a transaction. */
  async putMany(pairs: Iterable<readonly [key: string, value: string]>, lease = '0'): Promise<void> {
    const puts = Array.from(pairs, ([key, value]) => ({
      requestPut: { key: base64(key), value: base64(value), lease },
    }));
    for (let i = 0; i < puts.length; i += TXN_OPS) {
      await this.#call('kv/txn', { success: puts.slice(i, i + TXN_OPS) });
    }
  }

  /** Grant a lease of `ttl` seconds; returns its decimal id. */
  async grant(ttl: number): Promise<string> {
    return (await this.#call<{ ID: string }>('lease/grant', { TTL: String(ttl) })).ID;
  }

  /** Everything under a prefix, in the order of the keys. */
  async list(prefix: string): Promise<KeyValue[]> {
    const end = Buffer.from(prefix);
    end[end.length - 1]!++;
    const answer = await this.#call<{
      kvs?: { key: string; value?: string; lease?: string; mod_revision: string }[];
    }>('kv/range', { key: base64(prefix), range_end: end.toString('base64') });
    return (answer.kvs ?? []).map((kv) => ({
      key: text(kv.key),
      value: text(kv.value),
      lease: kv.lease ?? '0',
      modRevision: kv.mod_revision,
    }));
  }

  /** Delete one key. */
  async delete(key: string): Promise<void> {
    await this.#call('kv/deleterange', { key: base64(key) });
  }

  /** Throw all history away: a watch that was behind must list again. */
  async compact(): Promise<void> {
    const { header } = await this.#call<{ header: { revision: string } }>('kv/range', { key: base64('/') });
    await this.#call('kv/compaction', { revision: header.revision, physical: true });
  }

  /** Save a backup; returns its file. */
  async backup(): Promise<string> {
    const file = join(this.dir, `backup-${Date.now()}`);
    await this.ctl('snapshot', 'save', file);
    return file;
  }

  /** Stop it, put a backup in the place of its data, start it again: revisions go back, leases are as they were. */
  async restore(file: string): Promise<void> {
    await this.stop();
    rmSync(this.#data, { recursive: true });
    await this.ctl(
      ...['snapshot', 'restore', file, '--data-dir', this.#data, '--name', 'default'],
      ...['--initial-cluster', `default=${PEER}`, '--initial-advertise-peer-urls', PEER],
    );
    await this.start();
  }

  /** The sum of a counter or gauge over the label sets that contain all of `labels` (as in `grpc_method="Txn"`). */
  async metric(name: string, ...labels: string[]): Promise<number> {
    const { body } = await this.#http('/metrics');
    let sum = 0;
    for (const line of body.split('\n')) {
      if (!line.startsWith(`${name}{`) && !line.startsWith(`${name} `)) continue;
      if (labels.every((label) => line.includes(label))) sum += Number(line.slice(line.lastIndexOf(' ') + 1));
    }
    return sum;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop('SIGKILL');
    await this.at.netns[Symbol.asyncDispose]();
    rmSync(this.dir, { recursive: true, force: true });
  }

  #http(path: string, body?: string, timeout?: number): Promise<Told> {
    return ask(this.#socket, path, {
      ...(body === undefined ? {} : { body }),
      ...(timeout === undefined ? {} : { timeout }),
    });
  }

  async #call<T>(method: string, message: unknown): Promise<T> {
    const { status, body } = await this.#http(`/v3/${method}`, JSON.stringify(message));
    if (status !== 200) throw new Error(`etcd ${method}: ${status} ${body}`);
    return JSON.parse(body) as T;
  }
}
