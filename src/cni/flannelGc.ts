import type { Context } from './context.ts';
import { CniError, CODE } from './errors.ts';
import { delegateError } from './flannel/delegate.ts';
import { listScratch, removeScratch, type Scratch } from './flannel/scratch.ts';
import { ask, delegates, isUnderWay } from './flannelCalls.ts';
import { netnsId } from './netnsId.ts';
import type { FlannelConfig } from './protocol/config.ts';
import type { GcRequest } from './protocol/request.ts';
import { keyOf } from './records.ts';
import type { Delegate, DelegateOutcome, PluginAnswer } from './types.ts';

/** Delegates of one call, over all its rounds, as in the plugin (cni/delegates.h). */
const MOST = 64;
/** Delegates that may fail: each costs a round of the eight that the plugin makes. */
const MOST_FAILED = 6;
/** Calls that are remembered, and delegates that have failed. */
const [MOST_CALLS, MOST_TROUBLE] = [64, 10_000];
/** Milliseconds after which a call is given up: the plugin was killed. */
const LONGEST_CALL = 600_000;

interface Asked {
  readonly at: number;
  readonly list: readonly Scratch[];
  /** How many outcomes have been looked at. */
  done: number;
}

/** GCs of type flannel: what each has asked for so far, by the call, for a call names no round and what is kept changes meanwhile. */
export class FlannelGc {
  readonly #asked = new Map<string, Asked>();
  /** Those whose DEL has failed come last the next time, so that they do not stand in the way of the others for ever. */
  readonly #trouble = new Set<string>();

  /**
   * GC: the DEL of each attachment that is not valid. What has succeeded is forgotten as soon as that is known, so that the next GC goes on where
   * this one comes to an end. Throws CniError with what could not be done.
   */
  async run(
    ctx: Context,
    call: string,
    req: GcRequest,
    config: FlannelConfig,
    delegated: readonly DelegateOutcome[],
  ): Promise<PluginAnswer> {
    const asked = delegated.length > 0 ? this.#asked.get(call) : await this.#begin(ctx, call, req, config);
    if (!asked)
      throw new CniError(
        CODE.tryAgainLater,
        'it is not known any more what this GC has asked its delegates for, as the daemon has been restarted or another GC was ' +
          'faster: ask again',
      );
    for (; asked.done < delegated.length; asked.done++) {
      const scratch = asked.list[asked.done];
      if (scratch) await this.#note(ctx, scratch, delegated[asked.done]!);
    }
    const rest = asked.list.slice(delegated.length);
    const failed = delegated.flatMap((d, i) => (d.exit === 0 ? [] : [i]));
    const room = failed.length < MOST_FAILED ? MOST - delegated.length : 0;
    if (rest.length > 0 && room > 0)
      return delegates(...(await Promise.all(rest.slice(0, room).map(deletion))));
    this.#asked.delete(call);
    const [first] = failed;
    const error =
      first === undefined
        ? undefined
        : delegateError(asked.list[first]?.config.type ?? 'the delegate', 'DEL', delegated[first]!);
    if (rest.length > 0)
      throw new CniError(
        CODE.tryAgainLater,
        `${rest.length} more attachments remain, for the next GC${error ? `; ${error.message}` : ''}`,
      );
    if (error) throw error;
    return { kind: 'done' };
  }

  /** The same call, made twice at once, works on the same list: outcomes are told by their place in it. */
  async #begin(ctx: Context, call: string, req: GcRequest, config: FlannelConfig): Promise<Asked> {
    const valid = new Set(req.valid.map(keyOf));
    const found = (await listScratch(config.dataDir, req.network)).filter(
      (s) => s.id && !valid.has(keyOf(s.id)) && !isUnderWay(ctx, s),
    );
    const now = performance.now();
    const same = this.#asked.get(call);
    if (same && now - same.at < LONGEST_CALL) return same;
    const [trouble, others] = [true, false].map((is) =>
      found.filter((s) => this.#trouble.has(s.path) === is),
    );
    const asked = { at: now, list: [...others!, ...trouble!], done: 0 };
    this.#asked.delete(call);
    this.#asked.set(call, asked);
    for (const oldest of this.#asked.keys()) if (this.#asked.size > MOST_CALLS) this.#asked.delete(oldest);
    return asked;
  }

  async #note(ctx: Context, scratch: Scratch, { exit }: DelegateOutcome): Promise<void> {
    if (exit !== 0) {
      if (this.#trouble.size < MOST_TROUBLE) this.#trouble.add(scratch.path);
      return;
    }
    this.#trouble.delete(scratch.path);
    await ctx.mutex.run(keyOf(scratch.id!), () => removeScratch(scratch));
  }
}

/** In the namespace that it was added in, if that is still there: the veth goes with the address. */
async function deletion({ config, id, netns }: Scratch): Promise<Delegate> {
  const { env, ...asked } = ask('DEL', config, id);
  const isThere = netns !== undefined && (await netnsId(netns.path)) === netns.id;
  return { ...asked, env: isThere ? { ...env, CNI_NETNS: netns.path } : env };
}
