import { FORWARD_COMMENT } from '../contract.ts';
import { formatPrefix, network, type Prefix } from '../net/prefix.ts';
import { parseRule, type SavedRule, type SavedTable } from './iptablesSave.ts';

/*
 * Where our two rules stand in `filter FORWARD`: as the last word before the blanket refusal.
 *
 * What refuses everything is the chain's policy (Docker sets it to DROP) or a rule without any match (`-j REJECT` at the
 * end, as RHEL's iptables-services has it). Nobody meant it for the overlay, and it is the only thing we overrule:
 * so our rules stand right before such a rule, or else at the end. All that decides about particular packets
 * comes before them and keeps its say: DOCKER-USER, Docker's isolation of networks, kube-proxy, network policies
 * (Calico, kube-router) and every drop of the administrator. At the top we would silently switch all of that off.
 */

/** The rules for one family's overlay, as `iptables-save` prints them after `-A FORWARD `. */
export function forwardRules(net: Prefix): readonly [string, string] {
  const p = formatPrefix(network(net));
  const rule = (direction: '-s' | '-d') =>
    `${direction} ${p} -m comment --comment "${FORWARD_COMMENT}" -j ACCEPT`;
  return [rule('-s'), rule('-d')];
}

const isOurs = (r: SavedRule): boolean => r.comment === FORWARD_COMMENT;

/** What follows this rule is not reached by any packet. */
const ends = (r: SavedRule): boolean =>
  r.blanket && (r.goto || ['DROP', 'REJECT', 'RETURN', 'ACCEPT'].includes(r.target ?? ''));

/**
 * The input of `iptables-restore -n` that makes the FORWARD chain hold our rules for `net` exactly once at their place, or
 * none for undefined. Undefined when it does already. One transaction: no packet sees the chain without them.
 */
export function forwardChanges(filter: SavedTable, net: Prefix | undefined): string | undefined {
  const rules = filter.get('FORWARD')?.rules ?? [];
  const wanted = net ? forwardRules(net).map(parseRule) : [];
  const ours = rules.filter(isOurs);
  const others = rules.filter((r) => !isOurs(r));
  const stop = rules.findIndex(ends);
  const reached = stop < 0 ? rules : rules.slice(0, stop);
  const same = (a: SavedRule, b: SavedRule) => a.args.join('\0') === b.args.join('\0');
  const right = wanted.every((w) => reached.some((r) => same(r, w)));
  if (right && ours.length === wanted.length) return undefined;

  const place = others.findIndex(ends);
  const put = wanted.map((w, i) =>
    place < 0 ? `-A FORWARD ${w.text}` : `-I FORWARD ${place + 1 + i} ${w.text}`,
  );
  return transaction('filter', [...ours.map((r) => `-D FORWARD ${r.text}`), ...put]);
}

/** Input of `iptables-restore -n` for one table. */
export const transaction = (table: string, lines: readonly string[]): string =>
  `*${table}\n${lines.join('\n')}\nCOMMIT\n`;
