import { type Addr, type Family, parseAddr } from '../../../net/addr.ts';
import { type Judgment, judge, type NatKind, type Packet } from '../../firewall/index.ts';
import type { Facts } from '../facts.ts';
import { lettingPortPass, ruleWords, unreadable } from '../firewallWords.ts';
import { endpoints, isHere, type Overlay, overlayOf, ownLease, peerLeases, uplinkName } from '../overlay.ts';
import { type Check, type Found, failure, info, ok, orOk, skipped, warning } from '../types.ts';

const UDP = 17;

/** A tunnelled packet and the hooks it goes through, in order. */
interface Passage {
  readonly words: string;
  readonly hooks: readonly ('prerouting' | 'input' | 'output' | 'postrouting')[];
  readonly packet: Packet;
}

/** Does something eat, or turn elsewhere, what comes in at the tunnel's port or leaves for it? */
export const tunnelFirewall: Check<Facts> = {
  id: 'tunnel-firewall',
  group: 'Firewall',
  title: "rules for the tunnel's own packets",
  look(facts) {
    if ('missing' in facts.firewall) return [skipped(facts.firewall.missing)];
    const firewall = facts.firewall.value;
    const unseen = unreadable(firewall, facts.privileged);
    if (unseen !== undefined) return [skipped(unseen)];
    const overlay = overlayOf(facts);
    if (!overlay) return [skipped('the network config is not known')];
    const { port } = overlay;
    if (port === undefined) return [ok(`the backend ${overlay.type} has no tunnel`)];
    const found: Found[] = [];
    const told = new Set<string>();
    const once = (f: Found, key: string): void => {
      if (!told.has(key)) found.push(f);
      told.add(key);
    };
    for (const passage of passages(facts, overlay, port)) {
      let { packet } = passage;
      for (const hook of passage.hooks) {
        const judgment = judge(firewall, hook, packet);
        ({ packet } = judgment);
        const { nat } = judgment;
        if (nat) once(natFound(nat, passage.words, overlay.type, port), ruleWords(nat.by));
        const by = judgment.by ?? judgment.doubts[0];
        if (by) once(verdictFound(judgment, by, passage, port), ruleWords(by));
        if (judgment.by) break;
      }
    }
    return orOk(found, `UDP port ${port} is open in both directions, as far as this host decides`);
  },
};

function verdictFound(
  judgment: Judgment,
  by: NonNullable<Judgment['by']>,
  { words, packet }: Passage,
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

function passages(facts: Facts, overlay: Overlay, port: number): Passage[] {
  const uplink = uplinkName(facts, overlay);
  return overlay.families.flatMap((family) => {
    const ours = ourAddress(facts, family, uplink);
    const known = peerLeases(facts)
      .flatMap(endpoints)
      .find((a) => a.family === family && !isHere(facts, a));
    // Without a peer, somebody next to us stands for one.
    const theirs = known ?? (ours && neighbour(ours));
    if (!ours || !theirs) return [];
    const udp = {
      family,
      proto: UDP,
      sport: 50_000,
      dport: port,
      length: 130,
      mark: 0,
      ctState: 'new',
    } as const;
    return [
      {
        words: `packets that come in at UDP port ${port}`,
        hooks: ['prerouting', 'input'] as const,
        packet: { ...udp, iif: uplink, oif: '', saddr: theirs, daddr: ours, daddrType: 'local' as const },
      },
      {
        words: `packets to UDP port ${port} of peers`,
        hooks: ['output', 'postrouting'] as const,
        packet: { ...udp, iif: '', oif: uplink, saddr: ours, daddr: theirs, saddrType: 'local' as const },
      },
    ];
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
