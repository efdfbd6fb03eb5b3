import type { Family } from '../../net/addr.ts';
import { type PathReport, type Probing, pathKey } from '../../probe/types.ts';
import type { SubnetKey } from '../../subnet/types.ts';
import type { Happening, Note } from '../events/log.ts';
import type { Logger } from '../log.ts';
import type { RouteMtu } from './adjust.ts';
import {
  adopted,
  heard,
  LEAST,
  type MtuChange,
  type MtuOptions,
  NO_PATH_MTUS,
  type PathMtus,
  remaining,
} from './pathMtu.ts';

export interface MtuParts {
  readonly log: Logger;
  readonly note: Note;
  /** There are other {@link MtuReactions.routeMtus} now. */
  readonly onChange: () => void;
  readonly options: MtuOptions;
}

/**
 * Milliseconds in which reports are gathered, at least and for each path there is: after each change all of the desired
 * state is compared.
 */
const GATHER = { atLeast: 250, perPath: 0.5 } as const;

/** Paths asked in each round whether they take more again. Which they are goes round. */
const WATCHED = 50;

/** Changes told one by one; of more at once there is the number. */
const TOLD = 20;

/** Names in a line of the log. */
const EXAMPLES = 5;

/** Keeps routes to peers as low as their paths are narrow. */
export class MtuReactions {
  readonly #parts: MtuParts;
  #probing: Pick<Probing, 'paths' | 'watch'> | undefined;
  #state: PathMtus = NO_PATH_MTUS;
  #routeMtus: readonly RouteMtu[] = [];
  readonly #pending = new Map<string, PathReport>();
  #timer: NodeJS.Timeout | undefined;
  #isEnded = false;
  #lowered = 0;
  #raised = 0;

  constructor(parts: MtuParts) {
    this.#parts = parts;
  }

  attach(probing: Pick<Probing, 'paths' | 'watch'>): void {
    this.#probing = probing;
    this.#update();
  }

  /** The routes that are to be lowered; the same array until anything about it changes. */
  get routeMtus(): readonly RouteMtu[] {
    return this.#routeMtus;
  }

  /** Bytes that a path's route is lowered to. */
  routeMtu(path: string): number | undefined {
    const mtu = this.#state.get(path)?.mtu;
    return mtu !== undefined && this.#isLower(path, mtu) ? mtu : undefined;
  }

  /** How often routes were lowered and raised since the start. */
  get counts(): { readonly lowered: number; readonly raised: number } {
    return { lowered: this.#lowered, raised: this.#raised };
  }

  /** What a daemon before this one has lowered stays so until somebody knows better. */
  adopt(found: readonly { readonly key: SubnetKey; readonly family: Family; readonly mtu: number }[]): void {
    if (found.length === 0) return;
    this.#state = adopted(this.#state, found, performance.now(), this.#parts.options);
    this.#parts.log.info({ routes: found.length }, 'routes to peers were found lowered, and stay so for now');
    this.#update();
  }

  /** There are other paths now. */
  pathsChanged(): void {
    const { paths } = this.#probing ?? {};
    if (!paths || this.#state.size === 0) return;
    this.#state = remaining(this.#state, (path) => paths.has(path));
    this.#update();
  }

  /** Something was found out about a path. */
  heard(report: PathReport): void {
    if (this.#isEnded) return;
    const path = pathKey(report.target);
    if (report.fullSize !== 'lost' && !this.#state.has(path)) return;
    this.#pending.set(path, report);
    const wait = Math.max(GATHER.atLeast, GATHER.perPath * (this.#probing?.paths.size ?? 0));
    this.#timer ??= setTimeout(() => this.#judge(), wait);
  }

  /** What an operator should look at. */
  problems(): string[] {
    const found: string[] = [];
    const low = [...this.#routeMtus];
    const [first] = low;
    if (first) {
      const rest = low.length === 1 ? '' : `, and ${low.length - 1} more`;
      found.push(
        `large packets are lost on the way to peers; lowered to what passes: the route to ${first.key} (IPv${first.family}, ${first.mtu} bytes)${rest}`,
      );
    }
    for (const { key, family, tooSmall } of this.#state.values()) {
      if (tooSmall === undefined || found.length > EXAMPLES) continue;
      found.push(
        `peer ${key}: only packets of up to ${tooSmall} bytes pass; an IPv${family} route cannot be lowered below ${LEAST[family]}: look for what is wrong on the way`,
      );
    }
    return found;
  }

  end(): void {
    this.#isEnded = true;
    clearTimeout(this.#timer);
  }

  #judge(): void {
    this.#timer = undefined;
    const reports = [...this.#pending.values()];
    this.#pending.clear();
    const { options } = this.#parts;
    const { state, changes } = heard(this.#state, reports, performance.now(), options);
    if (state === this.#state) return;
    this.#state = state;
    this.#tell(changes);
    if (changes.length > 0) this.#update();
    else this.#watch();
  }

  #watch(): void {
    const watched = new Set<string>();
    // Whoever was heard of last is last.
    for (const [path, { mtu, tooSmall }] of this.#state) {
      if (watched.size === WATCHED) break;
      if (mtu !== undefined || tooSmall !== undefined) watched.add(path);
    }
    this.#probing?.watch(watched);
  }

  /** Not when the device itself takes no more by now. */
  #isLower(path: string, mtu: number): boolean {
    const target = this.#probing?.paths.get(path)?.target;
    return target === undefined || mtu < target.mtu;
  }

  #update(): void {
    this.#watch();
    const low: RouteMtu[] = [];
    for (const [path, { key, family, mtu }] of this.#state)
      if (mtu !== undefined && this.#isLower(path, mtu)) low.push({ key, family, mtu });
    if (sameRoutes(low, this.#routeMtus)) return;
    this.#routeMtus = low;
    this.#parts.onChange();
  }

  #tell(changes: readonly MtuChange[]): void {
    const { log, note } = this.#parts;
    const happenings: Happening[] = [];
    for (const what of ['lowered', 'raised', 'tooSmall'] as const) {
      const those = changes.filter((change) => change.what === what);
      if (those.length === 0) continue;
      if (what === 'lowered') this.#lowered += those.length;
      if (what === 'raised') this.#raised += those.length;
      const examples = those
        .slice(0, EXAMPLES)
        .map(({ key, family, from, to }) => ({ key, family, from, to }));
      log[what === 'raised' ? 'info' : 'warn']({ routes: those.length, examples }, WORDS[what]);
      for (const change of those.slice(0, TOLD)) happenings.push(happening(change));
      const more = those.length - TOLD;
      if (more > 0)
        happenings.push({
          level: 'warn',
          kind: 'mtu',
          message: `${WORDS[what]} (and so with ${more} more paths)`,
          fields: { paths: more },
        });
    }
    note(...happenings);
  }
}

const WORDS: Readonly<Record<MtuChange['what'], string>> = {
  lowered: 'large packets are lost on the way to a peer: its route is lowered to what passes',
  raised: 'larger packets pass again on the way to a peer: its route is raised',
  tooSmall: 'fewer bytes pass on the way to a peer than a route can be lowered to: nothing is done',
};

const happening = ({ what, key, family, from, to }: MtuChange): Happening => ({
  level: what === 'raised' ? 'info' : 'warn',
  kind: 'mtu',
  subject: key,
  message: WORDS[what],
  fields: { family, from, to },
});

/** In whatever order. */
function sameRoutes(a: readonly RouteMtu[], b: readonly RouteMtu[]): boolean {
  if (a.length !== b.length) return false;
  const known = new Map(b.map((r) => [pathKey(r), r.mtu]));
  return a.every((r) => known.get(pathKey(r)) === r.mtu);
}
