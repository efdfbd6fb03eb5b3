import { formatAddr } from '../../../net/addr.ts';
import { endpointsOf } from '../../ownHost.ts';
import { knownValue } from '../../world.ts';
import type { Facts } from '../facts.ts';
import { isHere, linkNamed, overlayOf, ownLease, uplinkName } from '../overlay.ts';
import { type Check, type Found, failure, info, orOk, skipped } from '../types.ts';

/** Is there a device that carries traffic between hosts, and does it have our address? */
export const uplink: Check<Facts> = {
  id: 'uplink',
  group: 'Host',
  title: 'interface for traffic between hosts',
  look(facts) {
    if ('missing' in facts.links) return [skipped(facts.links.missing)];
    const name = uplinkName(facts, overlayOf(facts));
    if (name === undefined)
      return [
        failure(
          null,
          'there is no default route, and nothing says which interface to use',
          'name it: --iface eth0 (or FLANNELD_IFACE)',
        ),
      ];
    const link = linkNamed(facts, name);
    if (!link)
      return [failure(name, `the interface ${name} is gone`, 'bring it back, or name another one: --iface')];
    const found: Found[] = [];
    if (!link.up) found.push(failure(name, `${name} is down`, `ip link set ${name} up`));
    else if (!link.carrier)
      found.push(
        failure(name, `${name} is up but has no carrier`, 'look at the cable, the switch or the hypervisor'),
      );
    const lease = ownLease(facts);
    const told = knownValue(facts.world.status)?.uplink;
    const elsewhere = (lease ? endpointsOf(lease) : []).filter((a) => !isHere(facts, a));
    for (const a of elsewhere) {
      if (told && told.publicIP !== formatAddr(a) && told.publicIPv6 !== formatAddr(a)) continue;
      found.push(
        info(
          name,
          `peers reach this host by ${formatAddr(a)}, which no interface here has: something must translate it`,
        ),
      );
    }
    return orOk(found, `${name} is up, with MTU ${link.mtu}`);
  },
};
