import { knownValue } from '../../world.ts';
import type { Facts } from '../facts.ts';
import { linkNamed, overlayOf, uplinkName } from '../overlay.ts';
import { type Check, type Found, failure, info, orOk, skipped } from '../types.ts';

/** Does the kernel pass packets from one device to another? Of IPv4 the device they come in by decides; for IPv6 all of them do. */
export const forwarding: Check<Facts> = {
  id: 'forwarding',
  group: 'Host',
  title: 'IP forwarding',
  look(facts) {
    if ('missing' in facts.sysctls) return [skipped(facts.sysctls.missing)];
    const values = facts.sysctls.value;
    const overlay = overlayOf(facts);
    const families = overlay?.families ?? [4];
    const found: Found[] = [];
    const off = (path: string, cause: string): void => {
      // A daemon turns it on when it starts.
      if (
        !knownValue(facts.world.status)?.ready &&
        !(overlay?.devices ?? []).some((d) => linkNamed(facts, d))
      ) {
        found.push(info(path, `${cause}; a daemon turns it on when it is ready`));
        return;
      }
      found.push(
        failure(
          path,
          cause,
          // With slashes, for names of devices have dots.
          `sysctl -w ${path}=1, and find out who turns it off: grep -rs forward /etc/sysctl.conf /etc/sysctl.d /usr/lib/sysctl.d`,
        ),
      );
    };
    if (families.includes(4) && values.get('net/ipv4/ip_forward') === '0')
      off(
        'net/ipv4/ip_forward',
        'net.ipv4.ip_forward is 0: no IPv4 packet is passed on between pods and peers',
      );
    else if (families.includes(4)) {
      const uplink = uplinkName(facts, overlay);
      const devices = [
        ...(overlay?.devices ?? []),
        'cni0',
        'docker0',
        ...(overlay?.routed && uplink ? [uplink] : []),
      ];
      for (const device of devices.filter((d) => linkNamed(facts, d))) {
        const path = `net/ipv4/conf/${device}/forwarding`;
        if (values.get(path) === '0')
          off(path, `forwarding is off for ${device}: IPv4 packets that come in by it are not passed on`);
      }
    }
    if (families.includes(6) && values.get('net/ipv6/conf/all/forwarding') === '0')
      off(
        'net/ipv6/conf/all/forwarding',
        'net.ipv6.conf.all.forwarding is 0: no IPv6 packet is passed on between pods and peers',
      );
    if (families.includes(6)) {
      for (const device of (overlay?.devices ?? []).filter(
        (d) => d.includes('v6') || overlay?.type !== 'vxlan',
      )) {
        const path = `net/ipv6/conf/${device}/disable_ipv6`;
        if (values.get(path) === '1')
          found.push(failure(path, `IPv6 is turned off on ${device}`, `sysctl -w ${path}=0`));
      }
    }
    return orOk(found, `IPv${families.join(' and IPv')} packets are passed on`);
  },
};
