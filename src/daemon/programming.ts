import type { HostFacts, PeerProblem } from '../backends/backend.ts';
import type { RunOptions } from '../config/run.ts';
import type { Forwarder } from '../forwarder/forwarder.ts';
import { chooseThreads } from '../forwarder/threads.ts';
import type { Firewall } from '../kernel/firewall.ts';
import type { Observer } from '../kernel/observer.ts';
import type { Reconciler } from '../kernel/reconciler.ts';
import type { Lease, SubnetKey } from '../subnet/types.ts';
import { ForwardingFeed } from './forwarding.ts';
import type { ChangeLog, Logger } from './log.ts';
import type { NetworkInForce } from './networkSource.ts';
import { firewallRules, kernelObjects, leaseView } from './overlay.ts';
import type { PathWatch } from './pathWatch.ts';
import { type Adjustments, NO_ADJUSTMENTS } from './reactions/adjust.ts';
import type { ServedLeases } from './servedLeases.ts';

/** Log lines about peers at once. */
const MOST_LINES = 50;

export interface ProgrammingParts {
  readonly options: RunOptions;
  readonly log: Logger;
  readonly news: ChangeLog;
  readonly observer: Observer;
  readonly reconciler: Reconciler;
  readonly firewall: Firewall;
  readonly forwarder: Forwarder;
  readonly paths: Pick<PathWatch, 'take' | 'adjustments' | 'looked'>;
}

/** All that a view of the leases follows from. */
export interface Facts {
  readonly network: NetworkInForce;
  /** Our own lease. */
  readonly held: Lease;
  readonly served: NonNullable<ServedLeases['served']>;
  readonly host: HostFacts;
}

const isSame = (a: Facts, b: Facts | undefined): boolean =>
  b !== undefined &&
  a.network === b.network &&
  a.held === b.held &&
  a.served === b.served &&
  a.host === b.host;

/** Carries a view out: in the kernel, in the forwarder and in the firewall. Each fact that changes makes another one. */
export class Programming {
  readonly #parts: ProgrammingParts;
  readonly #forwarding: ForwardingFeed;
  /** What the reconciler was last asked for. */
  #asked: Facts | undefined;
  #adjustments: Adjustments = NO_ADJUSTMENTS;
  #peers = 0;
  #peerProblems: readonly string[] = [];
  #refused: ReadonlyMap<SubnetKey, string> = new Map();

  constructor(parts: ProgrammingParts) {
    this.#parts = parts;
    const { forwarder, observer, options } = parts;
    this.#forwarding = new ForwardingFeed(forwarder, observer.state, chooseThreads(options.udpThreads));
  }

  /** Resolves when reconciler and forwarder know what to do; to be called again after any change of anything. */
  async carryOut(facts: Facts): Promise<void> {
    const { reconciler, firewall, options, paths } = this.#parts;
    const { network, held, served, host } = facts;
    const isNew = !isSame(facts, this.#asked);
    if (isNew || this.#adjustments !== paths.adjustments) {
      const view = leaseView(network, held, served);
      const found: PeerProblem[] = [];
      if (isNew) await paths.take(network, view, host);
      const { adjustments } = paths;
      await reconciler.setDesired(
        view.revision,
        kernelObjects(network, view, host, options, adjustments, found),
        { prune: true },
      );
      this.#adjustments = adjustments;
      if (isNew) {
        this.#asked = facts;
        await this.#forwarding.take(network, view, host);
      }
      this.#peers = view.peers.size;
      this.#takePeerProblems(found);
    }
    this.#forwarding.feed();
    paths.looked();
    // Not awaited: a slow iptables lock must not keep peers waiting; onChange tells when it is done.
    void firewall.set(firewallRules(network, held, options));
  }

  /** What the reconciler was last asked for; undefined: there has been no view yet. Another object when anything has changed. */
  get asked(): Facts | undefined {
    return this.#asked;
  }

  /** How many peers the kernel is programmed for. */
  get peers(): number {
    return this.#peers;
  }

  /** Why peers are not served. */
  get peerProblems(): readonly string[] {
    return this.#peerProblems;
  }

  /** The same by lease. */
  get refused(): ReadonlyMap<SubnetKey, string> {
    return this.#refused;
  }

  /** What keeps the forwarder from its work; undefined when there is none, or nobody knows yet. */
  get forwarderProblems(): readonly string[] | undefined {
    return this.#forwarding.problems;
  }

  #takePeerProblems(found: readonly PeerProblem[]): void {
    const { news, log } = this.#parts;
    const before = this.#peerProblems;
    const refused = new Map<SubnetKey, string>();
    for (const { lease, reason } of found) {
      const other = refused.get(lease.key);
      refused.set(lease.key, other === undefined ? reason : `${other}; ${reason}`);
    }
    this.#refused = refused;
    this.#peerProblems = found.map(({ lease, reason }) => `peer ${lease.key}: ${reason}`);
    if (!news.changed('peers', this.#peerProblems.join('\n'))) return;
    const known = new Set(before);
    const fresh = this.#peerProblems.filter((problem) => !known.has(problem));
    for (const problem of fresh.slice(0, MOST_LINES)) log.warn({ problem }, 'a peer is not served');
    const more = fresh.length - MOST_LINES;
    if (more > 0) log.warn({ more }, 'and more peers are not served; `loden peers` names them');
  }
}
