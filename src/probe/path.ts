import { addrBytes } from '../net/addr.ts';
import type { Allowance } from './allowance.ts';
import type { PathReport, Target } from './types.ts';
import {
  type Checksum,
  type FullSize,
  lostOf,
  NO_CHECKSUM,
  NO_FULL_SIZE,
  NO_PROBES,
  type SmallProbes,
} from './verdict.ts';

/** Small probes after which the least round trip begins to be forgotten. */
const LEAST_OF = 10;

/** What is known of a path; there are thousands, so it is kept small. */
export class Path {
  target: Target;
  small: SmallProbes = NO_PROBES;
  fullSize: FullSize = NO_FULL_SIZE;
  checksum: Checksum = NO_CHECKSUM;
  at: number | undefined;
  rtt: number | undefined;
  error: string | undefined;
  /** Visits so far: not every one asks for everything. */
  visits = 0;
  /** Of answers to datagrams; made when there is a first. */
  allowance: Allowance | undefined;
  /** Of the visit that is going on; whoever asks meanwhile waits for it. */
  visit: Promise<void> | undefined;
  /** Was it met in the last setTargets()? */
  generation = 0;
  /** The least round trips of this and the last {@link LEAST_OF} answers. */
  #least: number | undefined;
  #leastBefore: number | undefined;
  #answers = 0;
  #report: PathReport | undefined;

  constructor(target: Target) {
    this.target = target;
  }

  get address(): Uint8Array {
    return addrBytes(this.target.addr);
  }

  answered(rtt: number): void {
    this.rtt = rtt;
    if (this.#answers++ % LEAST_OF === 0) {
      this.#leastBefore = this.#least;
      this.#least = rtt;
    } else if (this.#least === undefined || rtt < this.#least) {
      this.#least = rtt;
    }
  }

  /** As others see it: as {@link renew} found it last, and the same object until then. */
  get report(): PathReport {
    // Most are never looked at before something is known.
    this.#report ??= new Path(this.target).#make();
    return this.#report;
  }

  /** True: something is known that the last report did not say. */
  renew(): boolean {
    const before = this.report;
    const now = this.#make();
    if (isSame(now, before)) return false;
    this.#report = now;
    return true;
  }

  #make(): PathReport {
    const least = this.#least;
    const before = this.#leastBefore;
    return {
      target: this.target,
      health: this.small.health,
      at: this.at,
      rtt: this.rtt,
      leastRtt: least === undefined || before === undefined ? least : Math.min(least, before),
      sent: this.small.sent,
      lost: lostOf(this.small),
      fullSize: this.fullSize.verdict,
      pathMtu: this.fullSize.pathMtu,
      sizeAt: this.fullSize.at,
      checksum: this.checksum.verdict,
      error: this.error,
    };
  }
}

/** Nothing new has been learnt. */
const isSame = (a: PathReport, b: PathReport): boolean =>
  a.target === b.target &&
  a.at === b.at &&
  a.sent === b.sent &&
  a.rtt === b.rtt &&
  a.health === b.health &&
  a.fullSize === b.fullSize &&
  a.pathMtu === b.pathMtu &&
  a.sizeAt === b.sizeAt &&
  a.checksum === b.checksum &&
  a.error === b.error;
