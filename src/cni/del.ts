import { hostIfName, hostMac } from './attach/names.ts';
import type { Context } from './context.ts';
import { ownerText } from './ipam/entry.ts';
import { netnsId } from './netnsId.ts';
import type { LodenConfig } from './protocol/config.ts';
import { ownNetns } from './protocol/failure.ts';
import type { DelRequest } from './protocol/request.ts';
import { keyOf } from './records.ts';
import { takeBack } from './release.ts';

/**
 * DEL of type loden. Idempotent: of what is not there nothing is to be removed. `queuedAt` (milliseconds since the epoch): when it was asked
 * for while no daemon ran; it is not for what was added later. Throws CniError.
 */
export function del(ctx: Context, req: DelRequest, config: LodenConfig, queuedAt?: number): Promise<void> {
  return ctx.mutex.run(keyOf(req), async () => {
    await refuseOwnNetns(req);
    const record = ctx.records.get(req);
    if (record?.attachment.network === req.network) {
      if (queuedAt === undefined || record.since <= queuedAt) await takeBack(ctx, record.attachment);
      return;
    }
    // Attached by flannel's chain, by a daemon whose state is lost, or not at all.
    await ctx.engine.remove({ hostIf: hostIfName(req), hostMac: hostMac(req) });
    const at = { dataDir: config.dataDir, network: req.network };
    // An interface of another network is another attachment.
    if (!record && req.netns !== undefined)
      await removeInside(ctx, req, req.netns, at, queuedAt !== undefined);
    await ctx.ipam.release(at, req, false);
    void ctx.engine.settle().catch((err: unknown) => ctx.log.warn({ err }, 'cannot tidy the bridge'));
  });
}

/**
 * Before its address is free, the interface goes that has it, as with the plugins that made it. By a DEL that has waited only if it has an
 * address that is noted for it: the path of a namespace may be another's by now.
 */
async function removeInside(
  ctx: Context,
  req: DelRequest,
  netns: string,
  at: { readonly dataDir: string; readonly network: string },
  isOld: boolean,
): Promise<void> {
  const { containerId, ifname } = req;
  const owner = ownerText(req);
  const having = isOld
    ? (await ctx.ipam.list(at)).filter((e) => e.owner === owner).map((e) => e.address)
    : undefined;
  if (having?.length === 0) return;
  if (await ctx.engine.removeInside({ netns, ifname, forbidden: req.forbiddenNetns, having }))
    ctx.log.info({ containerId, ifname }, 'removed an interface that another plugin has made');
}

/** As libcni: the namespace of the plugin itself is no container's. Throws CniError 8. */
async function refuseOwnNetns({ netns, forbiddenNetns }: DelRequest): Promise<void> {
  if (netns === undefined || forbiddenNetns === undefined) return;
  if ((await netnsId(netns)) === forbiddenNetns) throw ownNetns();
}
