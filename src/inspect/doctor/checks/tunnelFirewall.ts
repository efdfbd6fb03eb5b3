import { type Addr, type Family, parseAddr } from '../../../net/addr.ts';
import { type Judgment, judge, type NatKind, type Packet } from '../../firewall/index.ts';
import { endpointsOf } from '../../ownHost.ts';
import type { Facts } from '../facts.ts';
import { verdict, withRules } from '../firewallCheck.ts';
import { lettingPortPass, ruleWords } from '../firewallWords.ts';
import { isHere, type Overlay, ownLease, uplinkName } from '../overlay.ts';
import { concerned, limitOf, type Sample, sampleOfPeers } from '../peerSample.ts';
import { type Check, type Found, failure, info, ok, warning } from '../types.ts';

const UDP = 17;

/** A tunnelled packet and the hooks it goes through, in order. */
interface Passage {
  /** Key of the peer's lease. */
  readonly peer: string;
  readonly words: string;
  readonly hooks: readonly ('prerouting' | 'input' | 'output' | 'postrouting')[];
  readonly packet: Packet;
}

/** Does something eat, or turn elsewhere, what comes in at the tunnel's port or leaves for it? */
export const tunnelFirewall: Check<Facts> = {
  id: 'tunnel-firewall',
  group: 'Firewall',
  title: "rules for the tunnel's own packets",
  look: (facts) =>
    withRules(facts, (firewall, overlay) => {
      const { port } = overlay;
      if (port === undefined) return [ok(`the backend ${overlay.type} has no tunnel`)];
      const sample = sampleOfPeers(facts);
      const found = new Map<string, { readonly of: (to: string) => Found; readonly peers: Set<string> }>();
      const note = (key: string, peer: string, of: (to: string) => Found): void => {
        const known = found.get(key);
        if (known) known.peers.add(peer);
        else found.set(key, { of, peers: new Set([peer]) });
      };
      for (const passage of passages(facts, overlay, port, sample)) {
        let { packet } = passage;
        for (const hook of passage.hooks) {
          const judgment = judge(firewall, hook, packet);
          ({ packet } = judgment);
          const { nat } = judgment;
          const { peer, words } = passage;
          if (nat) note(ruleWords(nat.by), peer, (to) => natFound(nat, words + to, overlay.type, port));
          const by = judgment.by ?? judgment.doubts[0];
          if (by)
            note(ruleWords(by), peer, (to) => verdictFound(judgment, by, words + to, passage.packet, port));
          if (judgment.by) break;
        }
      }
      return verdict(
        [...found.values()].map(({ of, peers }) => of(concerned(peers, sample))),
        firewall,
        `UDP port ${port} is open in both directions, as far as this host decides${limitOf(sample)}`,
      );
    }),
};

function verdictFound(
  judgment: Judgment,
  by: NonNullable<Judgment['by']>,
  words: string,
  packet: Packet,
  port: number,
): Found {
  if (!judgment.by)
    return info(by.where, `whether ${ruleWords(by)} lets ${words} pass cannot be told from here`);
  return failure(
    by.where,
    `${words} are ${judgment.verdict === 'drop' ? 'dropped' : 'rejected'} by ${ruleWords(by)}`,
    lettingPortPass(by.where, packet.family, port),
  );
}

const REDIRECTS: ReadonlySet<NatKind> = new Set(['dnat', 'redirect']);

function natFound(
  { kind, by, sure }: NonNullable<Judgment['nat']>,
  words: string,
  type: string,
  port: number,
): Found {
  const fix = `take the tunnel out of it: put "udp dport ${port} return" (iptables: -p udp --dport ${port} -j RETURN) before that rule`;
  const what = REDIRECTS.has(kind) ? 'sent elsewhere' : 'given another source';
  if (!sure) return info(by.where, `${words} may be ${what} (${kind}) by ${ruleWords(by)}`);
  const cause = `${words} are ${what} (${kind}) by ${ruleWords(by)}`;
  // The kernel's VXLAN does not look at the source; the udp backend knows peers by it.
  return (REDIRECTS.has(kind) || type === 'udp' ? failure : warning)(by.where, cause, fix);
}

function passages(facts: Facts, overlay: Overlay, port: number, sample: Sample): Passage[] {
  const uplink = uplinkName(facts, overlay);
  return overlay.families.flatMap((family) => {
    const ours = ourAddress(facts, family, uplink);
    if (!ours) return [];
    const known = sample.peers.flatMap((lease) =>
      endpointsOf(lease)
        .filter((a) => a.family === family && !isHere(facts, a))
        .map((theirs) => ({ peer: lease.key, theirs })),
    );
    const udp = {
      family,
      proto: UDP,
      sport: 50_000,
      dport: port,
      length: 130,
      mark: 0,
      ctState: 'new',
    } as const;
    // Without a peer, somebody next to us stands for one.
    return (known.length > 0 ? known : [{ peer: '', theirs: neighbour(ours) }]).flatMap(
      ({ peer, theirs }): Passage[] => [
        {
          peer,
          words: `packets that come in at UDP port ${port}`,
          hooks: ['prerouting', 'input'],
          packet: { ...udp, iif: uplink, oif: '', saddr: theirs, daddr: ours, daddrType: 'local' },
        },
        {
          peer,
          words: `packets to UDP port ${port} of peers`,
          hooks: ['output', 'postrouting'],
          packet: { ...udp, iif: '', oif: uplink, saddr: ours, daddr: theirs, saddrType: 'local' },
        },
      ],
    );
  });
}

const neighbour = (a: Addr): Addr => ({ family: a.family, value: a.value ^ 1n });

/** By which peers reach us: the lease's, else the uplink's. */
function ourAddress(facts: Facts, family: Family, uplink: string | undefined): Addr | undefined {
  const own = ownLease(facts);
  const told = own && (family === 4 ? own.publicIP : own.publicIPv6);
  if (told) return parseAddr(told);
  const addresses = 'value' in facts.addresses ? facts.addresses.value : [];
  return addresses.find((a) => a.dev === uplink && a.scope === 0 && a.addr.addr.family === family)?.addr.addr;
}
