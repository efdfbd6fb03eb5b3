import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { EtcdHost } from './etcdHost.ts';
import { type Proc, until } from './proc.ts';

const COUNT = 3;
const url = (host: string, port: number): string => `http://${host}:${port}`;

/** A cluster of three etcds on the host of an {@link EtcdHost}, which it has nothing else to do with. */
export class EtcdMembers {
  readonly #at: EtcdHost['at'];
  readonly #dir: string;
  readonly #procs: (Proc | undefined)[] = [];

  private constructor(etcd: EtcdHost) {
    this.#at = etcd.at;
    this.#dir = etcd.dir;
  }

  /** Resolves when they have a leader. They end with their host. */
  static async start(etcd: EtcdHost): Promise<EtcdMembers> {
    const members = new EtcdMembers(etcd);
    for (let i = 0; i < COUNT; i++) await members.start(i);
    await until('the members to agree', () => members.leader());
    return members;
  }

  /** For `--etcd-endpoints`. */
  get endpoints(): string[] {
    return Array.from({ length: COUNT }, (_, i) => url(this.#at.ipv4, 4000 + i));
  }

  /** Start a member on the data it has. */
  async start(i: number): Promise<void> {
    const dir = join(this.#dir, `member${i}`);
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    const peer = (n: number) => url('127.0.0.1', 5000 + n);
    const cluster = Array.from({ length: COUNT }, (_, n) => `m${n}=${peer(n)}`).join();
    const client = this.endpoints[i]!;
    const argv = [
      ...['etcd', '--name', `m${i}`, '--data-dir', dir, '--unsafe-no-fsync', '--logger', 'zap'],
      ...['--listen-client-urls', client, '--advertise-client-urls', client],
      ...[
        '--listen-peer-urls',
        peer(i),
        '--initial-advertise-peer-urls',
        peer(i),
        '--initial-cluster',
        cluster,
      ],
      ...['--heartbeat-interval', '50', '--election-timeout', '500'],
    ];
    this.#procs[i] = await this.#at.netns.start(argv, { log: join(this.#dir, `log${i}`) });
  }

  /** Kill a member as a crash does. */
  async kill(i: number): Promise<void> {
    await this.#procs[i]!.stop('SIGKILL');
  }

  /** `etcdctl <args>`, to those that live. */
  ctl(...args: string[]): Promise<string> {
    const endpoints = this.endpoints.filter((_, i) => this.#procs[i]?.ended === undefined);
    return this.#at.netns.run(['etcdctl', `--endpoints=${endpoints}`, ...args], {
      env: { ETCDCTL_API: '3' },
    });
  }

  /** Which member leads; throws when those that live do not agree on one. */
  async leader(): Promise<number> {
    const text = await this.ctl('endpoint', 'status', '-w', 'json');
    // Member ids do not fit a double.
    const exact = text.replace(/"(member_id|leader)":(\d+)/g, '"$1":"$2"');
    const members = JSON.parse(exact) as {
      Endpoint: string;
      Status: { header: { member_id: string }; leader: string };
    }[];
    const leaders = new Set(members.map((m) => m.Status.leader));
    const leader = members.find((m) => leaders.has(m.Status.header.member_id));
    if (leaders.size !== 1 || !leader) throw new Error(`no leader: ${text}`);
    return this.endpoints.indexOf(leader.Endpoint);
  }
}
