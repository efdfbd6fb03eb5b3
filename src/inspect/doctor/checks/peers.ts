import { knownValue, whyMissing } from '../../world.ts';
import type { Facts } from '../facts.ts';
import { listed, overlayOf } from '../overlay.ts';
import { type Check, type Found, failure, ok, orOk, skipped, warning } from '../types.ts';

/** Echoes are all that probes are. */
const DROPPED =
  'Peers, or a cloud between them, may also just drop echoes (ICMP): then pods reach each other all the same';

/** Do peers answer through the tunnel? */
export const peers: Check<Facts> = {
  id: 'peers',
  group: 'Tunnel',
  title: 'peers answer',
  look(facts) {
    const probes = knownValue(facts.world.probes);
    if (!probes) return [skipped(`only the daemon's probes tell: ${whyMissing(facts.world.probes)}`)];
    if (!probes.enabled) return [skipped('the daemon does not probe (--probe-interval 0)')];
    const asked = probes.paths.filter((p) => p.health !== 'unprobed');
    const dead = asked.filter((p) => p.health === 'unreachable');
    const lossy = asked.filter((p) => p.health === 'lossy');
    const port = overlayOf(facts)?.port;
    const found: Found[] = [];
    if (dead.length > 1 && dead.length === asked.length)
      found.push(
        failure(
          null,
          `none of ${dead.length} probed peers answers the daemon's echoes`,
          port === undefined
            ? `look at the network between the hosts: it must let packets between pods pass as they are. ${DROPPED}`
            : `let UDP port ${port} pass between the hosts, in security groups and hypervisors too (VMware NSX takes 8472 for its own: set another ` +
                `"Port" of Backend); then look at the other checks here. ${DROPPED}`,
        ),
      );
    else if (dead.length > 0)
      found.push(
        failure(
          dead[0]!.key,
          `${dead.length} of ${asked.length} probed peers do not answer: ${listed(dead.map((p) => p.key))}`,
          `loden why ${dead[0]!.target} shows where the packets end; run loden doctor on that host too. ${DROPPED}`,
        ),
      );
    if (lossy.length > 0)
      found.push(
        warning(
          lossy[0]!.key,
          `probes get lost on the way to ${listed(lossy.map((p) => `${p.key} (${p.lost} of ${p.sent})`))}`,
          `look at the network between the hosts; loden why ${lossy[0]!.target} shows the path`,
        ),
      );
    if (asked.length === 0) return [ok('no peer has been probed yet')];
    return orOk(found, `all of ${asked.length} probed peers answer`);
  },
};
