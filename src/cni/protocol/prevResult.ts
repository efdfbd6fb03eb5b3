import { formatAddr, sameAddr } from '../../net/addr.ts';
import { formatPrefix, samePrefix } from '../../net/prefix.ts';
import type { Attachment } from '../types.ts';
import { type CniResult, type ResultInterface, resultOf } from './result.ts';

/** The result of a chain so far with ours appended; our indices of interfaces are shifted. */
export function mergeResults(before: CniResult, ours: CniResult): CniResult {
  const shift = before.interfaces.length;
  return {
    interfaces: [...before.interfaces, ...ours.interfaces],
    ips: [
      ...before.ips,
      ...ours.ips.map((ip) => (ip.interface === undefined ? ip : { ...ip, interface: ip.interface + shift })),
    ],
    routes: [...before.routes, ...ours.routes],
    dns: Object.keys(ours.dns).length > 0 ? ours.dns : before.dns,
  };
}

/** Of the container's interface in a result of a chain: its place, or -1. */
const placeOf = (prev: CniResult, a: Attachment): number =>
  prev.interfaces.findIndex((i) => i.name === a.ifname && i.sandbox !== undefined);

/**
 * What a prevResult says otherwise than the attachment, in words; nothing when they agree. Plugins behind us may have added
 * interfaces, addresses and routes of their own, and may have changed the MAC: see {@link macIn}.
 */
export function differences(prev: CniResult, a: Attachment): string[] {
  const ours = resultOf(a);
  const out: string[] = [];
  const place = placeOf(prev, a);
  const pod = prev.interfaces[place];
  if (!pod) return [`prevResult has no interface ${a.ifname} in a container`];
  if (pod.sandbox !== a.netns) out.push(`${a.ifname} is in ${a.netns}, and in ${pod.sandbox} for prevResult`);
  for (const i of ours.interfaces) {
    if (i.sandbox === undefined && !prev.interfaces.some((p) => p.name === i.name && p.sandbox === undefined))
      out.push(`prevResult has no interface ${i.name} on the host`);
  }
  const theirs = prev.ips.filter((ip) => ip.interface === undefined || ip.interface === place);
  for (const ip of ours.ips) {
    const same = theirs.find((t) => samePrefix(t.address, ip.address));
    const where = `${formatPrefix(ip.address)} on ${a.ifname}`;
    if (!same) out.push(`prevResult has no address ${where}`);
    else if (!sameAddr(same.gateway, ip.gateway)) {
      const said = same.gateway ? formatAddr(same.gateway) : 'none';
      out.push(`the gateway of ${where} is ${formatAddr(ip.gateway!)}, and ${said} for prevResult`);
    }
  }
  for (const t of theirs) {
    if (t.interface === place && !ours.ips.some((ip) => samePrefix(t.address, ip.address)))
      out.push(`prevResult has ${formatPrefix(t.address)} on ${a.ifname}, which it was not given`);
  }
  for (const { dst } of ours.routes)
    if (!prev.routes.some((r) => samePrefix(r.dst, dst)))
      out.push(`prevResult has no route to ${formatPrefix(dst)}`);
  return out;
}

/** The MAC the container's interface is to have: a plugin behind us (tuning) may have changed it. */
export const macIn = (prev: CniResult, a: Attachment): ResultInterface['mac'] =>
  prev.interfaces[placeOf(prev, a)]?.mac;
