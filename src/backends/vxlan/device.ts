import { LINK_ALIAS } from '../../contract.ts';
import type { Problem } from '../../errors.ts';
import type { VxlanLink } from '../../kernel/types.ts';
import type { Family } from '../../net/addr.ts';
import type { HostFacts } from '../backend.ts';
import type { VxlanConfig } from './config.ts';

/** Longest interface name: IFNAMSIZ (linux/if.h) without its final NUL. */
const NAME_MAX = 15;

/** Outer Ethernet, IP, UDP and VXLAN headers around an inner Ethernet frame's payload: RFC 7348, section 5. */
const OVERHEAD: Readonly<Record<Family, number>> = { 4: 50, 6: 70 };

/** Least MTU a link must have for the family: RFC 791, RFC 8200. */
const LEAST: Readonly<Record<Family, number>> = { 4: 68, 6: 1280 };

/** The device of a family: packets of one family travel between addresses of the same family, as in flannel. */
export const deviceName = (config: VxlanConfig, family: Family): string =>
  family === 4 ? `flannel.${config.vni}` : `flannel-v6.${config.vni}`;

/** Inner MTU in bytes. The kernel takes nothing above the underlay's MTU less the overhead, so the option cannot either. */
export const deviceMtu = (config: VxlanConfig, family: Family, host: HostFacts): number =>
  Math.min(config.outerMtu ?? host.uplink.mtu, host.uplink.mtu) - OVERHEAD[family];

/** The device as it should be; undefined when the uplink has no address of the family. */
export function deviceLink(config: VxlanConfig, family: Family, host: HostFacts): VxlanLink | undefined {
  const local = host.localAddrs.get(family);
  if (!local) return undefined;
  const name = deviceName(config, family);
  return {
    kind: 'link',
    name,
    mac: host.mac(name),
    mtu: deviceMtu(config, family, host),
    up: true,
    alias: LINK_ALIAS,
    vxlan: {
      vni: config.vni,
      port: config.port,
      local,
      underlay: host.uplink.name,
      learning: config.learning,
      gbp: config.gbp,
    },
  };
}

/** Why the devices cannot be made on this host. */
export function checkDevices(config: VxlanConfig, families: readonly Family[], host: HostFacts): Problem[] {
  const problems: Problem[] = [];
  for (const family of families) {
    const name = deviceName(config, family);
    if (name.length > NAME_MAX) {
      problems.push({
        path: 'Backend.VNI',
        expected: `at most ${family === 4 ? 9_999_999 : 9_999}: Linux allows ${NAME_MAX} bytes for the name ${name}`,
        got: String(config.vni),
      });
    }
    if (!host.localAddrs.has(family)) {
      problems.push({
        path: '--iface',
        expected: `an uplink with an IPv${family} address for ${name}`,
        got: `${host.uplink.name} without one`,
      });
    }
    const mtu = deviceMtu(config, family, host);
    if (mtu < LEAST[family]) {
      problems.push({
        path: config.outerMtu === undefined ? '--iface' : 'Backend.MTU',
        expected: `room for IPv${family} packets of ${LEAST[family]} bytes and ${OVERHEAD[family]} bytes around them`,
        got: `${mtu + OVERHEAD[family]} bytes (uplink ${host.uplink.name}: ${host.uplink.mtu})`,
      });
    }
  }
  return problems;
}
