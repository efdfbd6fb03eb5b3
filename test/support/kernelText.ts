import type { Netns } from './netns.ts';

type Row = Readonly<Record<string, unknown>>;

/** What the kernel of a namespace holds, as iproute2 tells it; one process for all of it. */
export interface KernelDump {
  readonly links: readonly Row[];
  readonly addresses: readonly Row[];
  readonly neighs: readonly Row[];
  readonly fdb: readonly Row[];
  readonly routes: readonly Row[];
  /** All nft tables, those of iptables included; without counters. */
  readonly nft: string;
}

const LISTINGS = [
  'ip -d -j link show',
  'ip -j addr show',
  'ip -j neigh show',
  'bridge -d -j fdb show',
  'ip -d -j -4 route show table all',
  'ip -d -j -6 route show table all',
];
const SEPARATOR = '=====';
const SCRIPT = [...LISTINGS, 'nft -s list ruleset'].join(` && echo ${SEPARATOR} && `);

/** List everything. */
export async function dump(netns: Netns): Promise<KernelDump> {
  const texts = (await netns.run(['sh', '-c', SCRIPT])).split(`${SEPARATOR}\n`);
  const rows = texts.slice(0, LISTINGS.length).map((text) => JSON.parse(text.trim() || '[]') as Row[]);
  const [links, addresses, neighs, fdb, routes4, routes6] = rows as [
    Row[],
    Row[],
    Row[],
    Row[],
    Row[],
    Row[],
  ];
  return { links, addresses, neighs, fdb, routes: [...routes4, ...routes6], nft: texts.at(-1)! };
}

/** Devices that Loden's backends make. */
const isOverlay = (device: unknown): boolean => String(device).startsWith('flannel');

const text = (value: unknown): string => (typeof value === 'object' ? JSON.stringify(value) : String(value));
/** `name value` for what a row has, `name` for what is null. */
const words = (row: Row, ...names: string[]): string =>
  names
    .filter((name) => row[name] !== undefined && row[name] !== '')
    .map((name) => (row[name] === null ? name : `${name} ${text(row[name])}`))
    .join(' ');

const isUp = (link: Row): boolean => (link.flags as string[]).includes('UP');

function linkLine(link: Row): string {
  const info = link.linkinfo as { info_kind: string; info_data?: Row };
  const options = Object.keys(info.info_data ?? {});
  const data = words(info.info_data ?? {}, ...options);
  const queue = info.info_kind === 'tun' ? ` ${words(link, 'txqlen')}` : '';
  return `link ${link.ifname} ${isUp(link) ? 'up' : 'down'} ${words(link, 'mtu', 'address', 'ifalias')}${queue} ${info.info_kind} ${data}`;
}

const addressLines = (link: Row): string[] =>
  (link.addr_info as Row[])
    .filter((a) => a.scope === 'global')
    .map((a) => `address ${a.local}/${a.prefixlen} dev ${link.ifname}`);

const prefixText = (dst: unknown): string =>
  /[/]|^default$/.test(String(dst)) ? String(dst) : `${dst}/${String(dst).includes(':') ? 128 : 32}`;

/**
 * The overlay in the kernel: its devices with all that stands on them, and all routes but the kernel's own and the
 * default, in `ip`'s words, one a line; sorted, so that two texts are equal when the states are.
 */
export function overlayText(d: KernelDump): string {
  const lines = [
    ...d.links.filter((l) => isOverlay(l.ifname)).map(linkLine),
    ...d.addresses.filter((l) => isOverlay(l.ifname)).flatMap(addressLines),
    ...d.neighs
      .filter((n) => isOverlay(n.dev))
      .map((n) => `neigh ${n.dst} ${words(n, 'dev', 'lladdr', 'state')}`),
    ...d.fdb
      .filter((f) => isOverlay(f.ifname))
      .map((f) => `fdb ${f.mac} dev ${f.ifname} ${words(f, 'dst', 'flags', 'state')}`),
    ...d.routes
      .filter((r) => r.protocol !== 'kernel' && r.dst !== 'default' && r.type !== 'multicast')
      .map(
        (r) =>
          `route ${r.type} ${prefixText(r.dst)} ${words(r, 'gateway', 'dev', 'protocol', 'metric', 'metrics', 'flags')}`,
      ),
  ];
  return `${lines.sort().join('\n')}\n`;
}

/** Fields that differ between two objects that are the same. */
const VOLATILE = /^(ifindex|operstate|.*_life_time|tentative|.*_timer|topology_change.*)$/;
const stable = (kind: string, row: Row): string =>
  `${kind} ${JSON.stringify(row, (key, value) => (VOLATILE.test(key) ? undefined : value))}`;

/** What a neighbour or FDB entry is unless somebody put it there by hand. */
const isLearned = (row: Row): boolean =>
  !['PERMANENT', 'NOARP', 'permanent', 'static'].includes([row.state].flat()[0] as string);

/** All that is in the kernel and does not stand on an overlay device, one line for each object, whole. */
export function foreignText(d: KernelDump): string {
  const isForeign = (row: Row): boolean => !isOverlay(row.ifname) && !isOverlay(row.dev);
  const lines = [
    ...d.links.filter(isForeign).map((l) => stable('link', l)),
    ...d.addresses.filter(isForeign).map((l) => stable('address', l)),
    ...d.neighs.filter((n) => isForeign(n) && !isLearned(n)).map((n) => stable('neigh', n)),
    ...d.fdb.filter((f) => isForeign(f) && !isLearned(f)).map((f) => stable('fdb', f)),
    ...d.routes.filter(isForeign).map((r) => stable('route', r)),
  ];
  return `${lines.sort().join('\n')}\n${d.nft}`;
}
