import type { Addr, Family } from '../../../net/addr.ts';
import { bits } from '../../../net/addr.ts';
import { formatPrefix, offset, type Prefix } from '../../../net/prefix.ts';
import { type Judgment, judge, type Packet } from '../../firewall/index.ts';
import type { Facts } from '../facts.ts';
import { verdict, withRules } from '../firewallCheck.ts';
import { lettingPass, ruleWords } from '../firewallWords.ts';
import { linkNamed, type Overlay, ownLease, subnetOf, uplinkName } from '../overlay.ts';
import { concerned, limitOf, type Sample, sampleOfPeers } from '../peerSample.ts';
import { type Check, type Found, failure, info } from '../types.ts';

const TCP = 6;

/** What pods send to pods of other nodes, and what comes back. */
interface Way {
  readonly words: string;
  readonly packet: Packet;
  readonly net: Prefix;
  /** Key of its lease. */
  readonly peer: string;
}

/** Would the firewall drop packets that are passed on between pods and other nodes? */
export const forwardDrop: Check<Facts> = {
  id: 'forward-drop',
  group: 'Firewall',
  title: 'rules for forwarded packets',
  look: (facts) =>
    withRules(facts, (firewall, overlay) => {
      const sample = sampleOfPeers(facts);
      const found = new Map<string, { readonly of: (to: string) => Found; readonly peers: Set<string> }>();
      for (const { words, packet, net, peer } of ways(facts, overlay, sample)) {
        const judgment = judge(firewall, 'forward', packet);
        const by = judgment.by ?? judgment.doubts[0];
        if (!by) continue;
        // Of a rule that stops both ways the first says enough.
        const known = found.get(ruleWords(by));
        known?.peers.add(peer);
        if (known) continue;
        const of = (to: string): Found =>
          isRefusal(judgment)
            ? failure(
                by.where,
                `packets ${words}${to} are ${judgment.verdict === 'drop' ? 'dropped' : 'rejected'} by ${ruleWords(by)}`,
                fixFor(facts, by.where, net),
              )
            : info(
                by.where,
                `whether ${ruleWords(by)} lets packets ${words}${to} pass cannot be told from here`,
              );
        found.set(ruleWords(by), { of, peers: new Set([peer]) });
      }
      return verdict(
        [...found.values()].map(({ of, peers }) => of(concerned(peers, sample))),
        firewall,
        `packets between pods and other nodes are let pass${limitOf(sample)}`,
      );
    }),
};

const isRefusal = ({ verdict }: Judgment): boolean => verdict === 'drop' || verdict === 'reject';

function ways(facts: Facts, overlay: Overlay, sample: Sample): Way[] {
  const own = ownLease(facts);
  const uplink = uplinkName(facts, overlay);
  const bridge = ['cni0', 'docker0'].find((d) => linkNamed(facts, d)) ?? 'cni0';
  return overlay.families.flatMap((family) => {
    const net = overlay.networks.find((n) => n.addr.family === family)!;
    const device =
      overlay.devices.find((d) => overlay.devices.length === 1 || d.includes('-v6') === (family === 6)) ??
      uplink;
    const here = podIn(subnetOf(own, family) ?? net, family, 2n);
    const tcp = { family, proto: TCP, sport: 40_000, dport: 80, length: 60, mark: 0 } as const;
    const peers = sample.peers.flatMap((lease) => {
      const subnet = subnetOf(lease, family);
      return subnet ? [{ key: lease.key, subnet }] : [];
    });
    // Without a peer, an address of the network stands for one.
    return (peers.length > 0 ? peers : [{ key: '', subnet: net }]).flatMap(({ key: peer, subnet }): Way[] => {
      const there = podIn(subnet, family, 3n);
      const out: Packet = { ...tcp, iif: bridge, oif: device, saddr: here, daddr: there, ctState: 'new' };
      const back: Packet = { ...tcp, iif: device, oif: bridge, saddr: there, daddr: here, ctState: 'new' };
      return [
        { words: 'from pods here to pods of other nodes', packet: out, net, peer },
        { words: 'from pods of other nodes to pods here', packet: back, net, peer },
      ];
    });
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
