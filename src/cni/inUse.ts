import { containsAddr, network, type Prefix, samePrefix } from '../net/prefix.ts';
import type { Context } from './context.ts';

/**
 * Do pods hold addresses of this prefix? Of an attachment counts the subnet that it got its address with; of a file in a store,
 * which knows no subnet, whether it is in the prefix and in none of the node's present subnets.
 */
export function inUse(ctx: Pick<Context, 'records' | 'ipam' | 'node'>, subnet: Prefix): boolean {
  const wanted = network(subnet);
  const dirs = new Set<string>();
  for (const { attachment: a } of ctx.records.all()) {
    dirs.add(a.dataDir);
    if (a.addresses.some(({ address }) => samePrefix(network(address), wanted))) return true;
  }
  const state = ctx.node();
  const present = state.ready ? state.network.subnets.map((s) => s.subnet) : [];
  return ctx.ipam.holds(dirs, (a) => containsAddr(wanted, a) && !present.some((p) => containsAddr(p, a)));
}
