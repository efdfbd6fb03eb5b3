import type { ProbesJson } from '../api/shapes.ts';
import type { HostFacts } from '../backends/backend.ts';
import { ROUTE_PROTOCOL } from '../contract.ts';
import { Slices } from '../kernel/slices.ts';
import type { ObservedState } from '../kernel/state.ts';
import { formatAddr } from '../net/addr.ts';
import { formatPrefix, network } from '../net/prefix.ts';
import type { PathReport, Probing, Target } from '../probe/types.ts';
import { type LeaseView, subnetOf } from '../subnet/types.ts';
import type { Note } from './events/log.ts';
import type { Logger } from './log.ts';
import type { NetworkInForce } from './networkSource.ts';
import { type Adjustments, NO_ADJUSTMENTS } from './reactions/adjust.ts';
import { MtuReactions } from './reactions/mtus.ts';
import { OffloadReactions } from './reactions/offloads.ts';

export interface PathWatchParts {
  readonly log: Logger;
  readonly note: Note;
  readonly state: Pick<ObservedState, 'link' | 'routes'>;
  readonly runDir: string;
  /** Milliseconds between rounds of probes; 0: nothing is probed, and nothing is done. */
  readonly interval: number;
  /** {@link PathWatch.adjustments} have changed. */
  readonly onChange: () => void;
}

const BLIND =
  'paths to peers cannot be probed (the log says why): large packets and checksums that get lost are not noticed, and what was done about them stays';

/** How long things last, in rounds of probes: with ten seconds, five seconds, a minute, an hour, ten minutes, six hours. */
const ROUNDS = { confirm: 0.5, hold: 6, longestHold: 360, offload: 60, longestOffload: 2160 } as const;

/**
 * Between the daemon and the prober: what is probed follows from the view, and what is found out is done something about, as a
 * change of the desired objects.
 */
export class PathWatch {
  readonly #state: PathWatchParts['state'];
  readonly #interval: number;
  readonly #mtus: MtuReactions;
  readonly #offloads: OffloadReactions;
  #probing: Probing | undefined;
  #adjustments: Adjustments = NO_ADJUSTMENTS;
  #targets: readonly Target[] = [];
  #devices: readonly string[] = [];
  #uplink: string | undefined;
  #isAdopted = false;

  constructor(parts: PathWatchParts) {
    const { interval, log, note, runDir, state, onChange } = parts;
    this.#state = state;
    this.#interval = interval;
    const changed = (): void => {
      const { routeMtus } = this.#mtus;
      const txChecksums = this.#offloads.wanted;
      this.#adjustments = { routeMtus, txChecksums };
      onChange();
    };
    const times = (rounds: number): number => rounds * interval;
    this.#mtus = new MtuReactions({
      log,
      note,
      onChange: changed,
      options: {
        hold: times(ROUNDS.hold),
        longestHold: times(ROUNDS.longestHold),
        confirm: times(ROUNDS.confirm),
      },
    });
    this.#offloads = new OffloadReactions({
      log,
      note,
      runDir,
      isOn: (device) => state.link(device)?.vxlan?.txChecksum,
      onChange: changed,
      options: { first: times(ROUNDS.offload), last: times(ROUNDS.longestOffload), again: interval },
    });
  }

  /** Before anything else: what an earlier daemon has done. */
  async restore(): Promise<void> {
    await this.#offloads.restore(this.#interval > 0);
    this.#adjustments = { ...this.#adjustments, txChecksums: this.#offloads.wanted };
  }

  /** Who probes; to be called once, before or after the first view. */
  attach(probing: Probing): void {
    this.#probing = probing;
    this.#mtus.attach(probing);
    this.#offloads.attach(probing);
    void probing.setTargets(this.#targets);
  }

  /** To be called with each report of the prober's. */
  heard(report: PathReport): void {
    this.#mtus.heard(report);
    this.#offloads.heard(report);
  }

  /** How desired objects are to be changed; the same object until that is another way. */
  get adjustments(): Adjustments {
    return this.#adjustments;
  }

  /** Another view, before the kernel is programmed for it. Resolves when all that follows is known. */
  async take({ backend, config, network }: NetworkInForce, view: LeaseView, host: HostFacts): Promise<void> {
    this.#devices = backend.devices(config, [...network.families.keys()]);
    this.#offloads.devicesAre(this.#devices);
    if (this.#interval === 0) return;
    const targets: Target[] = [];
    const slices = new Slices();
    for (const path of backend.paths?.(config, view, host) ?? []) {
      if (path) targets.push(path);
      if (slices.isOver) await slices.next();
    }
    this.#targets = targets;
    // What comes before and after has slices of its own.
    await slices.next();
    await this.#probing?.setTargets(targets);
    await slices.next();
    if (!this.#isAdopted) {
      this.#isAdopted = true;
      this.#adopt(targets, view);
    }
    this.#mtus.pathsChanged();
    const { name, mtu } = host.uplink;
    const uplink = [name, mtu, ...Array.from(host.localAddrs.values(), formatAddr)].join(' ');
    if (this.#uplink !== undefined && this.#uplink !== uplink) this.#offloads.uplinkChanged();
    this.#uplink = uplink;
  }

  /** After any look at the kernel. */
  looked(): void {
    this.#offloads.looked();
  }

  /** Bytes that the route of a path (by `pathKey`) was lowered to; undefined: it was not. */
  routeMtu(path: string): number | undefined {
    return this.#mtus.routeMtu(path);
  }

  /** Of the overlay's device; null: there is none that has it. */
  checksumOffload(): ProbesJson['checksumOffload'] {
    return this.#offloads.json(this.#devices);
  }

  /** Routes that are lowered now, and how often any was lowered and raised. */
  get counts(): { readonly low: number; readonly lowered: number; readonly raised: number } {
    return { low: this.#mtus.routeMtus.length, ...this.#mtus.counts };
  }

  /** What an operator should look at. */
  problems(): string[] {
    const blind = this.#interval > 0 && this.#probing?.interval === 0;
    return [...(blind ? [BLIND] : []), ...this.#offloads.problems(), ...this.#mtus.problems()];
  }

  async end(): Promise<void> {
    this.#mtus.end();
    await this.#offloads.end();
  }

  /** Routes to peers that are lowered in the kernel: by an earlier daemon, which had a reason. */
  #adopt(targets: readonly Target[], view: LeaseView): void {
    const found = new Map<string, number>();
    for (const { protocol, type, dst, mtu } of this.#state.routes()) {
      if (protocol === ROUTE_PROTOCOL && type === 'unicast' && mtu !== undefined)
        found.set(formatPrefix(dst), mtu);
    }
    if (found.size === 0) return;
    const low = targets.flatMap(({ key, family, mtu: whole }) => {
      const lease = view.peers.get(key);
      const subnet = lease && subnetOf(lease, family);
      const mtu = subnet && found.get(formatPrefix(network(subnet)));
      return mtu === undefined || mtu >= whole ? [] : [{ key, family, mtu }];
    });
    this.#mtus.adopt(low);
  }
}
