import type { HostFacts } from '../backends/backend.ts';
import type { NodeState } from '../cni/types.ts';
import type { RunOptions } from '../config/run.ts';
import { KEYS } from '../contract.ts';
import { ConfigError } from '../errors.ts';
import { isCompatible } from '../subnet/allocate.ts';
import type { SubnetStore } from '../subnet/api.ts';
import type { Lease, LeaseSnapshot, LeaseState, SubnetKey } from '../subnet/types.ts';
import { Convergence } from './convergence.ts';
import { NetworkClaim } from './exclusive.ts';
import { HostLook } from './hostLook.ts';
import type { HostWatch } from './hostWatch.ts';
import { type NetworkInForce, NetworkSource } from './networkSource.ts';
import { nodeState } from './nodeState.ts';
import type { Notifier } from './notify.ts';
import { checkHost } from './overlay.ts';
import { OwnLease, type OwnLeaseParts } from './ownLease.ts';
import { type Facts, Programming, type ProgrammingParts } from './programming.ts';
import { Publisher } from './publisher.ts';
import { problems, type Situation, waitingFor } from './readiness.ts';
import { ServedLeases } from './servedLeases.ts';
import type { SubnetFile } from './subnetFile.ts';

/** Milliseconds before what failed is tried again. */
const RETRY = 1_000;

/** What a daemon is made of; opened and closed by its composition root (run.ts). */
export interface Parts extends ProgrammingParts, OwnLeaseParts {
  readonly options: RunOptions;
  readonly notifier: Notifier;
  readonly store: SubnetStore;
  readonly hostWatch: HostWatch;
  readonly subnetFile: SubnetFile;
  /** Things with the daemon's life that are found only while it runs are put here. */
  readonly stack: AsyncDisposableStack;
}

/**
 * The daemon: inputs (network config, own lease, everybody's leases, the kernel's facts) change at any time; each change
 * makes one convergence, which carries out what follows from all of them.
 */
export class Daemon {
  readonly #parts: Parts;
  readonly #network: NetworkSource;
  readonly #lease: OwnLease;
  readonly #convergence: Convergence;

  #kernelSeen = false;
  readonly #host: HostLook;
  readonly #publisher: Publisher;
  readonly #leases = new ServedLeases(() => this.kick());
  readonly #programming: Programming;
  readonly #claim: NetworkClaim;
  #retry: NodeJS.Timeout | undefined;
  readonly #converged = new Set<() => void>();

  constructor(parts: Parts, fatal: (cause: unknown) => void) {
    this.#parts = parts;
    const { prefix } = parts.options.etcd;
    this.#claim = new NetworkClaim(prefix, parts.stack);
    this.#lease = new OwnLease(parts);
    this.#host = new HostLook(parts);
    this.#publisher = new Publisher(parts);
    this.#programming = new Programming(parts);
    this.#network = new NetworkSource({
      key: `${prefix}/${KEYS.config}`,
      keeps: (next) => this.#lease.held === undefined || isCompatible(this.#lease.held.subnets, next),
      against: (next) => (this.#host.facts ? checkHost(next, this.#host.facts) : []),
      ignored: (keys) => parts.log.warn({ keys }, 'keys in the network config mean nothing to this version'),
    });
    this.#convergence = new Convergence(
      () => this.#converge(),
      (cause) => {
        if (cause instanceof ConfigError) return fatal(cause);
        const retry =
          typeof cause === 'object' && cause !== null && 'retry' in cause ? cause.retry : undefined;
        if (retry !== 'backoff' && retry !== 'resync') return fatal(cause);
        if (parts.news.changed('converge', String(cause)))
          parts.log.error({ err: cause }, 'cannot converge; will try again');
        this.#later();
      },
    );
  }

  /** Something changed: look at everything again, soon. */
  kick(): void {
    this.#convergence.kick();
  }

  /** Look again in a while: nobody notifies us when what failed would work. */
  #later(): void {
    this.#retry ??= setTimeout(() => {
      this.#retry = undefined;
      this.kick();
    }, RETRY).unref();
  }

  /** Feed the inputs until `signal` aborts. Resolves when the last convergence has ended. */
  async run(signal: AbortSignal): Promise<void> {
    const { store, observer, identity, log } = this.#parts;
    const unlisten = observer.onChange(() => {
      this.#kernelSeen = true;
      this.kick();
    });
    const follow = async <T>(values: AsyncIterable<T>, take: (value: T) => void): Promise<void> => {
      for await (const value of values) {
        take(value);
        this.kick();
      }
    };
    await observer.start();
    await Promise.all([
      follow(store.network(signal), (text) => this.#network.take(text)),
      follow(store.status.follow(signal), () => {}),
      follow(store.watch(signal), (snapshot) => {
        if (!this.#leases.snapshot) {
          log.info({ revision: String(snapshot.revision), leases: snapshot.leases.size }, 'leases seen');
        }
        const leases = this.#leases.take(snapshot);
        if (leases > 0)
          log.warn(
            { leases },
            'leases that etcd has forgotten are served until their nodes write them again',
          );
      }),
      follow(store.hold(this.#lease.want, identity, signal), (state) => this.#lease.take(state)),
    ]);
    unlisten();
    await this.#convergence.stop();
  }

  async #converge(): Promise<void> {
    const inForce = this.#network.inForce;
    if (inForce && this.#kernelSeen) {
      await this.#claim.hold(inForce.network.backend.type);
      if (await this.#host.look(inForce, !this.ready)) {
        this.#network.reconsider();
        if (this.#network.inForce !== inForce) this.kick();
      }
      const host = this.#host.facts;
      if (host) {
        if (this.#host.isUsable) this.#lease.ask(inForce, host);
        const [held, served] = [this.#lease.held, this.#leases.served];
        if (held && served) await this.#programming.carryOut({ network: inForce, held, served, host });
      }
    }
    await this.#publish();
  }

  /** subnet.env, readiness and what the service manager is told. */
  async #publish(): Promise<void> {
    const outcome = {
      network: this.#network.inForce,
      held: this.#lease.held,
      host: this.#host.facts,
      isSettled: this.#settled && this.#parts.firewall.status().inSync,
      problem: this.#network.problem,
      peers: this.peers,
    };
    if (!(await this.#publisher.publish(outcome, () => waitingFor(this.situation())))) this.#later();
    for (const listener of this.#converged) listener();
  }

  /** The whole first view, or a newer one, is in the kernel. */
  get #applied(): boolean {
    return this.#parts.reconciler.status().applied !== undefined;
  }

  /** The newest view is in the kernel. */
  get #settled(): boolean {
    const { applied, desired } = this.#parts.reconciler.status();
    return applied !== undefined && applied === desired;
  }

  get ready(): boolean {
    return this.#publisher.ready;
  }

  get snapshot(): LeaseSnapshot | undefined {
    return this.#leases.snapshot;
  }

  get held(): Lease | undefined {
    return this.#lease.held;
  }

  get leaseState(): LeaseState | undefined {
    return this.#lease.state;
  }

  get network(): NetworkInForce | undefined {
    return this.#network.inForce;
  }

  get host(): HostFacts | undefined {
    return this.#host.facts;
  }

  get peers(): number {
    return this.#programming.peers;
  }

  /** What the kernel was last programmed for: everybody's leases as they are served, and what they were judged by. */
  get asked(): Facts | undefined {
    return this.#programming.asked;
  }

  /** Of the newest view, and of what the kernel holds; null: none yet. */
  get revisions(): { readonly store: string | null; readonly applied: string | null } {
    const { applied } = this.#parts.reconciler.status();
    const { revision } = this.#leases.snapshot ?? {};
    return { store: revision?.toString() ?? null, applied: applied?.toString() ?? null };
  }

  /** Why peers are not served, by lease. */
  get refusedPeers(): ReadonlyMap<SubnetKey, string> {
    return this.#programming.refused;
  }

  /** The network config as it stands in etcd, and why it is not in force. */
  get networkText(): { readonly text: string | undefined; readonly problem: string | undefined } {
    return { text: this.#network.text, problem: this.#network.problem };
  }

  /** Called when everything has been looked at after a change. */
  onConverged(listener: () => void): void {
    this.#converged.add(listener);
  }

  /** Can pods have addresses? */
  nodeState(): NodeState {
    return nodeState({
      network: this.#network.inForce,
      host: this.#host.facts,
      lease: this.#lease.state,
      held: this.#lease.held,
      ipMasq: this.#parts.options.ipMasq,
      waitingFor: () => waitingFor(this.situation()),
    });
  }

  situation(): Situation {
    const { store, reconciler, firewall, subnetFile } = this.#parts;
    return {
      kernelSeen: this.#kernelSeen,
      store: store.status.value,
      network: { inForce: this.#network.inForce !== undefined, problem: this.#network.problem },
      host: this.#host.waiting,
      lease: this.#lease.state,
      applied: this.#applied,
      failing: reconciler
        .status()
        .failing.slice(0, 5)
        .map((f) => `${f.object}: ${f.error}`),
      forwarder: this.#programming.forwarderProblems,
      firewall: this.#programming.asked ? firewall.status() : undefined,
      subnetFile: { written: subnetFile.written, error: subnetFile.error },
    };
  }

  /** Everything an operator should look at. */
  problems(): string[] {
    const conflicts = this.#parts.reconciler
      .status()
      .conflicts.map((c) => `${c.object}: in conflict with ${c.with}`);
    const { warnings } = this.#parts.forwarder;
    return problems(this.situation(), this.#programming.peerProblems.slice(0, 100), [
      ...conflicts,
      ...warnings,
    ]);
  }
}
