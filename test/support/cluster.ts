import { DEFAULTS, KEYS } from '../../src/contract.ts';
import { EtcdHost } from './etcdHost.ts';
import { Host, type HostOptions } from './host.ts';
import { type Owner, thisProcess } from './owner.ts';
import { Underlay } from './underlay.ts';

export const NETWORK = { 4: '10.42.0.0/16', 6: 'fd00:42::/48' } as const;

export interface ClusterOptions {
  /** `Backend` of the network config; default `{ Type: 'vxlan' }`. */
  readonly backend?: Readonly<Record<string, unknown>>;
  /** Families of the pod network; default IPv4 alone. */
  readonly families?: readonly (4 | 6)[];
  /** More members of the network config, or others instead of the defaults. */
  readonly config?: Readonly<Record<string, unknown>>;
  /** Options and environment of every daemon. */
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Of the underlay: bytes, and how many routed segments. */
  readonly mtu?: number;
  readonly segments?: number;
  readonly owner?: Owner;
}

/** An underlay, an etcd with a network config, and hosts: `await using cluster = await Cluster.start(3)`. */
export class Cluster implements AsyncDisposable {
  readonly owner: Owner;
  readonly underlay: Underlay;
  readonly etcd: EtcdHost;
  readonly families: readonly (4 | 6)[];
  readonly hosts: Host[] = [];
  readonly #options: ClusterOptions;
  readonly #stack: AsyncDisposableStack;

  private constructor(
    owner: Owner,
    underlay: Underlay,
    etcd: EtcdHost,
    options: ClusterOptions,
    stack: AsyncDisposableStack,
  ) {
    this.owner = owner;
    this.underlay = underlay;
    this.etcd = etcd;
    this.families = options.families ?? [4];
    this.#options = options;
    this.#stack = stack;
  }

  /** Underlay, etcd and network config; no hosts yet. */
  static async create(options: ClusterOptions = {}): Promise<Cluster> {
    const owner = options.owner ?? thisProcess();
    await using stack = new AsyncDisposableStack();
    const underlay = stack.use(
      await Underlay.create(owner, { mtu: options.mtu ?? 1500, segments: options.segments ?? 1 }),
    );
    const etcd = stack.use(await EtcdHost.create(owner, underlay));
    const cluster = new Cluster(owner, underlay, etcd, options, stack.move());
    await cluster.configure({});
    return cluster;
  }

  /** A cluster with `hosts` hosts whose daemons, started all at once, are ready. */
  static async start(hosts: number, options: ClusterOptions = {}): Promise<Cluster> {
    const cluster = await Cluster.create(options);
    try {
      for (let i = 0; i < hosts; i++) await cluster.addHost();
      await Promise.all(cluster.hosts.map((host) => host.start()));
      return cluster;
    } catch (error) {
      await cluster[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Write the network config: the cluster's, changed by `changes`. */
  async configure(changes: Readonly<Record<string, unknown>>): Promise<void> {
    const config = {
      ...(this.families.includes(4) ? { Network: NETWORK[4] } : { EnableIPv4: false }),
      ...(this.families.includes(6) ? { EnableIPv6: true, IPv6Network: NETWORK[6] } : {}),
      Backend: this.#options.backend ?? { Type: 'vxlan' },
      ...this.#options.config,
      ...changes,
    };
    await this.etcd.put(`${DEFAULTS.etcdPrefix}/${KEYS.config}`, JSON.stringify(config));
  }

  /** Plug in a further host, without starting its daemon. */
  async addHost(options: Partial<HostOptions> = {}): Promise<Host> {
    const { args = [], env = {} } = this.#options;
    const host = this.#stack.use(
      await Host.create(this.owner, this.underlay, {
        name: `host${this.hosts.length + 1}`,
        endpoints: [this.etcd.endpoint()],
        ...options,
        args: [...args, ...(options.args ?? [])],
        env: { ...env, ...options.env },
      }),
    );
    this.hosts.push(host);
    return host;
  }

  /** Hosts first, then etcd, then the underlay. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}
