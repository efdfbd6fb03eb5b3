import type { ITxnRequest } from 'etcd3/lib/rpc.js';
import { StoreError } from '../../src/errors.ts';
import { type Addr, addr, type Family } from '../../src/net/addr.ts';
import type { Prefix } from '../../src/net/prefix.ts';
import { sameHost } from '../../src/subnet/allocate.ts';
import type { StoreReport } from '../../src/subnet/api.ts';
import { LeaseOps } from '../../src/subnet/etcd/leaseOps.ts';
import { Mirror } from '../../src/subnet/etcd/mirror.ts';
import { formatKey } from '../../src/subnet/key.ts';
import { leaseState, newLife, step } from '../../src/subnet/life.ts';
import type { Life, LifeEvent, Op, Result } from '../../src/subnet/lifeTypes.ts';
import type { LeaseRequest, LeaseState, NetworkConfig, NodeId } from '../../src/subnet/types.ts';
import { decodeValue, encodeValue } from '../../src/subnet/value.ts';
import type { FakeEtcd, Fault } from './etcd.ts';

export const PREFIX = '/coreos.com/network';
const SUBNETS = `${PREFIX}/subnets/`;

/** A daemon's lease life on a fake etcd, stepped by hand: every delay and failure is the caller's choice. */
export class FakeNode {
  readonly etcd: FakeEtcd;
  readonly name: string;
  readonly reports: StoreReport[] = [];
  readonly random: () => number;
  /** Every node id it ever had: its own leases may carry any of them. */
  readonly ids = new Set<string>();
  /** And every address. */
  readonly addresses: ReadonlyMap<Family, Addr>[] = [];
  node: NodeId;
  want: LeaseRequest;
  life!: Life;
  /** What the store does next, if asked to. */
  pending: Op | undefined;
  /** The outcome of the next requests. */
  faults: Fault[] = [];
  cutOff = false;
  #mirror!: Mirror;
  #ops!: LeaseOps;
  #known = 0n;
  #cursor = 0;
  #history = -1;
  #needsList = true;
  #instances = 0;
  #fencedAtList = -1;

  constructor(etcd: FakeEtcd, name: string, node: NodeId, want: LeaseRequest, random: () => number) {
    this.etcd = etcd;
    this.name = name;
    this.node = node;
    this.want = want;
    this.random = random;
    this.restart();
  }

  get endpoints(): ReadonlyMap<Family, Addr> {
    return this.want.attrs.endpoints;
  }

  get state(): LeaseState {
    return leaseState(this.life, this.etcd.now);
  }

  /** The daemon ends, whatever it is at, and starts anew with what its state directory has. */
  restart(): void {
    const last = this.life?.last?.subnets;
    if (last) this.want = { ...this.want, previous: last };
    this.ids.add(this.node);
    const instance = `${this.name}${String(this.#instances++)}`.padEnd(16, '0');
    this.life = newLife(this.node, instance);
    this.pending = undefined;
    this.#mirror = new Mirror(PREFIX, () => {});
    this.#known = 0n;
    this.#needsList = true;
    this.#fencedAtList = -1;
    this.addresses.push(this.endpoints);
    const connection = this.etcd.connect({
      fault: () => (this.cutOff ? 'before' : (this.faults.shift() ?? 'none')),
      seen: (revision) => {
        if (revision > this.#known) this.#known = revision;
      },
      allow: (request) => this.#judge(request),
    });
    this.#ops = new LeaseOps(connection, PREFIX, () => this.etcd.now, instance);
    this.tell({ type: 'want', want: this.want });
  }

  update(change: Partial<LeaseRequest>): void {
    this.want = { ...this.want, ...change };
    this.addresses.push(this.endpoints);
    this.tell({ type: 'want', want: this.want });
  }

  tell(event: LifeEvent): void {
    const { life, actions } = step(this.life, event, this.etcd.now, this.random);
    this.life = life;
    for (const action of actions) {
      if (action.do === 'relist') this.#needsList = true;
      else if (action.do === 'report') this.reports.push(action.report);
      else {
        if (this.pending) throw new Error(`${this.name}: two operations at once`);
        this.pending = action.op;
      }
    }
    this.#checkFence(actions.some((a) => a.do === 'run') ? this.pending : undefined);
  }

  /** Past its expiry by the clock nothing is written, and nothing renewed, before the prefix was listed again. */
  #checkFence(begun: Op | undefined): void {
    const { own, view } = this.life;
    if (own?.expiresAt === undefined || this.etcd.now < own.expiresAt) {
      this.#fencedAtList = -1;
      return;
    }
    if (this.#fencedAtList < 0) this.#fencedAtList = view!.list;
    if (begun && begun.op !== 'keepAlive') throw new Error(`${this.name}: ${begun.op} with an expired lease`);
    if (begun && view!.list <= this.#fencedAtList)
      throw new Error(`${this.name}: acts on a view from before its fence`);
  }

  /** The watch tells of up to `count` events, or a list is made when one is due. */
  async look(count: number): Promise<void> {
    if (this.cutOff) return;
    if (this.#history !== this.etcd.history) this.#needsList = true;
    if (this.#needsList) return this.#list();
    const events = this.etcd.log.slice(this.#cursor, this.#cursor + count);
    if (events.length === 0) return;
    this.#cursor += events.length;
    for (const { type, kv } of events) {
      this.#mirror.apply(type, kv);
      if (kv.modRevision > this.#known) this.#known = kv.modRevision;
    }
    this.tell({ type: 'view', view: this.#mirror.view()! });
  }

  #list(): void {
    const { etcd } = this;
    const filling = this.#mirror.fill();
    for (const kv of etcd.keys.values()) filling.add(kv);
    filling.finish(etcd.revision, etcd.revision < this.#known);
    this.#known = etcd.revision;
    this.#cursor = etcd.log.length;
    this.#history = etcd.history;
    this.#needsList = false;
    this.tell({ type: 'view', view: this.#mirror.view()! });
  }

  /** Do what the life asked for. */
  async perform(): Promise<void> {
    const { pending } = this;
    if (!pending) return;
    this.pending = undefined;
    let result: Result;
    try {
      if (pending.op === 'renewIdentity') {
        this.node = randomId(this.random);
        this.ids.add(this.node);
        result = { end: 'identity', node: this.node };
      } else result = await this.#ops.run(pending);
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      result = { end: 'failed', reason: error.message };
    }
    this.tell({ type: 'done', op: pending, result });
  }

  /** Every write of a lease key is guarded, and only over what is this node's own; a reservation stays one. */
  #judge(request: ITxnRequest): void {
    const guarded = new Set((request.compare ?? []).map((c) => String(c.key)));
    for (const op of request.success ?? []) {
      const target = op.request_put ?? op.request_delete_range;
      if (!target) continue;
      const key = String(target.key);
      if (!guarded.has(key)) throw new Error(`${this.name}: an unguarded write of ${key}`);
      if (!key.startsWith(SUBNETS)) continue;
      const before = this.etcd.keys.get(key);
      if (!before) continue;
      this.#judgeOwner(key, before.value);
      if (before.lease !== 0n) continue;
      if (op.request_delete_range) throw new Error(`${this.name}: deletes the reservation ${key}`);
      if (!op.request_put?.ignore_lease)
        throw new Error(`${this.name}: turns the reservation ${key} into a lease`);
    }
  }

  #judgeOwner(key: string, value: string): void {
    const parsed = decodeValue(value);
    if ('reason' in parsed) {
      if (this.life.own?.lease.key === key.slice(SUBNETS.length)) return;
      throw new Error(`${this.name}: writes over ${key}, which is unreadable and was not its own`);
    }
    const { node, endpoints } = parsed.attrs;
    if (node === undefined ? this.addresses.some((a) => sameHost(endpoints, a)) : this.ids.has(node)) return;
    throw new Error(`${this.name}: writes over ${key} of ${node ?? 'a flannel node'}: ${value}`);
  }
}

export function randomId(random: () => number): NodeId {
  return Array.from({ length: 32 }, () => Math.floor(random() * 16).toString(16)).join('') as NodeId;
}

export const request = (ip: string, network: NetworkConfig, ttl = 60): LeaseRequest => ({
  network,
  attrs: {
    endpoints: new Map([[addr(ip).family, addr(ip)]]),
    backend: 'vxlan',
    data: new Map([[4, { VNI: 1 }]]),
  },
  previous: [],
  ttl,
});

/** flanneld on a host: the first lease with its PublicIP is rewritten under a new etcd lease, else one is made. */
export function flannelStarts(
  etcd: FakeEtcd,
  endpoints: ReadonlyMap<Family, Addr>,
  free: readonly Prefix[],
): void {
  const value = encodeValue({ endpoints, backend: 'vxlan', data: new Map([[4, { VNI: 1, VtepMAC: 'x' }]]) });
  for (const [key, kv] of etcd.keys) {
    const parsed = decodeValue(kv.value);
    if (!key.startsWith(SUBNETS) || 'reason' in parsed || !sameHost(parsed.attrs.endpoints, endpoints))
      continue;
    etcd.put(key, value, kv.lease === 0n ? 0n : etcd.grant(86_400));
    return;
  }
  const key = SUBNETS + formatKey(free);
  if (!etcd.keys.has(key)) etcd.put(key, value, etcd.grant(86_400));
}
