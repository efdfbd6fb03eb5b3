import { formatAddr } from '../net/addr.ts';
import { formatPrefix } from '../net/prefix.ts';
import type { Conflict } from './conflict.ts';
import type { Blocked, Step } from './diff.ts';
import type { LinkChange } from './link.ts';
import type { ObservedLink } from './observed.ts';
import { IPV6_METRIC } from './route.ts';
import { fdbKey, type ObservedState } from './state.ts';
import { type KernelObject, keyOf, type Link, type Route } from './types.ts';

/** What is not as it should be, in the words of `ip`: for a person who asks what is wrong with a pod. */
export function difference(item: Step | Blocked | Conflict, state: ObservedState): string {
  const object = item.object as KernelObject;
  switch (item.kind) {
    case 'blocked':
      return `${objectWords(object)} is missing${object.kind === 'link' && item.dev === object.name ? '' : `: there is no device ${item.dev} for it`}`;
    case 'conflict':
      return `${objectWords(object)} is missing: in its place is ${item.with}`;
    case 'step':
      return stepWords(item, object, state);
  }
}

/** An object as `ip` would be told to make it. */
function objectWords(o: KernelObject): string {
  switch (o.kind) {
    case 'link':
      return `link ${o.name}`;
    case 'address':
      return `address ${formatPrefix(o.addr)} dev ${o.dev}`;
    case 'neigh':
      return `neigh ${formatAddr(o.addr)} lladdr ${o.mac} dev ${o.dev}`;
    case 'fdb':
      return `fdb ${o.mac} dev ${o.dev} dst ${formatAddr(o.dst)}`;
    case 'route':
      return routeWords(o);
    case 'sysctl':
      return `sysctl ${o.path} = ${o.value}`;
  }
}

function routeWords({ type, dst, via, dev, onlink, metric, mtu }: Route): string {
  const isMetricTold = metric !== undefined && !(dst.addr.family === 6 && metric === IPV6_METRIC);
  return [
    'route',
    ...(type === 'unicast' ? [] : [type]),
    dst.len === 0 ? 'default' : formatPrefix(dst),
    ...(via ? ['via', formatAddr(via)] : []),
    ...(dev === undefined ? [] : ['dev', dev]),
    ...(isMetricTold ? ['metric', metric] : []),
    ...(mtu === undefined ? [] : ['mtu', mtu]),
    ...(onlink ? ['onlink'] : []),
  ].join(' ');
}

function stepWords({ ops }: Step, o: KernelObject, state: ObservedState): string {
  const missing = `${objectWords(o)} is missing`;
  switch (o.kind) {
    case 'link': {
      const there = state.link(o.name);
      if (!there) return missing;
      const op = ops.at(-1)!;
      return op.verb === 'change'
        ? `link ${o.name} ${changeWords(o, there, op.change, state).join(', ')}`
        : `link ${o.name} is another (type ${there.type ?? 'hardware'}) than it should be`;
    }
    case 'neigh': {
      const other = state.neighs(o.dev).get(keyOf(o))?.[0];
      return other
        ? `neigh ${formatAddr(o.addr)} dev ${o.dev} has lladdr ${other.mac} instead of ${o.mac}`
        : missing;
    }
    case 'fdb': {
      const others = state.fdb(o.dev).get(fdbKey(o)) ?? [];
      if (others.length === 0) return missing;
      return `${missing}: there is dst ${others.map(({ dst }) => (dst ? formatAddr(dst) : 'none')).join(', ')}`;
    }
    case 'address':
      return ops.length > 1 ? `${missing}: there is the same with another prefix length, or unused` : missing;
    case 'route': {
      const others = state.routesAt(keyOf(o));
      return others.length === 0 ? missing : `${missing}: there is ${others.map(routeWords).join(' and ')}`;
    }
    case 'sysctl': {
      const { value } = state.sysctl(o.path);
      return value === undefined
        ? `sysctl ${o.path} is not there, instead of ${o.value}`
        : `sysctl ${o.path} is ${value} instead of ${o.value}`;
    }
  }
}

function changeWords(o: Link, there: ObservedLink, change: LinkChange, state: ObservedState): string[] {
  const words: string[] = [];
  if (change.mtu) words.push(`has MTU ${there.mtu} instead of ${o.mtu}`);
  if (change.mac) words.push(`has MAC ${there.mac ?? 'none'} instead of ${o.mac}`);
  if (change.up) words.push(o.up ? 'is down' : 'is up');
  if (change.alias) words.push(`has alias ${quoted(there.alias)} instead of ${quoted(o.alias)}`);
  if (change.master) words.push(masterWords(o.veth?.master, there.master, state));
  if (change.hairpin && !change.master) words.push(`has hairpin ${there.hairpin ? 'on' : 'off'}`);
  if (change.vxlan) words.push('has another source address, underlay device or learning');
  if (change.txChecksum) words.push(o.vxlan && o.txChecksum ? 'fills in no checksums' : 'fills in checksums');
  if (change.txqlen) words.push(`has txqlen ${there.tun?.txqlen} instead of ${o.tun?.txqlen}`);
  return words;
}

const quoted = (alias: string | undefined): string => (alias ? JSON.stringify(alias) : 'none');

function masterWords(wanted: string | undefined, there: number | undefined, state: ObservedState): string {
  if (there === undefined) return `is no port of ${wanted}`;
  const other = state.linkAt(there)?.name ?? `device ${there}`;
  return wanted === undefined ? `is a port of ${other}` : `is a port of ${other} instead of ${wanted}`;
}
