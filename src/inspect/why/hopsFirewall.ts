import { NFT_TABLE } from '../../contract.ts';
import { formatAddr } from '../../net/addr.ts';
import type { NatKind, RuleRef } from '../firewall/index.ts';
import { knownValue } from '../world.ts';
import type { Expected } from './expect.ts';
import { broken, ok, unknown, warning } from './hop.ts';
import { inward, outerPassages, outward, type Passage } from './passages.ts';
import type { Seen } from './seen.ts';
import type { Hop } from './types.ts';

/** Hops about the rules of firewalls on this host. Pure. */

const show = (ref: RuleRef | undefined): string => (ref ? `${ref.where}: ${ref.text}` : 'some rule');

const FIREWALL = 'each rule of nftables and iptables on the way can drop the packet or its answer';

/** The packet and its answer through this host's hooks. */
export function firewallHop(seen: Seen): Hop {
  return judged(seen, 'firewall', [...outward(seen), ...inward(seen)], FIREWALL);
}

function judged(
  seen: Seen,
  hop: 'firewall' | 'tunnel port',
  list: readonly Passage[],
  why: string,
  hint = '',
): Hop {
  const stopped = list.find((p) => p.judgment.verdict === 'drop' || p.judgment.verdict === 'reject');
  const hooks = [...new Set(list.map((p) => p.hook))].join(', ');
  if (stopped) {
    const { what, hook, judgment } = stopped;
    const verb = judgment.verdict === 'reject' ? 'rejects' : 'drops';
    return broken(hop, {
      found: `${hook}: ${show(judgment.by)}`,
      expected: `accepted at ${hooks}`,
      why,
      cause: `a firewall rule on this host ${verb} ${what} at the ${hook} hook: ${show(judgment.by)}`,
      fix: `allow it in that chain, before that rule${hint}`,
    });
  }
  const { gaps } = seen.firewall;
  if (gaps.length > 0) {
    return unknown(hop, { found: `not all rules could be read: ${gaps.slice(0, 2).join('; ')}`, why });
  }
  const doubts = list.flatMap((p) => p.judgment.doubts.map((d) => `${p.hook}: ${show(d)}`));
  if (doubts.length > 0) {
    return unknown(hop, {
      found: `it depends on what cannot be told here: ${doubts.slice(0, 2).join('; ')}`,
      expected: `accepted at ${hooks}`,
      why,
    });
  }
  return ok(hop, { found: `accepted at ${hooks}`, why });
}

const TRANSLATION = "inside the overlay pods should see each other's own addresses";

/** Would the packet leave with other addresses? */
export function translationHop(seen: Seen): Hop {
  const found = outward(seen).find((p) => p.judgment.nat !== undefined);
  if (!found) return ok('translation', { found: 'none', why: TRANSLATION });
  const { nat } = found.judgment;
  const by = show(nat!.by);
  const what = nat!.kind === 'dnat' || nat!.kind === 'redirect' ? 'destination' : 'source';
  const rest = { found: `${found.hook}: ${by}`, expected: 'no translation', why: TRANSLATION };
  const fix = nat!.by.where.includes(` ${NFT_TABLE},`)
    ? "this is loden's own rule, which should not match here: report it"
    : "exempt the overlay's network in that chain, before that rule";
  const cause = `a rule changes its ${what} address (${nat!.kind}): ${by}`;
  // A host's own packets have the tunnel's address anyhow.
  if (!nat!.sure || (seen.packet.iif === '' && what === 'source'))
    return nat!.sure
      ? warning('translation', { ...rest, cause, fix })
      : unknown('translation', { ...rest, found: `perhaps, ${rest.found}` });
  return broken('translation', { ...rest, cause, fix });
}

const PORT = "outer packets are UDP, and pass the host's own input and output rules";

/** Outer packets: out to the peer's port, and in from the peer to ours. */
export function tunnelPortHop(seen: Seen, expected: Expected): Hop {
  const { endpoint, port } = expected.outer!;
  const { out, into } = outerPassages(seen, expected);
  const list = [...out, ...into];
  const hop = judged(seen, 'tunnel port', list, PORT, ` (UDP port ${port}, ${formatAddr(endpoint)})`);
  if (hop.state === 'broken') return hop;
  const translated = translatedOuter(list, port);
  // What is sure to go elsewhere is worse than what cannot be told.
  if (translated && (translated.state === 'broken' || hop.state === 'ok')) return translated;
  const status = knownValue(seen.world.status);
  return hop.state === 'ok'
    ? { ...hop, found: `UDP port ${port}: ${hop.found}${status?.uplink ? ` on ${status.uplink.name}` : ''}` }
    : hop;
}

const isElsewhere = (kind: NatKind): boolean => kind === 'dnat' || kind === 'redirect';

/** Is an address or port of outer packets changed? One destination that is tells more than a source. */
function translatedOuter(list: readonly Passage[], port: number): Hop | undefined {
  const all = list.flatMap((p) => (p.judgment.nat ? [{ ...p, nat: p.judgment.nat }] : []));
  const found = all.find((p) => p.nat.sure && isElsewhere(p.nat.kind)) ?? all[0];
  if (!found) return undefined;
  const { what, hook, nat } = found;
  const by = show(nat.by);
  const rest = { found: `${hook}: ${by}`, expected: "no translation of the tunnel's packets", why: PORT };
  if (!nat.sure) return unknown('tunnel port', { ...rest, found: `perhaps translated, ${rest.found}` });
  const cause = `a rule on this host ${isElsewhere(nat.kind) ? 'sends' : 'gives'} ${what} ${isElsewhere(nat.kind) ? 'elsewhere' : 'another source'} (${nat.kind}) at the ${hook} hook: ${by}`;
  const fix = `exempt UDP port ${port} in that chain, before that rule`;
  // The kernel's VXLAN does not look at the source.
  return (isElsewhere(nat.kind) ? broken : warning)('tunnel port', { ...rest, cause, fix });
}
