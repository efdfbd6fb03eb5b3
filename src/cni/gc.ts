import type { Context } from './context.ts';
import { CniError, CODE } from './errors.ts';
import { ownerText, parseOwner, type StoreEntry } from './ipam/entry.ts';
import type { LodenConfig } from './protocol/config.ts';
import type { GcRequest } from './protocol/request.ts';
import { keyOf } from './records.ts';
import { takeBack } from './release.ts';
import type { AttachmentId } from './types.ts';

/**
 * GC of type loden (spec section "GC"): of this network, remove every attachment and give back every address that is not among the
 * valid ones. As much as can be is done; then throws {@link CniError} with all that could not.
 */
export async function gc(ctx: Context, req: GcRequest, config: LodenConfig): Promise<void> {
  const valid = new Set(req.valid.map(keyOf));
  const failures: string[] = [];
  for (const { attachment: a, state } of [...ctx.records.all()]) {
    if (a.network !== req.network || valid.has(keyOf(a))) continue;
    // One that is being added is no garbage: the runtime has not been told of it.
    if (state === 'adding' && ctx.mutex.busy(keyOf(a))) continue;
    try {
      await ctx.mutex.run(keyOf(a), async () => {
        const now = ctx.records.get(a);
        if (now && now.attachment === a) await takeBack(ctx, a);
      });
      ctx.log.info({ containerId: a.containerId, ifname: a.ifname }, 'GC removed an attachment');
    } catch (error) {
      failures.push((error as Error).message);
    }
  }
  const at = { dataDir: config.dataDir, network: req.network };
  await dropEntries(ctx, at, (e) => !valid.has(keyOfOwner(e)) && !validContainer(req.valid, e)).catch(
    (error: Error) => failures.push(error.message),
  );
  if (failures.length > 0)
    throw new CniError(CODE.files, `not all garbage could be removed: ${failures.join('; ')}`);
}

/** Give back the addresses of a store that `garbage` says so of, unless an attachment has them. */
export async function dropEntries(
  ctx: Context,
  at: { readonly dataDir: string; readonly network: string },
  garbage: (entry: StoreEntry) => boolean,
): Promise<void> {
  const listed = await ctx.ipam.list(at);
  const held = new Set(
    [...ctx.records.all()]
      .filter((r) => r.attachment.network === at.network)
      .map((r) => ownerText(r.attachment)),
  );
  const dead = listed.filter((e) => !held.has(e.owner) && garbage(e));
  const freed = await ctx.ipam.drop(at, dead);
  if (freed.length === 0) return;
  ctx.log.info({ ...at, addresses: freed.length }, 'addresses without an owner are free again');
  void ctx.engine.settle().catch((err: unknown) => ctx.log.warn({ err }, 'cannot tidy the bridge'));
}

const keyOfOwner = ({ owner }: StoreEntry): string => {
  const { containerId, ifname } = parseOwner(owner);
  return keyOf({ containerId, ifname: ifname ?? '' });
};

/** An entry that names no interface is any interface's. */
const validContainer = (valid: readonly AttachmentId[], { owner }: StoreEntry): boolean => {
  const { containerId, ifname } = parseOwner(owner);
  return owner === '' || (ifname === undefined && valid.some((v) => v.containerId === containerId));
};
