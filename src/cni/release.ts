import type { Context } from './context.ts';
import type { Attachment } from './types.ts';

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
