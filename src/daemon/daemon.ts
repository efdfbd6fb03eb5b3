import type { HostFacts } from '../backends/backend.ts';
import type { NodeState } from '../cni/types.ts';
import { KEYS } from '../contract.ts';
import { ConfigError } from '../errors.ts';
import { Latest } from '../latest.ts';
import type { Prefix } from '../net/prefix.ts';
import { isCompatible } from '../subnet/allocate.ts';
import type { Identity, SubnetStore } from '../subnet/api.ts';
import type { Lease, LeaseRequest, LeaseSnapshot, LeaseState } from '../subnet/types.ts';
import { Convergence } from './convergence.ts';
import { claimNetwork } from './exclusive.ts';
import type { HostView, HostWatch } from './hostWatch.ts';
import { type NetworkInForce, NetworkSource } from './networkSource.ts';
import { nodeState } from './nodeState.ts';
import type { Notifier } from './notify.ts';
import { checkHost, leaseRequest, refuseIfHopeless } from './overlay.ts';
import { Programming, type ProgrammingParts } from './programming.ts';
import { problems, type Situation, waitingFor } from './readiness.ts';
import { ServedLeases } from './servedLeases.ts';
import type { SubnetFile } from './subnetFile.ts';

/** Milliseconds before what failed is tried again. */
const RETRY = 1_000;

/** What a daemon is made of; opened and closed by its composition root (run.ts). */
export interface Parts extends ProgrammingParts {
  readonly notifier: Notifier;
  readonly store: SubnetStore;
  readonly identity: Identity;
  /** Subnets this node had before, best first. */
  readonly previous: readonly Prefix[];
  readonly hostWatch: HostWatch;
  readonly subnetFile: SubnetFile;
  /** Called with each lease we come to hold, to be remembered across reboots. */
  readonly remember: (lease: Lease) => void;
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
  readonly #want = new Latest<LeaseRequest>();
  readonly #convergence: Convergence;

  #kernelSeen = false;
  #host: HostView = { waiting: 'looking for the uplink' };
  #hostFacts: HostFacts | undefined;
  #leaseState: LeaseState | undefined;
  /** The lease last held: what the kernel is programmed for, also while it is lost or fenced. */
  #held: Lease | undefined;
  readonly #leases = new ServedLeases(() => this.kick());
  readonly #programming: Programming;
  #claimed = false;
  #retry: NodeJS.Timeout | undefined;
  #ready = false;
  #converged: (() => void) | undefined;

  constructor(parts: Parts, fatal: (cause: unknown) => void) {
    this.#parts = parts;
    const { prefix } = parts.options.etcd;
    this.#programming = new Programming(parts);
    this.#network = new NetworkSource({
      key: `${prefix}/${KEYS.config}`,
      keeps: (next) => this.#held === undefined || isCompatible(this.#held.subnets, next),
      against: (next) => (this.#hostFacts ? checkHost(next, this.#hostFacts) : []),
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
      follow(store.hold(this.#want, identity, signal), (state) => this.#takeLease(state)),
    ]);
    unlisten();
    await this.#convergence.stop();
  }

  #takeLease(state: LeaseState): void {
    this.#leaseState = state;
    if (state.state !== 'held') return;
    this.#held = state.lease;
    this.#parts.remember(state.lease);
  }

  async #converge(): Promise<void> {
    const inForce = this.#network.inForce;
    if (inForce && this.#kernelSeen) {
      await this.#claim(inForce);
      await this.#lookAtHost(inForce);
      const host = this.#hostFacts;
      if (host) {
        if ('host' in this.#host) this.#ask(inForce, host);
        const [held, served] = [this.#held, this.#leases.served];
        if (held && served) await this.#programming.carryOut({ network: inForce, held, served, host });
      }
    }
    await this.#publish();
  }

  /** One daemon for a network on a host. */
  async #claim({ network }: NetworkInForce): Promise<void> {
    if (this.#claimed) return;
    this.#parts.stack.use(await claimNetwork(this.#parts.options.etcd.prefix, network.backend.type));
    this.#claimed = true;
  }

  async #lookAtHost(inForce: NetworkInForce): Promise<void> {
    const { hostWatch, observer } = this.#parts;
    const families = [...inForce.network.families.keys()];
    const devices = inForce.backend.devices(inForce.config, families);
    if (
      devices.some((d) => !observer.owner.devices.has(d)) ||
      observer.owner.devices.size !== devices.length
    ) {
      observer.own({ devices: new Set(devices) });
    }
    this.#host = await hostWatch.look(families);
    if (!('host' in this.#host)) return;
    const { host } = this.#host;
    if (host !== this.#hostFacts && !this.#ready) refuseIfHopeless(inForce, host);
    const against = checkHost(inForce, host);
    if (against.length > 0) {
      this.#host = {
        waiting: against.map((p) => `${p.path}: expected ${p.expected}, got ${p.got}`).join('; '),
      };
    } else if (host !== this.#hostFacts) {
      this.#hostFacts = host;
      this.#network.reconsider();
      if (this.#network.inForce !== inForce) this.kick();
    }
  }

  /** Tell the store which lease we want. */
  #ask(inForce: NetworkInForce, host: HostFacts): void {
    const { identity, options, previous } = this.#parts;
    const want = leaseRequest(inForce, host, identity, options, this.#held?.subnets ?? previous);
    if (!sameValue(want, this.#want.value)) this.#want.set(want);
  }

  /** subnet.env, readiness and what the service manager is told. */
  async #publish(): Promise<void> {
    const { subnetFile, notifier, news, log, options } = this.#parts;
    const inForce = this.#network.inForce;
    if (this.#settled && this.#parts.firewall.status().inSync && inForce && this.#held && this.#hostFacts) {
      const families = [...inForce.network.families.keys()];
      const mtu = inForce.backend.mtu(inForce.config, families, this.#hostFacts);
      if (await subnetFile.write(inForce.network, this.#held, mtu, options.ipMasq)) {
        log.info({ file: options.subnetFile, subnets: this.#held.key, mtu }, 'subnet file written');
      }
      if (subnetFile.error !== undefined) this.#later();
    }
    const { problem } = this.#network;
    if (news.changed('network', problem) && problem !== undefined && inForce)
      log.warn({ problem }, 'network config');
    const reason = waitingFor(this.situation());
    if (reason === undefined && !this.#ready) {
      this.#ready = true;
      log.info({ lease: this.#held?.key, peers: this.peers }, 'ready');
    }
    if (news.changed('reason', reason)) {
      if (reason !== undefined)
        log[this.#ready ? 'warn' : 'info']({ reason }, this.#ready ? 'impaired' : 'not ready');
      else log.info('in order');
    }
    this.#converged?.();
    notifier.state(this.#ready, reason ?? `${this.#held?.key}, ${this.peers} peers`);
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
    return this.#ready;
  }

  get snapshot(): LeaseSnapshot | undefined {
    return this.#leases.snapshot;
  }

  get held(): Lease | undefined {
    return this.#held;
  }

  get leaseState(): LeaseState | undefined {
    return this.#leaseState;
  }

  get network(): NetworkInForce | undefined {
    return this.#network.inForce;
  }

  get host(): HostFacts | undefined {
    return this.#hostFacts;
  }

  get peers(): number {
    return this.#programming.peers;
  }

  /** Called when everything has been looked at after a change. */
  onConverged(listener: () => void): void {
    this.#converged = listener;
  }

  /** Can pods have addresses? */
  nodeState(): NodeState {
    return nodeState({
      network: this.#network.inForce,
      host: this.#hostFacts,
      lease: this.#leaseState,
      held: this.#held,
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
      host: 'waiting' in this.#host ? this.#host.waiting : undefined,
      lease: this.#leaseState,
      applied: this.#applied,
      failing: reconciler
        .status()
        .failing.slice(0, 5)
        .map((f) => `${f.object}: ${f.error}`),
      forwarder: this.#programming.forwarderProblems,
      firewall: this.#programming.isAsked ? firewall.status() : undefined,
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

/** Do two lease requests ask for the same? Compared as text; they are small. */
function sameValue(a: LeaseRequest, b: LeaseRequest | undefined): boolean {
  const text = (value: unknown) =>
    JSON.stringify(value, (_, v: unknown) =>
      typeof v === 'bigint' ? `${v}n` : v instanceof Map ? [...v.entries()] : v,
    );
  return b !== undefined && text(a) === text(b);
}
