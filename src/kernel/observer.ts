import { AUDIT_INTERVAL, RECONCILE_DEBOUNCE } from '../contract.ts';
import { Dirt, type Job } from './dirt.ts';
import type { Hint, Kernel, Watch } from './kernel.ts';
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

/** Called after a look that found something changed, with its kinds. The state is the same object every time. */
export type ChangeListener = (state: ObservedState, changed: ReadonlySet<KindName>) => void;

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
  #isDoubtful = true;
  #isQueued = false;
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
    this.#isDoubtful = true;
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
    if ([...sysctls].some((path) => !known.has(path))) {
      this.#dirt.sysctls = true;
      this.#isDoubtful = true;
    }
  }

  /** Look at everything again, soon. */
  resync(): void {
    this.#dirt.all();
    this.#schedule();
  }

  /**
   * Look again at what an object of ours stands on, before anything is decided: an operation on it did not go as the
   * state had it, or did more than the state can tell.
   */
  doubt(kind: KindName, dev: string | undefined): void {
    this.#dirt.object(kind, dev);
    this.#isDoubtful = true;
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

  /** Is the state too old to decide on? Mere notifications do not make it so: what they mean is looked at in time. */
  get isDoubtful(): boolean {
    return this.#isDoubtful;
  }

  /**
   * Look at all that is doubtful now. Only inside {@link exclusive}. Rejects when the kernel does not answer; what was
   * doubtful stays so.
   */
  async refresh(): Promise<void> {
    if (this.#stopped) return;
    const started = performance.now();
    const changed = new Set<KindName>();
    const dirt = this.#dirt.split(started);
    this.#isDoubtful = false;
    let isRoutes = false;
    try {
      // A look at the links can make more doubtful: a link that has come or gone.
      for (let job = dirt.take(); job; job = dirt.take()) {
        isRoutes ||= job.what === 'routes';
        try {
          await this.#look(job, dirt, changed);
        } catch (cause) {
          dirt.giveBack(job);
          this.#isDoubtful = true;
          throw cause;
        }
      }
      this.#failures = 0;
    } finally {
      this.#dirt.absorb(dirt);
      const cost = performance.now() - started;
      if (isRoutes) this.#dirt.routeCost = cost;
      this.#restUntil = performance.now() + Math.min(10 * cost, Math.max(400, 2 * cost));
    }
    if (changed.size > 0) for (const listener of this.#listeners) listener(this.state, changed);
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
    // A look that is queued or under way comes back here when it ends.
    if (due === undefined || this.#stopped || this.#isQueued) return;
    const now = performance.now();
    const retry = this.#failures === 0 ? 0 : Math.min(RETRY.last, RETRY.first * 2 ** (this.#failures - 1));
    const at = Math.max(now + this.#options.debounce + retry, due);
    if (at < this.#timerAt) this.#wakeAt(at);
  }

  #wakeAt(at: number): void {
    clearTimeout(this.#timer);
    this.#timerAt = at;
    this.#timer = setTimeout(
      () => {
        this.#timerAt = Number.POSITIVE_INFINITY;
        // Known only now: a look may have been taken since the timer was set.
        if (performance.now() < this.#restUntil) {
          this.#wakeAt(this.#restUntil);
          return;
        }
        this.#isQueued = true;
        this.exclusive(() => this.refresh())
          .catch((cause) => {
            this.#failures++;
            this.#options.onError(cause);
          })
          .finally(() => {
            this.#isQueued = false;
            this.#schedule();
          });
      },
      Math.max(0, at - performance.now()),
    );
  }

  async #look(job: Job, dirt: Dirt, changed: Set<KindName>): Promise<void> {
    const { state } = this;
    switch (job.what) {
      case 'links':
        if (state.setLinks(await this.#kernel.links())) changed.add('link');
        for (const dev of this.#owner.devices) {
          const link = state.link(dev);
          if (link) dirt.tunnel(link.ifindex);
        }
        break;
      case 'link': {
        const before = state.linkAt(job.ifindex);
        const [link] = await this.#kernel.links(job.ifindex);
        if (state.setLink(job.ifindex, link)) changed.add('link');
        // Its name tells whose it is; a newcomer's is known only now.
        if (dirt.matters(before) || dirt.matters(link)) dirt.device(job.ifindex);
        break;
      }
      case 'addresses':
        if (await state.setAddresses(await this.#kernel.addresses(job.ifindex), job.ifindex))
          changed.add('address');
        break;
      case 'neighs':
      case 'fdb': {
        const link = state.linkAt(job.ifindex);
        if (!link || !this.#owner.devices.has(link.name)) break;
        if (job.what === 'neighs') {
          if (await state.setNeighs(link.name, await this.#kernel.neighs(job.ifindex))) changed.add('neigh');
        } else if (link.vxlan) {
          if (await state.setFdb(link.name, await this.#kernel.fdb(job.ifindex))) changed.add('fdb');
        }
        break;
      }
      case 'routes':
        for (const protocol of ROUTE_PROTOCOLS) {
          const query = { family: job.family, protocol };
          const devices = new Set<number>();
          let foreign = 0;
          const rows = await this.#kernel.routes(query, (o) => {
            // The bound is not for what is ours.
            const isKept = keepRoute(o) && (ownsRoute(o, this.#owner) || ++foreign <= MOST_FOREIGN);
            if (isKept && o.ifindex !== undefined) devices.add(o.ifindex);
            return isKept;
          });
          if (await state.setRoutes(job.family, protocol, rows, devices)) changed.add('route');
        }
        break;
      case 'sysctls':
        for (const path of this.#sysctls) {
          if (state.setSysctl(path, await this.#kernel.sysctl(path))) changed.add('sysctl');
        }
        break;
    }
  }
}
