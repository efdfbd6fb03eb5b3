import { AUDIT_INTERVAL, RECONCILE_DEBOUNCE } from '../contract.ts';
import { Dirt, type Job } from './dirt.ts';
import type { Hint, Kernel, Watch } from './kernel.ts';
import type { ObservedRoute } from './observed.ts';
import { keepRoute, MOST_FOREIGN, ownsRoute, ROUTE_PROTOCOLS } from './route.ts';
import { ObservedState } from './state.ts';
import type { KindName, Owner } from './types.ts';

export interface ObserverOptions {
  /** Whose devices' neighbours and FDB entries are watched; none until {@link Observer.own}. */
  readonly owner?: Owner;
  /** Milliseconds between a hint and the look it causes. */
  readonly debounce?: number;
  /** Milliseconds between two looks at everything. */
  readonly auditInterval?: number;
  /** A look at the kernel failed; it is repeated with backoff. */
  readonly onError?: (cause: unknown) => void;
}

/** Called after each look with the kinds that were looked at. The state is the same object every time. */
export type ChangeListener = (state: ObservedState, looked: ReadonlySet<KindName>) => void;

const NO_OWNER: Owner = { devices: new Set() };
/** Milliseconds between attempts to look at a kernel that does not answer. */
const RETRY = { first: 200, last: 30_000 } as const;

/**
 * Keeps an {@link ObservedState} true. Everything is listed at the start, after lost notifications and every
 * AUDIT_INTERVAL; in between, notifications tell where to look again. They are never believed: what the kernel does
 * silently (see dirt.ts) is found by looking at all that an event can have touched.
 */
export class Observer {
  readonly state = new ObservedState();
  readonly #kernel: Kernel;
  readonly #options: Required<Omit<ObserverOptions, 'owner'>>;
  readonly #listeners = new Set<ChangeListener>();
  readonly #dirt: Dirt;
  #owner: Owner;
  #sysctls: ReadonlySet<string> = new Set();
  #watch: Watch | undefined;
  #audit: NodeJS.Timeout | undefined;
  #timer: NodeJS.Timeout | undefined;
  #timerAt = Number.POSITIVE_INFINITY;
  #queue: Promise<unknown> = Promise.resolve();
  #failures = 0;
  /** Monotonic milliseconds before which no look is taken on account of hints: looking must not become all we do. */
  #restUntil = 0;
  #stopped = false;

  constructor(kernel: Kernel, options: ObserverOptions = {}) {
    this.#kernel = kernel;
    this.#owner = options.owner ?? NO_OWNER;
    this.#options = {
      debounce: options.debounce ?? RECONCILE_DEBOUNCE,
      auditInterval: options.auditInterval ?? AUDIT_INTERVAL,
      onError: options.onError ?? (() => {}),
    };
    this.#dirt = new Dirt(this.state);
    this.#dirt.devices = this.#owner.devices;
  }

  get kernel(): Kernel {
    return this.#kernel;
  }

  get owner(): Owner {
    return this.#owner;
  }

  /** Subscribes, then lists everything. Resolves when the state is whole; rejects when the kernel does not answer. */
  async start(): Promise<void> {
    this.#watch = this.#kernel.watch((hints, overrun) => this.#hinted(hints, overrun));
    this.#audit = setInterval(() => this.resync(), this.#options.auditInterval);
    await this.look();
  }

  /** Lists everything, now. */
  async look(): Promise<void> {
    this.#dirt.all();
    await this.exclusive(() => this.refresh());
  }

  /** Whose devices are ours, from now on. Looks at them soon. */
  own(owner: Owner): void {
    const old = this.#owner.devices;
    this.#owner = owner;
    this.#dirt.devices = owner.devices;
    for (const dev of old) if (!owner.devices.has(dev)) this.state.forgetTunnel(dev);
    for (const dev of owner.devices) {
      const link = this.state.link(dev);
      if (link && !old.has(dev)) this.#dirt.device(link.ifindex);
    }
    this.#schedule();
  }

  /** The sysctls somebody cares for, and the devices our objects use besides our own (uplinks). */
  follow(sysctls: ReadonlySet<string>, carriers: ReadonlySet<string>): void {
    const known = this.#sysctls;
    this.#sysctls = sysctls;
    this.#dirt.carriers = carriers;
    if ([...sysctls].some((path) => !known.has(path))) this.#dirt.sysctls = true;
  }

  /** Look at everything again, soon. */
  resync(): void {
    this.#dirt.all();
    this.#schedule();
  }

  /** Look again at what an object of ours stands on, soon: an operation on it did not go as the state had it. */
  doubt(kind: KindName, dev: string | undefined): void {
    this.#dirt.object(kind, dev);
    this.#schedule();
  }

  onChange(listener: ChangeListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Runs `work` while nobody else reads the kernel into the state or changes it. First come, first served. */
  exclusive<T>(work: () => Promise<T>): Promise<T> {
    const run = this.#queue.then(work, work);
    this.#queue = run.catch(() => {});
    return run;
  }

  /**
   * Look at all that is doubtful now. Only inside {@link exclusive}. Rejects when the kernel does not answer; what was
   * doubtful stays so.
   */
  async refresh(): Promise<void> {
    if (this.#stopped) return;
    const started = performance.now();
    const looked = new Set<KindName>();
    try {
      // A look at the links can make more doubtful: a link that has come or gone.
      for (let job = this.#dirt.take(started); job; job = this.#dirt.take(started)) {
        try {
          await this.#look(job, looked);
        } catch (cause) {
          this.#dirt.giveBack(job);
          throw cause;
        }
      }
      this.#failures = 0;
    } finally {
      const cost = performance.now() - started;
      if (looked.size > 0) this.#restUntil = performance.now() + Math.min(10 * cost, Math.max(400, 2 * cost));
      this.#dirt.routeCost = looked.has('route') ? cost : this.#dirt.routeCost;
    }
    if (looked.size > 0) for (const listener of this.#listeners) listener(this.state, looked);
    this.#schedule();
  }

  /** Ends all looking; the kernel stays open. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#watch?.close();
    clearInterval(this.#audit);
    clearTimeout(this.#timer);
    await this.#queue;
  }

  /** {@link keepRoute} with a bound, which what is ours does not count against. */
  #keep(): (o: ObservedRoute) => boolean {
    let foreign = 0;
    return (o) => keepRoute(o) && (ownsRoute(o, this.#owner) || ++foreign <= MOST_FOREIGN);
  }

  #hinted(hints: readonly Hint[], overrun: boolean): void {
    if (this.#stopped) return;
    if (overrun) this.#dirt.all();
    const now = performance.now();
    for (const hint of hints) this.#dirt.hint(hint, now);
    this.#schedule();
  }

  /** One timer, set to the first moment at which something doubtful is due. */
  #schedule(): void {
    const due = this.#dirt.due();
    if (due === undefined || this.#stopped) return;
    const now = performance.now();
    const retry = this.#failures === 0 ? 0 : Math.min(RETRY.last, RETRY.first * 2 ** (this.#failures - 1));
    const at = Math.max(now + this.#options.debounce + retry, due, this.#restUntil);
    if (at >= this.#timerAt) return;
    clearTimeout(this.#timer);
    this.#timerAt = at;
    this.#timer = setTimeout(() => {
      this.#timerAt = Number.POSITIVE_INFINITY;
      this.exclusive(() => this.refresh()).catch((cause) => {
        this.#failures++;
        this.#options.onError(cause);
        this.#schedule();
      });
    }, at - now);
  }

  async #look(job: Job, looked: Set<KindName>): Promise<void> {
    switch (job.what) {
      case 'links':
        this.state.setLinks(await this.#kernel.links());
        looked.add('link');
        for (const dev of this.#owner.devices) {
          const link = this.state.link(dev);
          if (link) this.#dirt.tunnel(link.ifindex);
        }
        break;
      case 'link': {
        const before = this.state.linkAt(job.ifindex);
        const [link] = await this.#kernel.links(job.ifindex);
        this.state.setLink(job.ifindex, link);
        looked.add('link');
        // Its name tells whose it is; a newcomer's is known only now.
        if (this.#dirt.matters(before) || this.#dirt.matters(link)) this.#dirt.device(job.ifindex);
        break;
      }
      case 'addresses':
        this.state.setAddresses(await this.#kernel.addresses(job.ifindex), job.ifindex);
        looked.add('address');
        break;
      case 'neighs':
      case 'fdb': {
        const link = this.state.linkAt(job.ifindex);
        if (!link || !this.#owner.devices.has(link.name)) break;
        if (job.what === 'neighs') {
          this.state.setNeighs(link.name, await this.#kernel.neighs(job.ifindex));
          looked.add('neigh');
        } else if (link.vxlan) {
          this.state.setFdb(link.name, await this.#kernel.fdb(job.ifindex));
          looked.add('fdb');
        }
        break;
      }
      case 'routes':
        for (const protocol of ROUTE_PROTOCOLS) {
          const query = { family: job.family, protocol };
          this.state.setRoutes(job.family, protocol, await this.#kernel.routes(query, this.#keep()));
        }
        looked.add('route');
        break;
      case 'sysctls':
        for (const path of this.#sysctls) this.state.setSysctl(path, await this.#kernel.sysctl(path));
        looked.add('sysctl');
        break;
    }
  }
}
