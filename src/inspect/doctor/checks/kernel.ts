import type { Facts } from '../facts.ts';
import { linkNamed, overlayOf } from '../overlay.ts';
import { type Check, type Found, failure, info, orOk, skipped, warning } from '../types.ts';

/** What only some settings need. */
const HOW = (symbol: string, release: string): string =>
  `install the package with the rest of the modules of ${release} (linux-modules-extra-${release} on Ubuntu, kernel-modules on Fedora), or ` +
  `a kernel built with ${symbol}`;

/** Does the kernel have what the backend, masquerading and pods need? */
export const kernel: Check<Facts> = {
  id: 'kernel',
  group: 'Host',
  title: 'kernel features',
  look(facts) {
    if ('missing' in facts.kernel) return [skipped(facts.kernel.missing)];
    const { features, release, tunDevice, ipv6 } = facts.kernel.value;
    const overlay = overlayOf(facts);
    const found: Found[] = [];
    const needs = (name: string, symbol: string, what: string, level: typeof failure = failure): void => {
      const state = features.get(name) ?? 'unknown';
      if (state === 'absent')
        found.push(
          level(name, `the kernel ${release} has no ${name}, which ${what} needs`, HOW(symbol, release)),
        );
      else if (state === 'unknown')
        found.push(
          info(name, `nothing tells whether the kernel ${release} has ${name}, which ${what} needs`),
        );
    };
    const isThere = (overlay?.devices ?? []).some((d) => linkNamed(facts, d));
    if (overlay?.type === 'vxlan' && !isThere) needs('vxlan', 'CONFIG_VXLAN', 'the vxlan backend');
    if (overlay?.type === 'udp') {
      if (!isThere) needs('tun', 'CONFIG_TUN', 'the udp backend');
      if (!tunDevice)
        found.push(
          failure(
            '/dev/net/tun',
            'there is no /dev/net/tun, which the udp backend opens',
            'modprobe tun; in a container: give it the device /dev/net/tun',
          ),
        );
    }
    if (facts.options.ipMasq) {
      needs('nf_tables', 'CONFIG_NF_TABLES', '--ip-masq');
      needs('nft_masq', 'CONFIG_NFT_MASQ', '--ip-masq');
    }
    needs('bridge', 'CONFIG_BRIDGE', 'attaching pods', warning);
    needs('veth', 'CONFIG_VETH', 'attaching pods', warning);
    if (overlay?.families.includes(6) && !ipv6)
      found.push(
        failure(
          'IPv6',
          'the network has IPv6, but this kernel runs without it',
          'remove ipv6.disable=1 from the kernel command line, or EnableIPv6 from the network config',
        ),
      );
    return orOk(found, `the kernel ${release} has what ${overlay?.type ?? 'pods'} needs`);
  },
};
