import { type Addr, formatAddr } from '../net/addr.ts';
import { formatPrefix } from '../net/prefix.ts';
import { addressMac, hostIfName, hostMac } from './attach/names.ts';
import { openNetns } from './attach/netns.ts';
import type { Context } from './context.ts';
import { CniError, CODE } from './errors.ts';
import { inUse } from './inUse.ts';
import { type AddressRange, rangeOf } from './ipam/choose.ts';
import type { Reservation } from './ipam/store.ts';
import { podMtu } from './mtu.ts';
import type { LodenConfig } from './protocol/config.ts';
import { ownNetns } from './protocol/failure.ts';
import { mergeResults } from './protocol/prevResult.ts';
import type { AddRequest } from './protocol/request.ts';
import { formatResult, resultOf } from './protocol/result.ts';
import { keyOf } from './records.ts';
import { giveBack, rollBack, takeBack } from './release.ts';
import { sweepDead } from './sweep.ts';
import type { Attachment, NodeNetwork } from './types.ts';

/** The node's network now. Throws {@link CniError} 11 with the reason when there is none. */
export function nodeNetwork({ node }: Pick<Context, 'node'>): NodeNetwork {
  const state = node();
  if (state.ready) return state.network;
  throw new CniError(CODE.tryAgainLater, `pods cannot be given addresses now: ${state.reason}`);
}

/**
 * ADD of type loden: note what is begun, take addresses, make the kernel's objects, note that it is done. What fails is taken
 * back; what is killed is taken back at the next start. Throws {@link CniError}.
 */
export function add(ctx: Context, req: AddRequest, config: LodenConfig): Promise<unknown> {
  return ctx.mutex.run(keyOf(req), async () => {
    const network = nodeNetwork(ctx);
    await refuseSecond(ctx, req);
    const begun = blank(req, config, network);
    const ranges = network.subnets.map(({ subnet }) => rangeOf(subnet));
    // The namespace opens while the addresses are chosen.
    const opening = openNetns(req.netns, 'ADD');
    opening.catch(() => {});
    let addresses: readonly Addr[] = [];
    let made: Attachment | undefined;
    try {
      ctx.records.begin(begun);
      if (ctx.step) await ctx.step('begun');
      addresses = await reserve(ctx, begun, { owner: begun, ranges, requested: req.asked.ips });
      if (ctx.step) await ctx.step('reserved');
      const attachment = complete(begun, req, ranges, addresses);
      using netns = await opening;
      if (netns.id === req.forbiddenNetns) throw ownNetns();
      const { bridgeMac } = await ctx.engine.add(attachment, network, (subnet) => inUse(ctx, subnet), netns);
      made = attachment;
      if (ctx.step) await ctx.step('attached');
      ctx.records.attached(attachment);
      if (ctx.step) await ctx.step('recorded');
      const ours = resultOf(attachment, { bridgeMac, dns: config.dns });
      return formatResult(req.version, req.prevResult ? mergeResults(req.prevResult, ours) : ours);
    } catch (error) {
      // Idempotent; nothing to be closed when it never opened.
      await opening.then((netns) => netns[Symbol.dispose]()).catch(() => {});
      await (made ? takeBack(ctx, made) : giveBack(ctx, begun, addresses)).catch((err: unknown) =>
        ctx.log.error(
          { err, containerId: begun.containerId, ifname: begun.ifname },
          'cannot take back an attachment that failed; it is tried again at the next ADD or DEL of it, and at the next start',
        ),
      );
      throw error;
    }
  });
}

/** Where there is no address, that of a pod may be one that ended without a DEL of ours. Throws {@link CniError}. */
async function reserve(ctx: Context, begun: Attachment, what: Reservation): Promise<readonly Addr[]> {
  try {
    return await ctx.ipam.reserve(begun, what);
  } catch (error) {
    const isTaken =
      error instanceof CniError && (error.code === CODE.usedUp || error.code === CODE.addressTaken);
    if (!isTaken || !(await sweepDead(ctx))) throw error;
    return await ctx.ipam.reserve(begun, what);
  }
}

/** An interface is added once; what an ADD could not take back is taken back first. */
async function refuseSecond(ctx: Context, req: AddRequest): Promise<void> {
  const there = ctx.records.get(req);
  if (!there) return;
  if (there.state === 'adding') return await rollBack(ctx, there);
  const { network, addresses } = there.attachment;
  const has = addresses.map(({ address }) => formatPrefix(address)).join(' and ');
  throw new CniError(
    CODE.invalidEnvironment,
    `interface ${req.ifname} of container ${req.containerId} is attached already, to network ${network} with ${has}: delete it first`,
  );
}

/** What is known before there are addresses. */
function blank(req: AddRequest, config: LodenConfig, network: NodeNetwork): Attachment {
  const mac = hostMac(req);
  return {
    containerId: req.containerId,
    ifname: req.ifname,
    network: req.network,
    netns: req.netns,
    mode: config.mode,
    ...(config.mode === 'bridge' ? { bridge: config.bridge } : {}),
    hostIf: hostIfName(req),
    hostMac: mac,
    mac,
    mtu: podMtu(config.mtu, network),
    hairpin: config.hairpin,
    addresses: [],
    routes: config.routes,
    dataDir: config.dataDir,
  };
}

const complete = (
  begun: Attachment,
  { asked }: AddRequest,
  ranges: readonly AddressRange[],
  addresses: readonly Addr[],
): Attachment => ({
  ...begun,
  mac: asked.mac ?? addressMac(addresses),
  addresses: addresses.map((addr, at) => {
    const range = ranges[at];
    if (!range) throw new CniError(CODE.internal, `there is no range for ${formatAddr(addr)}`);
    return { address: { addr, len: range.subnet.len }, gateway: range.gateway };
  }),
});
