import type { Facts } from '../facts.ts';
import { linkNamed, overlayOf, uplinkName } from '../overlay.ts';
import { type Check, type Found, ok, orOk, skipped, warning } from '../types.ts';

/** Strict reverse path filtering (RFC 3704) drops what comes in by another device than the answer would leave by. */
export const rpFilter: Check<Facts> = {
  id: 'rp-filter',
  group: 'Host',
  title: 'reverse path filtering',
  look(facts) {
    if ('missing' in facts.sysctls) return [skipped(facts.sysctls.missing)];
    const values = facts.sysctls.value;
    const overlay = overlayOf(facts);
    if (!overlay) return [skipped('it depends on the backend, and the network config is not known')];
    if (!overlay.families.includes(4))
      return [ok('it concerns IPv4 alone, which this network does not have')];
    const uplink = uplinkName(facts, overlay);
    const all = Number(values.get('net/ipv4/conf/all/rp_filter') ?? 0);
    // The kernel takes the larger of the two (Documentation/networking/ip-sysctl.rst).
    const strict = [...overlay.devices, ...(uplink ? [uplink] : [])]
      .filter((d) => linkNamed(facts, d))
      .filter((d) => Math.max(all, Number(values.get(`net/ipv4/conf/${d}/rp_filter`) ?? 0)) === 1);
    const found: Found[] = [];
    // Through the tunnel packets come in by the device that answers leave by. Where some peers are routed, the two ways may differ.
    if (overlay.routed) {
      for (const device of strict)
        found.push(
          warning(
            device,
            `rp_filter is strict on ${device}, and peers are reached without the tunnel too: what one sends by another way than we answer is dropped`,
            `sysctl -w net/ipv4/conf/${device}/rp_filter=2 net/ipv4/conf/all/rp_filter=2 (loose), and the same in /etc/sysctl.d/`,
          ),
        );
    }
    return orOk(
      found,
      strict.length > 0
        ? `strict on ${strict.join(' and ')}, which does no harm with ${overlay.type}`
        : 'not strict where packets of pods come in',
    );
  },
};
