import { LINK_ALIAS, TUN_DEVICE, TUN_QUEUE } from '../../contract.ts';
import type { Problem } from '../../errors.ts';
import type { TunLink } from '../../kernel/types.ts';
import { type Family, formatAddr, sameAddr } from '../../net/addr.ts';
import { containsAddr, formatPrefix } from '../../net/prefix.ts';
import type { NetworkConfig } from '../../subnet/types.ts';
import type { HostFacts } from '../backend.ts';
import { ownAddrs } from '../judge.ts';

/** Outer IP and UDP headers around an inner packet: RFC 791, RFC 8200, RFC 768. */
const OVERHEAD: Readonly<Record<Family, number>> = { 4: 28, 6: 48 };

/** Least MTU a link must have for the family: RFC 791, RFC 8200. */
const LEAST: Readonly<Record<Family, number>> = { 4: 68, 6: 1280 };

/** Outer packets are IPv4 wherever both ends have an address of it, and in a network with IPv4 all hosts have. */
const overhead = (families: readonly Family[]): number => OVERHEAD[families.includes(4) ? 4 : 6];

/** Inner MTU, bytes. */
export const deviceMtu = (families: readonly Family[], host: HostFacts): number =>
  host.uplink.mtu - overhead(families);

/** The device as it should be. It is one for both families. */
export const deviceLink = (families: readonly Family[], host: HostFacts): TunLink => ({
  kind: 'link',
  name: TUN_DEVICE,
  mtu: deviceMtu(families, host),
  up: true,
  alias: LINK_ALIAS,
  tun: { txqlen: TUN_QUEUE },
});

/** Why the device cannot do its work on this host. */
export function checkDevice(families: readonly Family[], host: HostFacts, network: NetworkConfig): Problem[] {
  const problems = captured(host, network);
  const { name } = host.uplink;
  for (const family of families) {
    if (!host.localAddrs.has(family)) {
      problems.push({
        path: '--iface',
        expected: `an uplink with an IPv${family} address to listen on`,
        got: `${name} without one`,
      });
    }
  }
  const mtu = deviceMtu(families, host);
  const least = Math.max(...families.map((f) => LEAST[f]));
  if (mtu < least) {
    problems.push({
      path: '--iface',
      expected: `room for inner packets of ${least} bytes and ${overhead(families)} bytes around them`,
      got: `${host.uplink.mtu} bytes (uplink ${name})`,
    });
  }
  return problems;
}

/**
 * The route to the whole network takes all in it that no longer prefix leads to. A gateway or an etcd server must not be
 * among that: with the device up, it would be out of reach.
 */
function captured(host: HostFacts, { families }: NetworkConfig): Problem[] {
  const problems: Problem[] = [];
  for (const [family, { network }] of families) {
    const own = ownAddrs(host, family);
    for (const a of host.reserved ?? []) {
      if (!containsAddr(network, a) || host.onLink(a) || own.some((o) => sameAddr(o, a))) continue;
      problems.push({
        path: family === 4 ? 'Network' : 'IPv6Network',
        expected: `a network without ${formatAddr(a)}, a gateway or etcd server of this host that is not on the link of ${host.uplink.name}`,
        got: formatPrefix(network),
      });
    }
  }
  return problems;
}
