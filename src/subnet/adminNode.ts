import { LodenError, UsageError } from '../errors.ts';
import { show } from '../fields.ts';
import { formatAddr, parseAddr, sameAddr } from '../net/addr.ts';
import { whose } from './lifeTurn.ts';
import type { Lease, LeaseAttrs, LeaseSnapshot, NodeId } from './types.ts';
import { isNodeId } from './value.ts';

/** The state of things does not allow it. */
export class Refusal extends LodenError {}

/** Somebody a subnet may be reserved for. */
export interface Owner {
  readonly node: NodeId | undefined;
  readonly endpoints: LeaseAttrs['endpoints'];
  /** All that it has now. */
  readonly leases: readonly Lease[];
}

/** Least digits by which a node id may be named. */
const LEAST_DIGITS = 4;

/** A node by its id, the beginning of one, or a PublicIP; an address that no lease names is a node yet to come. Throws Refusal. */
export function findNode({ leases }: Pick<LeaseSnapshot, 'leases'>, text: string): Owner {
  const all = [...leases.values()];
  const addr = parseAddr(text);
  if (addr) {
    const there = all.filter((l) => sameAddr(l.endpoints.get(addr.family), addr));
    const ids = new Set(there.map((l) => l.node));
    if (ids.size > 1)
      throw new Refusal(
        `several nodes have the PublicIP ${formatAddr(addr)}: ${there.map(whose).join('; ')}; name one by its id`,
      );
    const [first] = there;
    if (first) return { node: first.node, endpoints: first.endpoints, leases: there };
    return { node: undefined, endpoints: new Map([[addr.family, addr]]), leases: [] };
  }
  if (!/^[0-9a-f]+$/.test(text) || text.length > 32)
    throw new UsageError(`${show(text)} is neither a node id, nor the beginning of one, nor an IP address`);
  if (text.length < LEAST_DIGITS)
    throw new UsageError(
      `${show(text)} is too short: name a node by ${LEAST_DIGITS} digits of its id or more`,
    );
  const there = all.filter((l) => l.node?.startsWith(text));
  const ids = [...new Set(there.map((l) => l.node))];
  if (ids.length > 1)
    throw new Refusal(`several node ids begin with ${text}: ${ids.slice(0, 5).join(', ')}; give more digits`);
  const [first] = there;
  if (first) return { node: first.node, endpoints: first.endpoints, leases: there };
  const what = isNodeId(text) ? `has the node id ${text}` : `has a node id that begins with ${text}`;
  throw new Refusal(`no lease ${what}, so its PublicIP is not known: name the node by its PublicIP`);
}
