import type { Lease, LeaseSnapshot, NodeId, SubnetKey } from '../subnet/types.ts';

type Leases = ReadonlyMap<SubnetKey, Lease>;

/** Milliseconds that nodes have to write their leases again after etcd has gone back in time. */
const GRACE = 60_000;
/** Behind all others: where the two do not go together, what etcd knows comes first. */
const LAST = 2n ** 63n - 1n;

/** What was known before etcd was restored from a backup and not after, and what etcd knew then. */
interface Forgotten {
  readonly leases: Leases;
  readonly restored: Leases;
}

/**
 * The leases that the kernel is programmed for: those that etcd has, and, for a while after it was restored from a
 * backup, those that it has forgotten or of which it knows an older value. Their nodes live all the same and write them
 * again as soon as they notice; nothing that reaches them until then is lost.
 */
export class ServedLeases {
  readonly #onChange: () => void;
  #snapshot: LeaseSnapshot | undefined;
  #forgotten: Forgotten | undefined;
  #timer: NodeJS.Timeout | undefined;
  #served: Pick<LeaseSnapshot, 'revision' | 'leases'> | undefined;

  /** `onChange` is called when the time of forgotten leases is over. */
  constructor(onChange: () => void) {
    this.#onChange = onChange;
  }

  /** As etcd has it; undefined before the first. */
  get snapshot(): LeaseSnapshot | undefined {
    return this.#snapshot;
  }

  /** What is served; the same object until something changes. */
  get served(): Pick<LeaseSnapshot, 'revision' | 'leases'> | undefined {
    return this.#served;
  }

  /** Take what etcd has now. Returns how many leases it turns out to have forgotten. */
  take(next: LeaseSnapshot): number {
    const isRestored = this.#snapshot !== undefined && this.#snapshot.epoch !== next.epoch;
    if (isRestored) {
      this.#forgotten = forget(this.#served!.leases, next.leases);
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => {
        this.#forgotten = undefined;
        this.#served = this.#snapshot;
        this.#onChange();
      }, GRACE).unref();
    }
    this.#snapshot = next;
    const { revision, leases } = next;
    this.#served = this.#forgotten ? { revision, leases: withForgotten(leases, this.#forgotten) } : next;
    return isRestored ? this.#forgotten!.leases.size : 0;
  }
}

function forget(before: Leases, restored: Leases): Forgotten {
  const lost = [...before].filter(([key, lease]) => restored.get(key) !== lease);
  return { restored, leases: new Map(lost.map(([key, lease]) => [key, { ...lease, createRevision: LAST }])) };
}

/** The leases of now, with those forgotten that nobody, and whose node, has written nothing since. */
function withForgotten(now: Leases, { leases, restored }: Forgotten): Leases {
  const back = new Set<NodeId>();
  for (const [key, lease] of now) {
    if (lease.node !== undefined && restored.get(key) !== lease) back.add(lease.node);
  }
  const all = new Map(now);
  for (const [key, lease] of leases) {
    const isWritten = now.get(key) !== restored.get(key);
    if (!isWritten && !(lease.node !== undefined && back.has(lease.node))) all.set(key, lease);
  }
  return all;
}
