import type { CniService } from '../cni/service.ts';
import type { Forwarder } from '../forwarder/forwarder.ts';
import type { FirewallStatus } from '../kernel/firewall.ts';
import { type PassReport, some } from '../kernel/status.ts';
import { Behind } from '../metrics/behind.ts';
import { RequestCounts } from '../metrics/requests.ts';
import type { StoreReport } from '../subnet/api.ts';
import type { LeaseSnapshot, LeaseState, SubnetKey } from '../subnet/types.ts';
import type { Daemon } from './daemon.ts';
import { AT_START, type Standing, standingHappenings } from './events/daemon.ts';
import { Damper } from './events/damper.ts';
import { firewallHappenings, passHappenings } from './events/kernel.ts';
import type { EventLog, Happening } from './events/log.ts';
import { peerHappenings, refusalHappenings } from './events/peers.ts';
import { leaseHappenings, storeHappening } from './events/store.ts';
import type { Logger } from './log.ts';
import { isPeer } from './overlay.ts';
import { waitingFor } from './readiness.ts';

/** Tells what happens, in the log and as events: each place that is told of something calls here once. */
export class Watch {
  readonly #log: Logger;
  readonly #events: EventLog;
  /** For what many nodes do one after the other, as when all are restarted. */
  readonly #peers: Damper;
  /** Of requests to etcd. */
  readonly requests = new RequestCounts();
  /** How long the kernel has been behind the leases. */
  readonly behind = new Behind();
  #firewall: FirewallStatus | undefined;
  #snapshot: LeaseSnapshot | undefined;
  #lease: LeaseState | undefined;
  #standing: Standing = AT_START;
  #refused: ReadonlyMap<SubnetKey, string> = new Map();

  constructor(log: Logger, events: EventLog) {
    this.#log = log;
    this.#events = events;
    this.#peers = new Damper(events.note, {
      words: (_, count) => `${count} more changes of peers; \`loden peers\` shows how each stands`,
    });
  }

  /** What the store reports, under its own level. */
  readonly store = (report: StoreReport): void => {
    const { level, event, message, fields } = report;
    this.#log[level]({ event, ...fields }, message);
    this.#events.note(storeHappening(report));
  };

  /** What the reconciler did, one line for each thing an operator would ask about. */
  readonly pass = (report: PassReport): void => {
    logPass(this.#log, report);
    this.#events.note(...passHappenings(report));
  };

  /** What the forwarder notes. */
  readonly forwarder = (level: 'info' | 'warn' | 'error', message: string, fields: object = {}): void => {
    this.#log[level](fields, message);
    if (level !== 'info') this.#events.note({ level, kind: 'forwarder', message });
  };

  /** After each look at the firewall that changed its status; it has a log line of its own. */
  readonly firewall = (status: FirewallStatus): void => {
    this.#events.note(...firewallHappenings(this.#firewall ?? status, status));
    this.#firewall = status;
  };

  /** After each convergence: whatever of it has changed. */
  converged(daemon: Daemon, forwarder: Forwarder, cni: CniService): void {
    const { held, leaseState, snapshot, networkText, refusedPeers } = daemon;
    const { store, applied } = daemon.revisions;
    this.behind.look(store, applied);
    const happenings: Happening[] = [];
    const ofPeers: Happening[] = [];
    if (leaseState && leaseState !== this.#lease)
      happenings.push(...leaseHappenings(this.#lease, leaseState));
    this.#lease = leaseState;
    // Until ours is known, nobody can tell whose the others are.
    if (snapshot && snapshot !== this.#snapshot && held) {
      const isOurs = (lease: Parameters<typeof isPeer>[0]): boolean => !isPeer(lease, held);
      ofPeers.push(...peerHappenings(this.#snapshot?.leases, snapshot.leases, isOurs));
      this.#snapshot = snapshot;
    }
    ofPeers.push(...refusalHappenings(this.#refused, refusedPeers));
    this.#refused = refusedPeers;
    const standing: Standing = {
      ready: daemon.ready,
      reason: waitingFor(daemon.situation()),
      peers: daemon.peers,
      key: held?.key,
      network: daemon.network?.network,
      backend: daemon.network?.backend.type,
      problem: networkText.problem,
      warnings: forwarder.warnings,
      stale: cni.stale,
    };
    happenings.push(...standingHappenings(this.#standing, standing));
    this.#standing = standing;
    this.#events.note(...happenings);
    this.#peers.note(...ofPeers);
  }
}

function logPass(log: Logger, report: PassReport): void {
  const repaired = some(report.repaired);
  if (Object.keys(repaired).length > 0) {
    log.warn(
      { repaired, examples: report.repairedExamples },
      'the kernel had been changed by somebody else: put right',
    );
  }
  const [put, deleted] = [some(report.put), some(report.deleted)];
  if (Object.keys(put).length + Object.keys(deleted).length > 0)
    log.info({ put, deleted }, 'kernel programmed');
  for (const failure of report.failed) log.error(failure, 'the kernel refuses an object');
  if (report.recovered > 0) log.info({ recovered: report.recovered }, 'objects are accepted again');
  for (const conflict of report.conflicts)
    log.warn(conflict, "somebody else's object is in the place of ours");
}
