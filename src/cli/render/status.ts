import type { PathHealth, ProbesJson, StatusJson } from '../../api/shapes.ts';
import { duration } from '../../duration.ts';
import { printable } from '../../text.ts';
import type { Paint } from '../paint.ts';
import { count } from '../render.ts';
import { fieldRows } from './leases.ts';

type Row = readonly [string, string];
type Offload = ProbesJson['checksumOffload'];

/** What `loden status` shows; `offload` undefined: the daemon does not tell. */
export interface Status {
  readonly status: StatusJson;
  readonly offload: Offload | undefined;
}

/** `loden status`: whether all is well, and what is not. */
export function renderStatus({ status, offload }: Status, paint: Paint, now: Date): string {
  const rows: Row[] = [
    [
      'ready',
      status.ready
        ? paint.good('yes')
        : paint.bad(`no: ${printable(status.reason ?? 'it does not say why')}`),
    ],
    ['daemon', daemonWords(status, now)],
    ['lease', leaseWords(status, paint)],
    ['network', networkWords(status)],
    ['uplink', uplinkWords(status)],
    ['peers', peerWords(status, paint)],
    ['etcd', storeWords(status, paint)],
    ...kernelRows(status, paint),
    ...offloadRows(offload, paint),
    ...podRows(status, paint),
    ...list('problem', status.problems.map(printable), paint.warn),
  ];
  return fieldRows(rows, paint);
}

/** Several values under one name. */
const list = (name: string, values: readonly string[], as: (text: string) => string): Row[] =>
  values.length === 0 ? [] : [[values.length === 1 ? name : plural(name), values.map(as).join('\n')]];

const plural = (name: string): string => (name === 'stale address' ? 'stale addresses' : `${name}s`);

function daemonWords({ version, pid, node, startedAt }: StatusJson, now: Date): string {
  const started = Date.parse(startedAt);
  const up = Number.isNaN(started) ? '' : `, up ${duration((now.getTime() - started) / 1000)}`;
  return `loden ${printable(version)}, pid ${pid}${up}, node ${printable(node)}`;
}

function leaseWords({ lease }: StatusJson, paint: Paint): string {
  const subnets = printable(lease.lease?.subnets.join(', ') ?? '');
  const why = lease.reason === null ? '' : `: ${printable(lease.reason)}`;
  if (lease.state === 'held') {
    const left = lease.lease?.reservation
      ? ', a reservation'
      : lease.secondsLeft === null
        ? ''
        : `, ${duration(lease.secondsLeft)} left`;
    return `${paint.good(subnets)}${left}`;
  }
  if (lease.state === 'fenced') return `${subnets}, ${paint.bad('fenced')}${why}`;
  return `${paint.warn('waiting')}${why}`;
}

function networkWords({ network, mtu }: StatusJson): string {
  if (!network) return '-';
  const ranges = [network.IPv4, network.IPv6].filter((r) => r !== null).map(printable);
  const backend = `backend ${printable(network.backend)}`;
  return [ranges.join(' and '), backend, ...(mtu === null ? [] : [`MTU ${mtu}`])].join(', ');
}

function uplinkWords({ uplink }: StatusJson): string {
  if (!uplink) return '-';
  const known = [uplink.publicIP, uplink.publicIPv6].filter((a) => a !== null).map(printable);
  return [printable(uplink.name), ...known, `MTU ${uplink.mtu}`].join(', ');
}

const HEALTHS: readonly (readonly [PathHealth, keyof Paint])[] = [
  ['unreachable', 'bad'],
  ['lossy', 'warn'],
  ['unprobed', 'faint'],
];

function peerWords({ peers, paths, setAside }: StatusJson, paint: Paint): string {
  const parts = [
    `${paths.reachable} of ${peers} reachable`,
    ...HEALTHS.filter(([health]) => paths[health] > 0).map(([health, as]) =>
      paint[as](`${paths[health]} ${health}`),
    ),
    ...(paths.lowered > 0 ? [paint.warn(`${paths.lowered} with a lowered route MTU`)] : []),
    ...(setAside > 0 ? [paint.warn(`${count(setAside, 'key')} set aside`)] : []),
  ];
  return parts.join(', ');
}

const storeWords = ({ store }: StatusJson, paint: Paint): string =>
  store.connected
    ? `connected, revision ${printable(store.revision ?? '-')}`
    : paint.bad(printable(store.error ?? 'not connected'));

function kernelRows({ kernel }: StatusJson, paint: Paint): Row[] {
  const kinds = Object.entries(kernel.objects).filter(([, o]) => o.desired > 0 || o.failing > 0);
  const sum = (of: 'desired' | 'inSync'): number => kinds.reduce((n, [, o]) => n + o[of], 0);
  const each = kinds.map(([kind, o]) => `${printable(kind)} ${o.inSync}/${o.desired}`).join(', ');
  const [inSync, desired] = [sum('inSync'), sum('desired')];
  const words = `${inSync} of ${desired} in sync`;
  const repairs = Object.entries(kernel.repairs).filter(([, n]) => n > 0);
  return [
    ['objects', `${inSync === desired ? paint.good(words) : paint.warn(words)}${each ? ` (${each})` : ''}`],
    ...list(
      'failing',
      kernel.failing.map(({ object, error }) => `${printable(object)}: ${printable(error)}`),
      paint.bad,
    ).map(([, text]): Row => ['failing', text]),
    ...list(
      'conflict',
      kernel.conflicts.map((c) => `${printable(c.object)}: ${printable(c.with)} is in the way`),
      paint.bad,
    ),
    ['repairs', repairs.map(([kind, n]) => `${n} ${printable(kind)}`).join(', ') || 'none since the start'],
  ];
}

function offloadRows(offload: Offload | undefined, paint: Paint): Row[] {
  if (!offload) return [];
  const why = offload.reason === null ? '' : `: ${printable(offload.reason)}`;
  const words = `tx of ${printable(offload.device)} is ${offload.state}${why}`;
  return [['checksums', offload.state === 'off' ? paint.warn(words) : words]];
}

function podRows({ cni }: StatusJson, paint: Paint): Row[] {
  if (cni.attachments === 0 && cni.queued === 0 && cni.stale.length === 0) return [];
  const queued = cni.queued > 0 ? [paint.warn(`${count(cni.queued, 'DEL')} waiting`)] : [];
  return [
    ['pods', [`${cni.attachments} attached`, ...queued].join(', ')],
    ...list('stale address', cni.stale.map(printable), paint.warn),
  ];
}
