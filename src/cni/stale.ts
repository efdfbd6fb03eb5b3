import { containsAddr, formatPrefix } from '../net/prefix.ts';
import type { Context } from './context.ts';
import type { Attachment, NodeNetwork } from './types.ts';

/** Pods named in a message. */
const NAMED = 10;

/** Attachments with an address of a subnet that this node no longer has: their peers send elsewhere. */
export function staleAttachments(ctx: Pick<Context, 'records' | 'node'>): readonly Attachment[] {
  const state = ctx.node();
  if (!state.ready) return [];
  return [...ctx.records.all()]
    .filter((r) => r.state === 'attached' && isStale(r.attachment, state.network))
    .map((r) => r.attachment);
}

const isStale = (a: Attachment, { subnets }: NodeNetwork): boolean =>
  a.addresses.some(({ address }) => !subnets.some(({ subnet }) => containsAddr(subnet, address.addr)));

/** A stale attachment in one word: container, interface and addresses. */
export const staleName = (a: Attachment): string =>
  `${a.containerId}/${a.ifname} (${a.addresses.map(({ address }) => formatPrefix(address)).join(', ')})`;

/** What an operator is told of them; undefined when there are none. */
export function staleWarning(stale: readonly Attachment[]): string | undefined {
  if (stale.length === 0) return undefined;
  const names = stale.slice(0, NAMED).map(staleName).join(', ');
  const more = stale.length > NAMED ? ` and ${stale.length - NAMED} more` : '';
  return (
    `${stale.length} pod${stale.length === 1 ? ' has an address' : 's have addresses'} of a subnet that is another node's now, ` +
    `and cannot be reached from other nodes: recreate ${names}${more}`
  );
}
