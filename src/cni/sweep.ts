import { CNI } from '../contract.ts';
import { containsAddr, type Prefix } from '../net/prefix.ts';
import { readSmall, writeAtomically } from '../subnet/files.ts';
import type { Context } from './context.ts';
import { dropEntries } from './gc.ts';
import { keyOf } from './records.ts';
import { forget, rollBack } from './release.ts';

/** What a start finds of the life before it, and what becomes of that. */

/** The kernel's name for this boot (random(4)). */
const BOOT_ID = '/proc/sys/kernel/random/boot_id';
/** Milliseconds that clocks may be wrong: the time of the boot follows from today's clock, a file's from that of its day. */
const MARGIN = 60_000;

/** The files that tell of this boot; tests have their own. */
export interface Boot {
  readonly id: string;
  /** Milliseconds since the epoch. */
  readonly since: number;
}

/** This boot. `upMs`: milliseconds since it. `since` is by the clock of the moment, which may be put right after the start. */
export async function thisBoot(upMs: () => number): Promise<Boot> {
  const id = ((await readSmall(BOOT_ID)) ?? '').trim();
  return {
    id,
    get since() {
      return Date.now() - upMs();
    },
  };
}

/** What was remembered of an earlier start: its boot, and the directories of address stores that were in use. */
export interface Remembered {
  readonly id: string;
  /** Of that boot, milliseconds since the epoch; undefined where it was not noted. */
  readonly since: number | undefined;
  readonly dataDirs: readonly string[];
}

/** Undefined when nothing is, or nothing that can be read. */
export async function recallBoot(file: string): Promise<Remembered | undefined> {
  const [first, ...dataDirs] = ((await readSmall(file).catch(() => undefined)) ?? '')
    .split('\n')
    .filter((l) => l !== '');
  const [id, since] = first?.split(' ') ?? [];
  if (id === undefined) return undefined;
  return { id, since: since !== undefined && /^\d{1,15}$/.test(since) ? Number(since) : undefined, dataDirs };
}

/** Throws LodenError. */
export const rememberBoot = (file: string, { id, since = 0, dataDirs }: Remembered): Promise<void> =>
  writeAtomically(
    file,
    `${[`${id} ${Math.max(0, Math.round(since))}`, ...dataDirs].join('\n')}\n`,
    0o600,
    0o700,
  );

/** Take back ADDs that were never answered, and give back what the kernel has lost: pods that died with their namespaces, or with a boot. True: of all. */
export async function sweepRecords(ctx: Context): Promise<boolean> {
  let all = true;
  const records = [...ctx.records.all()];
  const ends = await ctx.engine.hostEnds();
  for (const record of records) {
    const { attachment: a, state } = record;
    const whose = { containerId: a.containerId, ifname: a.ifname, network: a.network };
    await ctx.mutex
      .run(keyOf(a), async () => {
        // Meanwhile it may have been deleted or added again.
        if (ctx.records.get(a) !== record) return;
        if (state === 'adding') {
          await rollBack(ctx, record);
          ctx.log.info(whose, 'took back an attachment that was never finished');
        } else if (!ends.has(a.hostIf)) {
          await forget(ctx, a);
          ctx.log.info(whose, 'the pod is gone: its addresses are free again');
        }
      })
      .catch((err: unknown) => {
        all = false;
        ctx.log.error({ err, ...whose }, 'cannot clean up an attachment; it is tried again');
      });
  }
  return all;
}

const underWay = new WeakMap<Context, Promise<boolean>>();

/**
 * Give back what the kernel has lost, while calls are under way: what one of them works on is left to it. All who ask meanwhile get
 * the same look. False: it could not be looked at all.
 */
export function sweepDead(ctx: Context): Promise<boolean> {
  const there = underWay.get(ctx);
  if (there) return there;
  const look = forgetDead(ctx)
    .then(
      () => true,
      (err: unknown) => {
        ctx.log.warn({ err }, 'cannot look which pods are gone');
        return false;
      },
    )
    .finally(() => underWay.delete(ctx));
  underWay.set(ctx, look);
  return look;
}

async function forgetDead(ctx: Context): Promise<void> {
  // Of what is attached before the look, the host's end must be seen.
  const records = [...ctx.records.all()].filter((r) => r.state === 'attached');
  const ends = await ctx.engine.hostEnds();
  for (const record of records) {
    const { attachment: a } = record;
    if (ends.has(a.hostIf) || ctx.mutex.busy(keyOf(a)) || ctx.records.get(a) !== record) continue;
    const whose = { containerId: a.containerId, ifname: a.ifname };
    await ctx.mutex
      .run(keyOf(a), () => forget(ctx, a))
      .then(
        () => ctx.log.info(whose, 'the pod is gone: its addresses are free again'),
        (err: unknown) => ctx.log.error({ err, ...whose }, 'cannot free the addresses of a pod that is gone'),
      );
  }
}

/** Between two moments, milliseconds since the epoch. */
export interface Span {
  readonly from: number;
  readonly to: number;
}

/**
 * After a reboot no pod is left of the boot before: give back the node's addresses that are noted in files of that boot, in every network's
 * store in these directories and the usual one. A file that is older still was written by a clock that was wrong, and perhaps in this boot.
 * True: in all of them.
 */
export async function sweepStores(
  ctx: Context,
  { from, to }: Span,
  overlay: readonly Prefix[],
  dataDirs: Iterable<string>,
): Promise<boolean> {
  let all = true;
  for (const dataDir of new Set([CNI.dataDir, ...dataDirs])) {
    for (const network of await ctx.ipam.networks(dataDir)) {
      const isOld = (ms: number) => ms >= from - MARGIN && ms < to - MARGIN;
      await dropEntries(
        ctx,
        { dataDir, network },
        (e) => isOld(e.mtimeMs) && overlay.some((p) => containsAddr(p, e.address)),
      ).catch((err: unknown) => {
        all = false;
        ctx.log.warn({ err, dataDir, network }, 'cannot sweep an address store; it is tried again');
      });
    }
  }
  return all;
}
