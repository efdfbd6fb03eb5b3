import type { Addr } from '../net/addr.ts';
import type { Context } from './context.ts';
import { fileOf, ownerText } from './ipam/entry.ts';
import type { AttachmentRecord } from './records.ts';
import type { Attachment } from './types.ts';

/** Milliseconds that a file's time may lie before ours: the kernel takes it from its last tick. */
const TICK = 50;

/**
 * Undo an attachment: kernel, addresses, record, in this order, so that who is killed in between finds what is left to do,
 * and no address is free while a pod has it. Idempotent. Throws CniError; the record stays then.
 */
export async function takeBack(ctx: Context, a: Attachment): Promise<void> {
  await ctx.engine.remove(a);
  if (ctx.step) await ctx.step('detached');
  await forget(ctx, a);
}

/** The part of it that is not the kernel's. */
export async function forget(ctx: Context, a: Attachment): Promise<void> {
  // Exactly this interface's: what an old host-local noted for the container alone may be another interface's.
  await ctx.ipam.release(a, a, true);
  ctx.ipam.disown(a.addresses.map(({ address }) => address.addr));
  if (ctx.step) await ctx.step('released');
  ctx.records.remove(a);
  void ctx.engine.settle().catch((err: unknown) => ctx.log.warn({ err }, 'cannot tidy the bridge'));
}

/**
 * Undo an ADD that has made nothing in the kernel: these addresses, the record. What is there of its interface may be a living pod's, attached by
 * another plugin or by a daemon whose state is lost, which is why the ADD was refused. Throws CniError; the record stays then.
 */
export async function giveBack(ctx: Context, begun: Attachment, addresses: readonly Addr[]): Promise<void> {
  const owner = ownerText(begun);
  const entries = addresses.map((address) => ({ address, owner, name: fileOf(address), mtimeMs: 0 }));
  await ctx.ipam.drop(begun, entries);
  ctx.records.remove(begun);
}

/**
 * Undo an ADD of which nothing is known but that it was begun. Had its interface an address by then, it was to be refused, and nothing
 * but what was noted since is its own. Throws CniError; the record stays then.
 */
export async function rollBack(ctx: Context, { attachment: a, since }: AttachmentRecord): Promise<void> {
  const owner = ownerText(a);
  const entries = (await ctx.ipam.list(a)).filter((e) => e.owner === owner);
  const own = entries.filter((e) => e.mtimeMs >= since - TICK);
  if (own.length === entries.length) return await takeBack(ctx, a);
  await ctx.ipam.drop(a, own);
  ctx.records.remove(a);
}
