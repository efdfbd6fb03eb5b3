import { mkdirSync, renameSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { thisProcess } from './owner.ts';
import { CommandError, Proc, run, until } from './proc.ts';

/** Certificates of a private authority, for server and client. */
export interface Pki {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
  readonly clientCert: string;
  readonly clientKey: string;
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** A real etcd on loopback ports nobody uses, with its data in a directory of its own; ends with this process. */
export class LocalEtcd implements AsyncDisposable {
  readonly dir: string;
  readonly pki: Pki | undefined;
  readonly clientPort: number;
  readonly #peerPort: number;
  #proc: Proc | undefined;
  /** Options etcdctl needs from now on, e.g. `--user root:pw`. */
  ctlArgs: string[] = [];

  private constructor(dir: string, ports: readonly [number, number], pki: Pki | undefined) {
    this.dir = dir;
    [this.clientPort, this.#peerPort] = ports;
    this.pki = pki;
  }

  /** `start` false: made, but not running yet. */
  static async create(options: { tls?: boolean; days?: number; start?: boolean } = {}): Promise<LocalEtcd> {
    const dir = thisProcess().tempDir('etcd');
    const pki = options.tls ? await makePki(dir, undefined, options.days) : undefined;
    const etcd = new LocalEtcd(dir, [await freePort(), await freePort()], pki);
    if (options.start !== false) await etcd.start();
    return etcd;
  }

  get endpoint(): string {
    return `${this.pki ? 'https' : 'http'}://127.0.0.1:${this.clientPort}`;
  }

  get #data(): string {
    return join(this.dir, 'data');
  }

  /** Start it on the data it has. Resolves when it answers. */
  async start(): Promise<void> {
    const peer = `http://127.0.0.1:${this.#peerPort}`;
    mkdirSync(this.dir, { recursive: true });
    const argv = [
      ...['etcd', '--data-dir', this.#data, '--unsafe-no-fsync', '--logger', 'zap'],
      ...['--listen-client-urls', this.endpoint, '--advertise-client-urls', this.endpoint],
      ...['--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer],
      ...['--initial-cluster', `default=${peer}`, '--auth-token-ttl', '3'],
    ];
    if (this.pki) argv.push('--cert-file', this.pki.cert, '--key-file', this.pki.key);
    const proc = await Proc.start(argv, { log: join(this.dir, 'log') });
    this.#proc = proc;
    await until('etcd to be healthy', async () => {
      if (proc.ended !== undefined) return true;
      await this.ctl('endpoint', 'health');
      return true;
    });
    if (proc.ended !== undefined) throw new Error(`etcd ended (${proc.ended}):\n${proc.tail()}`);
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    await this.#proc?.stop(signal);
  }

  async restart(): Promise<void> {
    await this.stop();
    await this.start();
  }

  /** Hold it still without closing a connection, or let it go on. */
  signal(signal: 'SIGSTOP' | 'SIGCONT'): void {
    this.#proc?.kill(signal);
  }

  /** `etcdctl <args>`; resolves to its standard output. */
  async ctl(...args: string[]): Promise<string> {
    const tls = this.pki ? ['--cacert', this.pki.ca] : [];
    const argv = ['etcdctl', `--endpoints=${this.endpoint}`, ...tls, ...this.ctlArgs, ...args];
    for (;;) {
      try {
        return await run(argv, { env: { ETCDCTL_API: '3' } });
      } catch (error) {
        // etcd 3.4 answers so for a moment after users were made.
        if (!(error instanceof CommandError && error.message.includes('auth store is old'))) throw error;
      }
    }
  }

  /** Put a key; `lease` in hex, as etcdctl has it. */
  async put(key: string, value: string, lease?: string): Promise<void> {
    await this.ctl('put', ...(lease ? [`--lease=${lease}`] : []), '--', key, value);
  }

  /** One key, with its revisions (decimal strings); undefined when there is none. */
  async get(key: string): Promise<StoredKey | undefined> {
    return (await this.list(key, false))[0];
  }

  /** Everything under a prefix. */
  async list(prefix: string, isPrefix = true): Promise<StoredKey[]> {
    const text = await this.ctl('get', '-w', 'json', ...(isPrefix ? ['--prefix'] : []), '--', prefix);
    // Lease ids do not fit a double.
    const exact = text.replace(/"(create_revision|mod_revision|lease)":(\d+)/g, '"$1":"$2"');
    const { kvs = [] } = JSON.parse(exact) as {
      kvs?: { key: string; value?: string; create_revision: string; mod_revision: string; lease?: string }[];
    };
    return kvs.map((kv) => ({
      key: Buffer.from(kv.key, 'base64').toString(),
      value: Buffer.from(kv.value ?? '', 'base64').toString(),
      createRevision: kv.create_revision,
      modRevision: kv.mod_revision,
      lease: kv.lease ?? '0',
    }));
  }

  async delete(key: string): Promise<void> {
    await this.ctl('del', '--', key);
  }

  /** Grant an etcd lease of `ttl` seconds; resolves to its id in hex. */
  async grant(ttl: number): Promise<string> {
    return /lease (\w+) granted/.exec(await this.ctl('lease', 'grant', String(ttl)))![1]!;
  }

  /** Compact away all history. */
  async compact(): Promise<void> {
    const [status] = JSON.parse(await this.ctl('endpoint', 'status', '-w', 'json')) as [
      { Status: { header: { revision: number } } },
    ];
    await this.ctl('compact', String(status!.Status.header.revision));
  }

  /** Save a backup; resolves to its file. */
  async backup(): Promise<string> {
    const file = join(this.dir, `backup-${Date.now()}`);
    await this.ctl('snapshot', 'save', file);
    return file;
  }

  /** Stop it, put a backup in the place of its data, start it again. */
  async restore(file: string): Promise<void> {
    await this.stop();
    const fresh = join(this.dir, 'restored');
    rmSync(fresh, { recursive: true, force: true });
    const peer = `http://127.0.0.1:${this.#peerPort}`;
    await run(
      [
        ...['etcdctl', 'snapshot', 'restore', file, '--data-dir', fresh, '--name', 'default'],
        ...['--initial-cluster', `default=${peer}`, '--initial-advertise-peer-urls', peer],
      ],
      { env: { ETCDCTL_API: '3' } },
    );
    rmSync(this.#data, { recursive: true });
    renameSync(fresh, this.#data);
    await this.start();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.signal('SIGCONT');
    await this.stop('SIGKILL');
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** One key as etcd has it; numbers are decimal strings, lease `0` is none. */
export interface StoredKey {
  readonly key: string;
  readonly value: string;
  readonly createRevision: string;
  readonly modRevision: string;
  readonly lease: string;
}

/** In a directory; the server at these addresses, as OpenSSL names them; valid for so many days. */
export async function makePki(dir: string, server = 'IP:127.0.0.1', days = 2): Promise<Pki> {
  const at = (name: string) => join(dir, name);
  const openssl = (...args: string[]) => run(['openssl', ...args]);
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  await openssl(
    'req',
    '-x509',
    ...newKey,
    '-keyout',
    at('ca.key'),
    '-out',
    at('ca.crt'),
    '-subj',
    '/CN=test-ca',
    '-days',
    String(days),
  );
  for (const name of ['server', 'client']) {
    await openssl(
      ...['req', '-x509', ...newKey, '-CA', at('ca.crt'), '-CAkey', at('ca.key'), '-days', String(days)],
      ...['-keyout', at(`${name}.key`), '-out', at(`${name}.crt`), '-subj', `/CN=${name}`],
      ...['-addext', `subjectAltName=${server}`, '-addext', 'basicConstraints=critical,CA:FALSE'],
    );
  }
  return {
    ca: at('ca.crt'),
    cert: at('server.crt'),
    key: at('server.key'),
    clientCert: at('client.crt'),
    clientKey: at('client.key'),
  };
}
