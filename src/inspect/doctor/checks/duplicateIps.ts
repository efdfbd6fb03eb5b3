import { formatAddr } from '../../../net/addr.ts';
import { endpointsOf, isNobodys } from '../../ownHost.ts';
import { releaseGone } from '../../words.ts';
import { knownValue, whyMissing } from '../../world.ts';
import type { Facts } from '../facts.ts';
import { isHere, listed, ownLease } from '../overlay.ts';
import { type Check, type Found, failure, orOk, skipped } from '../types.ts';

/** Do two nodes say that they are reached by the same address? */
export const duplicateIps: Check<Facts> = {
  id: 'duplicate-ips',
  group: 'Leases',
  title: 'public addresses',
  look(facts) {
    const leases = knownValue(facts.world.leases)?.leases.filter((l) => !isNobodys(facts.world, l));
    if (!leases) return [skipped(whyMissing(facts.world.leases) ?? 'the leases are not known')];
    const own = ownLease(facts);
    const byAddress = new Map<string, string[]>();
    for (const lease of leases)
      for (const a of endpointsOf(lease))
        byAddress.set(formatAddr(a), [...(byAddress.get(formatAddr(a)) ?? []), lease.key]);
    const found: Found[] = [];
    for (const [address, keys] of byAddress) {
      if (keys.length > 1)
        found.push(
          failure(
            address,
            `the leases ${listed(keys)} have one public address, ${address}: packets for all of them go to one host`,
            'give each node its own: name the interface (--iface) or the address (--public-ip) on those that chose a wrong one, as behind NAT; ' +
              releaseGone('SUBNET'),
          ),
        );
    }
    for (const lease of leases.filter((l) => l.key !== own?.key)) {
      const here = endpointsOf(lease).find((a) => isHere(facts, a));
      if (here && (byAddress.get(formatAddr(here))?.length ?? 0) < 2)
        found.push(
          failure(
            lease.key,
            `the lease ${lease.key} has the public address ${formatAddr(here)}, which is this host's own, and is not ours`,
            `find the node that has it and correct its --public-ip; ${releaseGone(lease.subnets[0] ?? 'SUBNET')}`,
          ),
        );
    }
    return orOk(found, `${byAddress.size} public addresses, each of one node`);
  },
};
