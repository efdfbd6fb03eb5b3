import { AUDIT_INTERVAL, NFT_COUNTERS } from '../contract.ts';
import { LodenError } from '../errors.ts';
import { addon } from '../native/addon.ts';
import type { Family } from '../net/addr.ts';
import { samePrefix } from '../net/prefix.ts';
import { type Commands, MissingCommand, ownCommands } from './command.ts';
import { type FirewallDesired, FirewallPass, NOTHING, type PassReport } from './firewallPass.ts';
import { desiredTable } from './nft.ts';
import { PeerCounters } from './peerCounters.ts';
import { TokenBucket } from './tokenBucket.ts';

export type { FirewallDesired } from './firewallPass.ts';
export type { Masquerade } from './nft.ts';

/** linux/netlink.h and linux/netfilter/nfnetlink.h: every change of nf_tables ends with a message to this group. */
const NETLINK_NETFILTER = 12;
const NFNLGRP_NFTABLES = 7;
/** Milliseconds between a change and the look at it: a transaction sends many messages. */
const QUIET = 50;

/** Looks after notifications: a burst, then one in `slow` ms, less often where looks are dear: 1/`share` of the time. */
const LOOKS = { burst: 4, slow: 500, share: 20, slowest: 10_000 } as const;
/** So often we put right at once what others change; then about once in `slow` ms, and it is told for `told` ms. */
const REPAIRS = { burst: 8, slow: 5_000, told: 60_000 } as const;
/** Milliseconds before a failed attempt is repeated: doubled each time, with jitter. */
const RETRY = { first: 250, most: 30_000 } as const;
const RESYNC = 10_000;

/** The firewall as `/v1/status` shows it. */
export interface FirewallStatus {
  /** Everything desired was in the kernel at the last look. */
  readonly inSync: boolean;
  /** Why not, if an attempt failed. */
  readonly error: string | null;
  /** How often somebody else's change was put right. */
  readonly repairs: { readonly masquerade: number; readonly forward: number };
  /** What only the operator can put right. */
  readonly problems: readonly string[];
}

/** Calls back after every change of the ruleset, as a hint. */
export type FirewallMonitor = (onHint: () => void) => { close(): void };

/** The part of a pino logger that is used. */
export interface FirewallLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export interface FirewallOptions {
  /** Where nft and iptables are run; by default in this process's own network namespace. */
  readonly commands?: Commands;
  /** By default nf_tables' notifications in that namespace. */
  readonly monitor?: FirewallMonitor;
  readonly log: FirewallLog;
  /** Milliseconds between looks at what notifies nobody, legacy iptables; 10 s. */
  readonly resyncMs?: number;
  /** Called after each look that changed the status. */
  readonly onChange?: (status: FirewallStatus) => void;
}

/** nf_tables' notifications in the namespace of `netnsFd`; -1: this process's own. */
export const nftMonitor =
  (netnsFd = -1): FirewallMonitor =>
  (onHint) =>
    addon().netlinkMonitor(NETLINK_NETFILTER, [NFNLGRP_NFTABLES], netnsFd, QUIET, onHint);

/**
 * Keeps masquerading and forward rules in the kernel: {@link set} says what is desired, from then on whatever others do
 * to it is put right. See docs/firewall.md for the rules and their places.
 */
export class Firewall {
  readonly #pass: FirewallPass;
  readonly #options: FirewallOptions;
  readonly #looks = new TokenBucket(LOOKS.burst, performance.now());
  readonly #repairs = new TokenBucket(REPAIRS.burst, performance.now());
  #desired: FirewallDesired | undefined;
  /** What was in the kernel once: a later difference is somebody else's doing. */
  #applied: FirewallDesired | undefined;
  #status: FirewallStatus = NEVER;
  /** What flanneld left is removed once; what comes back is not ours to fight. */
  #flannelGone = false;
  #failures = 0;
  /** Somebody undoes our work again and again: until then (performance.now()) we let it be. */
  #truce = 0;
  /** And until then it is told. */
  #foughtUntil = 0;
  #lookedAt = 0;
  /** Milliseconds the last look took. */
  #cost = 0;
  #running: Promise<void> = Promise.resolve();
  #queued: Promise<void> | undefined;
  #hintTimer: NodeJS.Timeout | undefined;
  #nextTimer: NodeJS.Timeout | undefined;
  #monitor: { close(): void } | undefined;
  #deaf = false;
  #stopped = false;

  constructor(options: FirewallOptions) {
    this.#options = options;
    this.#pass = new FirewallPass(options.commands ?? ownCommands);
  }

  /**
   * Desire this from now on. Resolves after an attempt to put it in the kernel; whether that worked is in the status, and
   * if not it is repeated. Asking again for the same starts nothing.
   */
  async set(desired: FirewallDesired): Promise<FirewallStatus> {
    const news = !this.#desired || !same(this.#desired, desired);
    this.#desired = desired;
    if (news && !this.#stopped) {
      this.#listen();
      await this.#look();
    } else await (this.#queued ?? this.#running);
    return this.#status;
  }

  status(): FirewallStatus {
    return this.#status;
  }

  /** No further looks; the rules stay. Resolves when a running look has ended. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#hintTimer);
    clearTimeout(this.#nextTimer);
    this.#monitor?.close();
    await (this.#queued ?? this.#running);
  }

  /**
   * Remove our tables, that of counters too, and our forward rules, and nothing else. Returns what went, and what only the operator can remove.
   * Rejects with what failed; may be repeated.
   */
  static async cleanup(
    commands: Commands = ownCommands,
  ): Promise<{ readonly removed: readonly string[]; readonly problems: readonly string[] }> {
    const report = await new FirewallPass(commands).run(NOTHING, 'cleanup');
    if (report.errors.length > 0) throw new LodenError(`clean up the firewall: ${reasons(report)}`);
    const counters = await new PeerCounters(commands).remove().catch((error: Error) => {
      // Without nft there is no table of ours.
      if (error instanceof MissingCommand) return false;
      throw error;
    });
    const removed = [
      ...report.masquerade,
      ...(counters ? [`table netdev ${NFT_COUNTERS}`] : []),
      ...report.forward,
    ];
    return { removed, problems: report.problems };
  }

  #listen(): void {
    if (this.#monitor || this.#deaf) return;
    try {
      this.#monitor = (this.#options.monitor ?? nftMonitor())(() => this.#wake());
    } catch (err) {
      this.#deaf = true;
      this.#options.log.error(
        { err },
        'cannot listen for changes of the firewall; looking at intervals instead',
      );
    }
  }

  /** A look as soon as the budget allows. */
  #wake(): void {
    if (this.#stopped || this.#hintTimer) return;
    const now = performance.now();
    const interval = Math.min(LOOKS.slowest, Math.max(LOOKS.slow, this.#cost * LOOKS.share));
    const wait = Math.max(this.#truce - now, 0) || this.#looks.take(now, interval);
    if (wait <= 0) void this.#look();
    else {
      this.#hintTimer = setTimeout(() => {
        this.#hintTimer = undefined;
        this.#wake();
      }, wait);
    }
  }

  /** A look that begins from now on. One runs at a time; all who ask while it runs share the one after it. */
  #look(): Promise<void> {
    this.#queued ??= this.#running.then(() => {
      this.#running = this.#queued!;
      this.#queued = undefined;
      return this.#lookOnce();
    });
    return this.#queued;
  }

  async #lookOnce(): Promise<void> {
    if (this.#stopped) return;
    clearTimeout(this.#nextTimer);
    const desired = this.#desired!;
    const repairing = this.#applied !== undefined && same(this.#applied, desired);
    this.#lookedAt = performance.now();
    const report = await this.#pass.run(desired, this.#flannelGone ? 'tell' : 'remove');
    const now = performance.now();
    this.#cost = now - this.#lookedAt;
    const repaired = repairing && report.masquerade.length + report.forward.length > 0;
    const wait = repaired ? this.#repairs.take(now, REPAIRS.slow) : 0;
    if (wait > 0) {
      this.#truce = now + wait;
      this.#foughtUntil = now + REPAIRS.told;
    }
    if (report.errors.length === 0) {
      this.#applied = desired;
      this.#flannelGone = true;
      this.#failures = 0;
    } else this.#failures++;
    this.#tell(report, repaired);
    if (!this.#stopped) this.#next();
  }

  /** The timer behind each look: the next attempt, or a look at what notifies nobody. */
  #next(): void {
    const retry = Math.min(RETRY.most, RETRY.first * 2 ** (this.#failures - 1)) * (0.5 + Math.random());
    const wait = this.#failures > 0 ? retry : (this.#options.resyncMs ?? RESYNC);
    clearTimeout(this.#nextTimer);
    this.#nextTimer = setTimeout(async () => {
      const now = performance.now();
      const over = now > this.#foughtUntil && this.#status.problems.includes(FOUGHT);
      const stale = now - this.#lookedAt > AUDIT_INTERVAL || over;
      const look = this.#failures > 0 || this.#deaf || stale || (await this.#pass.legacyInUse());
      if (this.#stopped) return;
      if (look) void this.#look();
      else this.#next();
    }, wait);
  }

  #tell(report: PassReport, repaired: boolean): void {
    const { log, onChange } = this.#options;
    const before = this.#status;
    const fought = this.#foughtUntil > performance.now() ? [FOUGHT] : [];
    const status: FirewallStatus = {
      inSync: report.errors.length === 0,
      error: report.errors.length > 0 ? reasons(report) : null,
      repairs: {
        masquerade: before.repairs.masquerade + (repaired ? report.masquerade.length : 0),
        forward: before.repairs.forward + (repaired ? report.forward.length : 0),
      },
      problems: [...fought, ...new Set(report.problems)],
    };
    this.#status = status;

    const rules = [...report.masquerade, ...report.forward];
    if (repaired && !before.problems.includes(FOUGHT))
      log.warn({ rules }, 'firewall rules had been changed by somebody else: put right');
    if (!repaired && rules.length > 0) log.info({ rules }, 'firewall rules written');
    if (report.removed.length > 0) log.info({ rules: report.removed }, "removed flanneld's firewall rules");
    if (status.error && status.error !== before.error)
      log.error({ reason: status.error }, 'firewall rules cannot be put');
    if (before.error && !status.error) log.info({}, 'firewall rules are in place again');
    for (const problem of status.problems)
      if (!before.problems.includes(problem)) log.warn({ problem }, 'firewall');
    for (const problem of before.problems)
      if (!status.problems.includes(problem)) log.info({ problem }, 'firewall: solved');
    if (JSON.stringify(status) !== JSON.stringify(before)) onChange?.(status);
  }
}

const NEVER: FirewallStatus = {
  inSync: false,
  error: null,
  repairs: { masquerade: 0, forward: 0 },
  problems: [],
};

const FOUGHT =
  `another program undoes loden's firewall rules again and again; they are put back once in ${REPAIRS.slow / 1000} s: ` +
  'find it by `nft monitor`, which names it, and let it leave table loden and the rules commented "loden forward" alone';

const reasons = (report: PassReport): string => [...new Set(report.errors.map((e) => e.message))].join('; ');

/** The same rules, whatever the identity of the objects. */
function same(a: FirewallDesired, b: FirewallDesired): boolean {
  return ([4, 6] as Family[]).every((family) => {
    const [m, n] = [a.masquerade.get(family), b.masquerade.get(family)];
    const [p, q] = [a.forward.get(family), b.forward.get(family)];
    return (m && desiredTable(m)) === (n && desiredTable(n)) && (p === q || (p && q && samePrefix(p, q)));
  });
}
