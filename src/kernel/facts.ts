import { LINK_ALIAS, ROUTE_PROTOCOL } from '../contract.ts';
import { ConfigError, type Problem } from '../errors.ts';
import { type Addr, type Family, formatAddr, parseAddr, sameAddr } from '../net/addr.ts';
import { formatPrefix, type Prefix } from '../net/prefix.ts';
import { scopeOf } from '../net/scope.ts';
import type { ObservedAddress, ObservedLink } from './observed.ts';
import { onLinkOf, priority, RTN_UNICAST, type WayOut } from './onlink.ts';

/** What the operator said about the interface to use (`--iface`, `--iface-regex`, …). */
export interface UplinkWish {
  /** Names or addresses, in order. */
  readonly ifaces: readonly string[];
  readonly regexes: readonly RegExp[];
  readonly canReach: Addr | undefined;
  /** PublicIP and PublicIPv6 where they are not the interface's own. */
  readonly publicAddrs: ReadonlyMap<Family, Addr>;
}

/** What was seen of this host. */
export interface Surroundings {
  readonly links: Iterable<Pick<ObservedLink, 'ifindex' | 'name' | 'mtu' | 'alias'>>;
  readonly addresses: Iterable<Pick<ObservedAddress, 'dev' | 'addr' | 'flags'>>;
  /** Of the main table: at least default routes and on-link prefixes. */
  readonly routes: Iterable<WayOut>;
  /** Which way the kernel would send to `canReach`; undefined: it knows none. */
  readonly reach?: { readonly dev: string; readonly src?: Addr } | undefined;
}

/** What follows for the backends; with the MACs added these are their HostFacts. */
export interface UplinkFacts {
  readonly uplink: { readonly name: string; readonly mtu: number; readonly addrs: readonly Prefix[] };
  readonly localAddrs: ReadonlyMap<Family, Addr>;
  readonly publicAddrs: ReadonlyMap<Family, Addr>;
  readonly onLink: (a: Addr) => boolean;
  /** Next hops of default routes through the uplink. */
  readonly gateways: readonly Addr[];
  /** Equal for facts that mean the same: to see whether anything changed. */
  readonly fingerprint: string;
}

/** A link with its addresses, those first that serve best as the local one. */
interface Candidate {
  readonly name: string;
  readonly mtu: number;
  /** Ours or flanneld's device: never chosen but by name. */
  readonly overlay: boolean;
  readonly addrs: readonly Prefix[];
  readonly usable: ReadonlyMap<Family, readonly Addr[]>;
}

/** A candidate and the addresses asked for on it. */
interface Found {
  readonly link: Candidate;
  readonly wanted: readonly Addr[];
}

type Attempt = { readonly path: string; readonly look: () => Found | string };

/** ifa_flags (linux/if_addr.h). The lowest bit is "secondary" for IPv4 and "temporary" for IPv6: second choice both. */
const IFA_F_SECONDARY = 0x01;
const IFA_F_DADFAILED = 0x08;
const IFA_F_DEPRECATED = 0x20;
const IFA_F_TENTATIVE = 0x40;
const UNUSABLE = IFA_F_DADFAILED | IFA_F_DEPRECATED | IFA_F_TENTATIVE;

/** Interfaces named in an error message. */
const NAMED = 20;

/**
 * Choose the uplink as flannel does: the interfaces named, in order; then those that match a pattern; then the one that
 * reaches an address; if none of that is asked for, the one that has the PublicIP, else the default route's. It must
 * have an address of every family. Throws ConfigError that says what each attempt found and what there is.
 */
export function chooseUplink(wish: UplinkWish, families: readonly Family[], seen: Surroundings): UplinkFacts {
  const routes = [...seen.routes].filter((r) => r.protocol !== ROUTE_PROTOCOL);
  const links = candidates(seen);
  const problems: Problem[] = [];
  for (const { path, look } of attempts(wish, families, links, routes, seen.reach)) {
    const found = look();
    const missing = typeof found === 'string' ? found : lacking(found, families);
    if (typeof found !== 'string' && !missing) return factsOf(found, wish, families, routes);
    problems.push({
      path,
      expected: expectation(families, problems.length === 0 ? links : []),
      got: missing!,
    });
  }
  throw new ConfigError('there is no interface to use for traffic between hosts', problems);
}

function expectation(families: readonly Family[], links: readonly Candidate[]): string {
  const names = families.map((f) => `IPv${f}`).join(' and an ');
  const listed = links
    .slice(0, NAMED)
    .map((l) => `${l.name} (${l.addrs.map((p) => formatPrefix(p)).join(', ') || 'no address'})`);
  const more = links.length > NAMED ? ` and ${links.length - NAMED} more` : '';
  return `an interface with an ${names} address${listed.length > 0 ? `; there are ${listed.join(', ')}${more}` : ''}`;
}

/** Why the link cannot serve; undefined when it can. */
function lacking({ link, wanted }: Found, families: readonly Family[]): string | undefined {
  const without = families.filter((f) => localAddr(link, wanted, f) === undefined);
  return without.length > 0
    ? `${link.name} without a usable IPv${without.join(' and IPv')} address`
    : undefined;
}

const localAddr = (link: Candidate, wanted: readonly Addr[], family: Family): Addr | undefined =>
  wanted.find((a) => a.family === family) ?? link.usable.get(family)?.[0];

function candidates(seen: Surroundings): Candidate[] {
  const of = Map.groupBy(seen.addresses, (a) => a.dev);
  return [...seen.links]
    .filter((l) => l.name !== 'lo')
    .sort((a, b) => a.ifindex - b.ifindex)
    .map(({ name, mtu, alias }) => {
      const addresses = (of.get(name) ?? []).filter((a) => scopeOf(a.addr.addr) === 'global');
      const best = addresses
        .filter((a) => (a.flags & UNUSABLE) === 0)
        .sort((a, b) => (a.flags & IFA_F_SECONDARY) - (b.flags & IFA_F_SECONDARY))
        .map((a) => a.addr.addr);
      return {
        name,
        mtu,
        overlay: alias === LINK_ALIAS || name.startsWith('flannel'),
        addrs: addresses.map((a) => a.addr),
        usable: Map.groupBy(best, (a) => a.family),
      };
    });
}

function attempts(
  wish: UplinkWish,
  families: readonly Family[],
  links: readonly Candidate[],
  routes: readonly WayOut[],
  reach: Surroundings['reach'],
): Attempt[] {
  const named = wish.ifaces.map((text) => ({ path: '--iface', look: () => byName(text, links) }));
  const matched = wish.regexes.map((regex) => ({
    path: '--iface-regex',
    look: () => byRegex(regex, families, links),
  }));
  const { canReach } = wish;
  const reached = canReach
    ? [{ path: '--iface-can-reach', look: () => byReach(canReach, reach, links) }]
    : [];
  const asked = [...named, ...matched, ...reached];
  return asked.length > 0
    ? asked
    : [{ path: '--iface', look: () => byDefault(wish, families, links, routes) }];
}

function byName(text: string, links: readonly Candidate[]): Found | string {
  const a = parseAddr(text);
  if (a && scopeOf(a) !== 'global') return `${text}, which other hosts cannot reach`;
  if (a) return holder(a, links) ?? `${text}, which no interface has`;
  const link = links.find((l) => l.name === text);
  return link ? { link, wanted: [] } : `${text}, which does not exist`;
}

function holder(a: Addr, links: readonly Candidate[]): Found | undefined {
  const link = links.find((l) => l.addrs.some((p) => sameAddr(p.addr, a)));
  return link && { link, wanted: [a] };
}

/** As flannel: all interfaces by their addresses first, then all by their names. */
function byRegex(regex: RegExp, families: readonly Family[], links: readonly Candidate[]): Found | string {
  const free = links.filter((l) => !l.overlay);
  const fits = (found: Found): boolean => lacking(found, families) === undefined;
  for (const link of free) {
    const wanted = families.flatMap((f) => link.usable.get(f)?.find((a) => regex.test(formatAddr(a))) ?? []);
    if (wanted.length > 0 && fits({ link, wanted })) return { link, wanted };
  }
  const names = free.filter((l) => regex.test(l.name)).map((link) => ({ link, wanted: [] }));
  return names.find(fits) ?? names[0] ?? `nothing that matches ${regex}`;
}

function byReach(a: Addr, reach: Surroundings['reach'], links: readonly Candidate[]): Found | string {
  const link = reach && links.find((l) => l.name === reach.dev);
  if (!link) return reach ? `${formatAddr(a)} by way of ${reach.dev}` : `no route to ${formatAddr(a)}`;
  const src = reach.src && link.addrs.some((p) => sameAddr(p.addr, reach.src)) ? [reach.src] : [];
  return { link, wanted: src };
}

function byDefault(
  wish: UplinkWish,
  families: readonly Family[],
  links: readonly Candidate[],
  routes: readonly WayOut[],
): Found | string {
  for (const family of families) {
    const a = wish.publicAddrs.get(family);
    const found = a && holder(a, links);
    if (found) return found;
  }
  const ways = families.flatMap((f) => defaultRoutes(f, routes, links)[0] ?? []);
  const devs = new Set(ways.map((r) => r.dev));
  if (devs.size > 1)
    return `the default routes of the two families through ${[...devs].join(' and ')}: say which`;
  const link = links.find((l) => l.name === ways[0]?.dev);
  return link ? { link, wanted: [] } : 'no default route: say which interface to use';
}

/** Default routes of a family, best first; none through an overlay. */
const defaultRoutes = (family: Family, routes: readonly WayOut[], links: readonly Candidate[]): WayOut[] =>
  routes
    .filter((r) => r.dst.addr.family === family && r.dst.len === 0 && r.rtmType === RTN_UNICAST)
    .filter((r) => links.some((l) => l.name === r.dev && !l.overlay))
    .sort((a, b) => priority(a) - priority(b));

function factsOf(
  { link, wanted }: Found,
  wish: UplinkWish,
  families: readonly Family[],
  routes: readonly WayOut[],
): UplinkFacts {
  // A PublicIP that the interface has is also the better address to send from than its first one.
  const held = [...wish.publicAddrs.values()].filter((a) => link.addrs.some((p) => sameAddr(p.addr, a)));
  const localAddrs = new Map(families.map((f) => [f, localAddr(link, [...wanted, ...held], f)!]));
  const publicAddrs = new Map(families.map((f) => [f, wish.publicAddrs.get(f) ?? localAddrs.get(f)!]));
  const gateways = routes
    .filter((r) => r.dst.len === 0 && r.dev === link.name)
    .flatMap((r) => (r.via && scopeOf(r.via) === 'global' ? [r.via] : []));
  const uplink = { name: link.name, mtu: link.mtu, addrs: link.addrs };
  const words = [
    `${link.name} mtu ${link.mtu}`,
    ...link.addrs.map((p) => formatPrefix(p)),
    ...[...localAddrs.values(), ...publicAddrs.values(), ...gateways].map((a) => formatAddr(a)),
    ...routes
      .filter((r) => !r.via || r.dst.len === 0)
      .map((r) => `${formatPrefix(r.dst)} ${r.dev} ${r.via ? formatAddr(r.via) : '-'} ${priority(r)}`)
      .sort(),
  ];
  return {
    uplink,
    localAddrs,
    publicAddrs,
    onLink: onLinkOf(link.name, routes),
    gateways,
    fingerprint: words.join('\n'),
  };
}
