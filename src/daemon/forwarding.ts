import { type Forwarding, type HostFacts, NO_SLOTS, type SlotBook } from '../backends/backend.ts';
import { slotsOf } from '../backends/udp/table.ts';
import type { Forwarder } from '../forwarder/forwarder.ts';
import { Slices } from '../kernel/slices.ts';
import type { ObservedState } from '../kernel/state.ts';
import type { LeaseView } from '../subnet/types.ts';
import type { NetworkInForce } from './networkSource.ts';

/** Feeds the forwarder with what follows from the leases and from the kernel. */
export class ForwardingFeed {
  readonly #forwarder: Forwarder;
  readonly #state: Pick<ObservedState, 'link'>;
  readonly #threads: number;
  #slots: SlotBook = NO_SLOTS;
  /** Null: the backend needs no forwarder; undefined: nobody knows yet, and what goes on goes on. */
  #forwarding: Forwarding | null | undefined;

  constructor(forwarder: Forwarder, state: Pick<ObservedState, 'link'>, threads: number) {
    this.#forwarder = forwarder;
    this.#state = state;
    this.#threads = threads;
  }

  /** Another view. Resolves when all that follows from it is known. */
  async take({ backend, config }: NetworkInForce, view: LeaseView, host: HostFacts): Promise<void> {
    if (!backend.forwarding) {
      this.#forwarding = null;
      return;
    }
    // Peers keep their counters from the last daemon.
    if (this.#forwarding === undefined && this.#forwarder.table)
      this.#slots = slotsOf(this.#forwarder.table.peers);
    const making = backend.forwarding(config, view, host, this.#slots);
    const slices = new Slices();
    for (let step = making.next(); ; step = making.next()) {
      if (step.done) {
        this.#slots = step.value.slots;
        this.#forwarding = step.value.forwarding;
        return;
      }
      if (slices.isOver) await slices.next();
    }
  }

  /** After any look at the kernel: the device may have come, gone, or be another. */
  feed(): void {
    const wanted = this.#forwarding;
    if (wanted === undefined) return;
    if (wanted === null) {
      this.#forwarder.set(undefined);
      return;
    }
    const link = this.#state.link(wanted.device);
    this.#forwarder.set({
      ...wanted,
      ifindex: link?.tun?.suits ? link.ifindex : undefined,
      threads: this.#threads,
    });
  }

  /** What keeps it from forwarding; undefined: it need not, or nobody knows yet. */
  get problems(): readonly string[] | undefined {
    return this.#forwarding ? this.#forwarder.problems : undefined;
  }
}
