import type { HostFacts } from '../backends/backend.ts';
import type { RunOptions } from '../config/run.ts';
import { Latest } from '../latest.ts';
import type { Prefix } from '../net/prefix.ts';
import type { Identity } from '../subnet/api.ts';
import type { Lease, LeaseRequest, LeaseState } from '../subnet/types.ts';
import type { NetworkInForce } from './networkSource.ts';
import { leaseRequest } from './overlay.ts';

export interface OwnLeaseParts {
  readonly identity: Identity;
  readonly options: Pick<RunOptions, 'leaseTtl'>;
  /** Subnets this node had before, best first. */
  readonly previous: readonly Prefix[];
  /** Called with each lease we come to hold, to be remembered across reboots. */
  readonly remember: (lease: Lease) => void;
}

/** The lease this node wants, and the one it has. */
export class OwnLease {
  readonly #parts: OwnLeaseParts;
  /** What the store is to get for us. */
  readonly want = new Latest<LeaseRequest>();
  #state: LeaseState | undefined;
  #held: Lease | undefined;

  constructor(parts: OwnLeaseParts) {
    this.#parts = parts;
  }

  get state(): LeaseState | undefined {
    return this.#state;
  }

  /** The lease last held: what the kernel is programmed for, also while it is lost or fenced. */
  get held(): Lease | undefined {
    return this.#held;
  }

  take(state: LeaseState): void {
    this.#state = state;
    if (state.state !== 'held') return;
    this.#held = state.lease;
    this.#parts.remember(state.lease);
  }

  /** Tell the store which lease we want. */
  ask(inForce: NetworkInForce, host: HostFacts): void {
    const { identity, options, previous } = this.#parts;
    const want = leaseRequest(inForce, host, identity, options, this.#held?.subnets ?? previous);
    if (!sameValue(want, this.want.value)) this.want.set(want);
  }
}

/** Do two lease requests ask for the same? Compared as text; they are small. */
function sameValue(a: LeaseRequest, b: LeaseRequest | undefined): boolean {
  const text = (value: unknown) =>
    JSON.stringify(value, (_, v: unknown) =>
      typeof v === 'bigint' ? `${v}n` : v instanceof Map ? [...v.entries()] : v,
    );
  return b !== undefined && text(a) === text(b);
}
