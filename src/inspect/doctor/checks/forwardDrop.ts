import type { Addr, Family } from '../../../net/addr.ts';
import { bits } from '../../../net/addr.ts';
import { formatPrefix, offset, type Prefix } from '../../../net/prefix.ts';
import { type Judgment, judge, type Packet } from '../../firewall/index.ts';
import type { Facts } from '../facts.ts';
import { lettingPass, ruleWords, unreadable } from '../firewallWords.ts';
import {
  linkNamed,
  type Overlay,
  overlayOf,
  ownLease,
  peerLeases,
  subnetOf,
  uplinkName,
} from '../overlay.ts';
import { type Check, type Found, failure, info, orOk, skipped } from '../types.ts';

const TCP = 6;

/** What pods send to pods of other nodes, and what comes back. */
interface Way {
  readonly words: string;
  readonly packet: Packet;
  readonly net: Prefix;
}

/** Would the firewall drop packets that are passed on between pods and other nodes? */
export const forwardDrop: Check<Facts> = {
  id: 'forward-drop',
  group: 'Firewall',
  title: 'rules for forwarded packets',
  look(facts) {
    if ('missing' in facts.firewall) return [skipped(facts.firewall.missing)];
    const firewall = facts.firewall.value;
    const unseen = unreadable(firewall, facts.privileged);
    if (unseen !== undefined) return [skipped(unseen)];
    const overlay = overlayOf(facts);
    if (!overlay) return [skipped('the network config is not known')];
    const found: Found[] = [];
    const told = new Set<string>();
    for (const { words, packet, net } of ways(facts, overlay)) {
      const judgment = judge(firewall, 'forward', packet);
      const by = judgment.by ?? judgment.doubts[0];
      if (!by || told.has(`${by.where} ${by.text}`)) continue;
      told.add(`${by.where} ${by.text}`);
      if (isRefusal(judgment))
        found.push(
          failure(
            by.where,
            `packets ${words} are ${judgment.verdict === 'drop' ? 'dropped' : 'rejected'} by ${ruleWords(by)}`,
            fixFor(facts, by.where, net),
          ),
        );
      else
        found.push(
          info(by.where, `whether ${ruleWords(by)} lets packets ${words} pass cannot be told from here`),
        );
    }
    for (const gap of firewall.gaps)
      found.push(info(null, `not all rules could be read: ${gap.replace(/\s*\n\s*/g, '; ')}`));
    return orOk(found, 'packets between pods and other nodes are let pass');
  },
};

const isRefusal = ({ verdict }: Judgment): boolean => verdict === 'drop' || verdict === 'reject';

function ways(facts: Facts, overlay: Overlay): Way[] {
  const own = ownLease(facts);
  const uplink = uplinkName(facts, overlay);
  const bridge = ['cni0', 'docker0'].find((d) => linkNamed(facts, d)) ?? 'cni0';
  return overlay.families.flatMap((family) => {
    const net = overlay.networks.find((n) => n.addr.family === family)!;
    const device =
      overlay.devices.find((d) => overlay.devices.length === 1 || d.includes('-v6') === (family === 6)) ??
      uplink;
    const peer = peerLeases(facts)
      .map((l) => subnetOf(l, family))
      .find((p) => p !== undefined);
    const [here, there] = [podIn(subnetOf(own, family) ?? net, family, 2n), podIn(peer ?? net, family, 3n)];
    const tcp = { family, proto: TCP, sport: 40_000, dport: 80, length: 60, mark: 0 } as const;
    const out: Packet = { ...tcp, iif: bridge, oif: device, saddr: here, daddr: there, ctState: 'new' };
    const back: Packet = { ...tcp, iif: device, oif: bridge, saddr: there, daddr: here, ctState: 'new' };
    return [
      { words: 'from pods here to pods of other nodes', packet: out, net },
      { words: 'from pods of other nodes to pods here', packet: back, net },
    ];
  });
}

/** An address that a pod might have. */
const podIn = (p: Prefix, family: Family, n: bigint): Addr =>
  p.len <= bits(family) - 3 ? offset(p.addr, n) : p.addr;

function fixFor(facts: Facts, where: string, net: Prefix): string {
  const isIptables = /\bFORWARD\b/.test(where);
  if (isIptables && facts.world.daemon.state !== 'running')
    return `start loden: it puts its rules there; or by hand: ${lettingPass(where, net)}`;
  if (isIptables && !facts.options.forwardRules)
    return `give the daemon --iptables-forward-rules=true; or by hand: ${lettingPass(where, net)}`;
  return `let ${formatPrefix(net)} pass before it: ${lettingPass(where, net)}`;
}
