import { randomBytes } from 'node:crypto';
import { Latest } from '../../src/latest.ts';
import { addr, type Family } from '../../src/net/addr.ts';
import { prefix } from '../../src/net/prefix.ts';
import type { Identity, StoreOptions, StoreReport } from '../../src/subnet/api.ts';
import { EtcdStore } from '../../src/subnet/store.ts';
import type {
  FamilyNetwork,
  Lease,
  LeaseRequest,
  LeaseSnapshot,
  LeaseState,
  NetworkConfig,
  NodeId,
} from '../../src/subnet/types.ts';
import { until } from './proc.ts';

export const hex = (bytes: number): string => randomBytes(bytes).toString('hex');

/** A checked network config from `10.5.0.0/16` and the like; all subnets but the first, as flannel's default. */
export function networkConfig(
  ...networks: readonly (readonly [network: string, subnetLen: number])[]
): NetworkConfig {
  const families = new Map<Family, FamilyNetwork>();
  for (const [text, subnetLen] of networks) {
    const network = prefix(text);
    const { family } = network.addr;
    const one = 1n << BigInt((family === 4 ? 32 : 128) - subnetLen);
    const end = network.addr.value + (1n << BigInt((family === 4 ? 32 : 128) - network.len));
    families.set(family, {
      network,
      subnetLen,
      min: { family, value: network.addr.value + one },
      max: { family, value: end - one },
    });
  }
  return { families, enableNFTables: false, backend: { type: 'vxlan', options: {} } };
}

export interface NodeOptions {
  readonly ip: string;
  readonly network?: NetworkConfig;
  readonly ttl?: number;
  readonly node?: NodeId;
  readonly previous?: readonly string[];
  readonly store?: Partial<StoreOptions>;
}

/** A node that holds a lease in this process, as a daemon would. */
export class StoreNode implements AsyncDisposable {
  readonly store: EtcdStore;
  readonly want: Latest<LeaseRequest>;
  readonly reports: StoreReport[] = [];
  readonly states: LeaseState[] = [];
  snapshot: LeaseSnapshot | undefined;
  node: NodeId;
  readonly instance = hex(8);
  readonly #stop = new AbortController();

  constructor(endpoints: string | readonly string[], options: NodeOptions) {
    this.node = options.node ?? (hex(16) as NodeId);
    this.store = new EtcdStore({
      endpoints: [endpoints].flat(),
      prefix: '/coreos.com/network',
      onReport: (r) => this.reports.push(r),
      ...options.store,
    });
    this.want = new Latest<LeaseRequest>({
      network: options.network ?? networkConfig(['10.5.0.0/16', 24]),
      attrs: vxlanAttrs(options.ip),
      previous: (options.previous ?? []).map(prefix),
      ttl: options.ttl ?? 86_400,
    });
    const identity: Identity = {
      node: this.node,
      instance: this.instance,
      renew: async () => {
        this.node = hex(16) as NodeId;
        return this.node;
      },
    };
    const { signal } = this.#stop;
    void this.#follow(this.store.hold(this.want, identity, signal), (s) => this.states.push(s));
    void this.#follow(this.store.watch(signal), (s) => {
      this.snapshot = s;
    });
  }

  async #follow<T>(values: AsyncIterable<T>, take: (value: T) => void): Promise<void> {
    for await (const value of values) take(value);
  }

  get state(): LeaseState | undefined {
    return this.states.at(-1);
  }

  get lease(): Lease {
    if (this.state?.state !== 'held') throw new Error(`not held: ${JSON.stringify(this.state, bigints)}`);
    return this.state.lease;
  }

  /** Change what is wanted. */
  update(change: Partial<LeaseRequest>): void {
    this.want.set({ ...this.want.value!, ...change });
  }

  /** Until it holds a lease (that passes `check`). */
  held(check: (lease: Lease) => boolean = () => true, timeout = 10_000): Promise<Lease> {
    return until(
      `a lease, state ${JSON.stringify(this.state, bigints)}, reports ${JSON.stringify(this.reports)}`,
      () => this.state?.state === 'held' && check(this.lease) && this.lease,
      timeout,
    );
  }

  /** Until such a report was made. */
  reported(event: StoreReport['event'], timeout = 10_000): Promise<StoreReport> {
    return until(`a report of ${event}`, () => this.reports.find((r) => r.event === event), timeout);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.store[Symbol.asyncDispose]();
  }
}

export const vxlanAttrs = (ip: string, mac = '0e:00:00:00:00:01'): LeaseRequest['attrs'] => ({
  endpoints: new Map([[addr(ip).family, addr(ip)]]),
  backend: 'vxlan',
  data: new Map([[4, { VNI: 1, VtepMAC: mac }]]),
});

const bigints = (_: string, v: unknown) => (typeof v === 'bigint' ? String(v) : v);
