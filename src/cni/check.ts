import { formatAddr } from '../net/addr.ts';
import { parseMac } from '../net/mac.ts';
import { network } from '../net/prefix.ts';
import type { Context } from './context.ts';
import { CniError, CODE } from './errors.ts';
import { inUse } from './inUse.ts';
import { ownerText } from './ipam/entry.ts';
import { differences, macIn } from './protocol/prevResult.ts';
import type { CheckRequest } from './protocol/request.ts';
import { keyOf } from './records.ts';
import type { Attachment, NodeNetwork } from './types.ts';

/** CHECK of type loden: is all as ADD has made it? Throws {@link CniError} 104 with all that differs. */
export function check(ctx: Context, req: CheckRequest): Promise<void> {
  return ctx.mutex.run(keyOf(req), async () => {
    const record = ctx.records.get(req);
    const a = record?.attachment;
    if (!a || record.state !== 'attached' || a.network !== req.network) {
      throw new CniError(
        CODE.unknownContainer,
        `interface ${req.ifname} of container ${req.containerId} is not attached to network ${req.network} by this daemon`,
      );
    }
    const found = [
      ...differences(req.prevResult, a),
      ...(await ctx.engine.check(
        { ...a, mac: parseMac(macIn(req.prevResult, a) ?? '') ?? a.mac },
        nodeOf(ctx, a),
        (p) => inUse(ctx, p),
      )),
      ...(await unreserved(ctx, a)),
    ];
    if (found.length === 0) return;
    throw new CniError(
      CODE.differs,
      `interface ${a.ifname} of container ${a.containerId} is not as it was made: ${found.join('; ')}; recreate the pod`,
    );
  });
}

/** Addresses that the store does not keep for the attachment. */
async function unreserved(ctx: Context, a: Attachment): Promise<string[]> {
  const owner = ownerText(a);
  const kept = new Set(
    (await ctx.ipam.list(a)).filter((e) => e.owner === owner).map((e) => formatAddr(e.address)),
  );
  return a.addresses
    .map(({ address }) => formatAddr(address.addr))
    .filter((text) => !kept.has(text))
    .map((text) => `${text} is not reserved for it in ${a.dataDir}/${a.network}`);
}

/** The node's network; without one, that of the attachment itself. */
function nodeOf({ node }: Context, a: Attachment): NodeNetwork {
  const state = node();
  if (state.ready) return state.network;
  const subnets = a.addresses.map(({ address }) => network(address));
  return { subnets: subnets.map((subnet) => ({ subnet, network: subnet })), mtu: a.mtu, ipMasq: false };
}
