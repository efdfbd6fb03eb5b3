import { formatAddr } from '../../net/addr.ts';
import { formatPrefix } from '../../net/prefix.ts';
import { releaseGone } from '../words.ts';
import { knownValue } from '../world.ts';
import { answers, broken, daemonRuns, ok, peerName, showAddr, unknown, warning } from './hop.ts';
import type { Seen } from './seen.ts';
import type { Hop } from './types.ts';

/** Hops about who and where: lease, peer, and whether this host forwards. Pure. */

const LEASE = 'without a lease no host takes packets for the address';

/** Whose the address is. */
export function leaseHop(seen: Seen): Hop {
  const { place, world } = seen;
  const source =
    'value' in world.leases ? `, from ${world.leases.from === 'daemon' ? 'the daemon' : 'etcd'}` : '';
  const to = formatAddr(seen.question.to);
  switch (place.kind) {
    case 'unknown':
      return unknown('lease', { found: place.reason, why: LEASE });
    case 'outside': {
      const networks = place.networks.map(formatPrefix).join(' and ') || 'none';
      return broken('lease', {
        found: `${to} is not in the overlay`,
        expected: `an address in ${networks}`,
        why: 'only addresses of the overlay are carried by it',
        cause: `the overlay's network is ${networks}`,
        fix: "ask for an address in it; others are the underlay's business",
      });
    }
    case 'free':
      return broken('lease', {
        found: `no lease covers ${to}`,
        expected: `a lease of a subnet in ${formatPrefix(place.network)} with it`,
        why: LEASE,
        cause: 'no node has a lease of its subnet: it never had one, or its lease has run out',
        fix: 'see `loden leases`; if a node should have it, look at its daemon (`loden status` there)',
      });
    case 'aside':
      return broken('lease', {
        found: `the key ${place.key} in etcd is set aside: ${place.reason}`,
        expected: 'a lease that can be read',
        why: LEASE,
        cause: `the lease of its subnet, ${place.key}, cannot be read (${place.reason})`,
        fix: "find who wrote that key; the node's daemon writes it anew when it is deleted",
      });
    case 'reserved':
      return broken('lease', {
        found: `${place.lease.key} is reserved, and not taken up`,
        why: LEASE,
        cause: `its subnet ${formatPrefix(place.subnet)} is reserved${place.lease.node === null ? '' : ` for node ${place.lease.node.slice(0, 8)}`}, and no node has taken it up`,
        fix: `start the daemon of the node it is reserved for, or take the reservation back: \`loden leases release ${formatPrefix(place.subnet)}\``,
      });
    case 'own': {
      const sure = seen.surelyOwn ? '' : ' by its address (which node this is cannot be told)';
      return ok('lease', { found: `${place.lease.key}, this host's own${sure}${source}`, why: LEASE });
    }
    case 'peer': {
      const ends = [place.lease.publicIP, place.lease.publicIPv6].filter((t) => t !== null).join(', ');
      const node = place.lease.node === null ? 'a flannel node' : `node ${place.lease.node.slice(0, 8)}`;
      return ok('lease', {
        found: `${place.lease.key} of ${node} at ${ends || 'no address'}${source}`,
        why: LEASE,
      });
    }
  }
}

const PEER = 'a peer that cannot be served gets no route, no neighbour and no FDB entry';

/** Only for peers' addresses. */
export function peerHop(seen: Seen): Hop {
  const { expected, world, own } = seen;
  const key = peerName(seen);
  if (expected && 'unknown' in expected) return unknown('peer', { found: expected.unknown, why: PEER });
  if (!expected) return unknown('peer', { found: 'nothing is known of it', why: PEER });
  if (expected.backend === 'alloc') {
    return broken('peer', {
      found: 'the backend alloc: subnets are leased, and that is all',
      why: PEER,
      cause: "the network's backend is alloc, which carries no packets",
      fix: 'whoever chose alloc carries them: look at its routes, or choose vxlan, host-gw or udp in the network config',
    });
  }
  if (expected.problem !== undefined) {
    return broken('peer', {
      found: `${key} is not served: ${expected.problem}`,
      expected: 'a lease that this host can serve',
      why: PEER,
      cause: `its node's lease ${key} cannot be served: ${expected.problem}`,
      fix: "put right what that node's lease says, on that node or in etcd",
    });
  }
  if (expected.sharing.length > 0) {
    const [first, ...more] = expected.sharing;
    const others = more.length > 0 ? `${first} and ${more.length} more` : first;
    // Packets do get to the one that has the address.
    const make = answers(seen) === true ? warning : broken;
    return make('peer', {
      found: `${key} and ${others} have one public address, ${showAddr(expected.endpoint)}`,
      expected: 'a public address for each node',
      why: 'packets for both are sent to one host, which has only one of the subnets',
      cause: `two nodes claim one public address: ${key} and ${others}`,
      fix: `give each node its own --public-ip; ${releaseGone('SUBNET')}`,
    });
  }
  if (!own && world.daemon.state === 'refusing') {
    return unknown('peer', {
      found: `${key} can be served; whether this host holds a lease cannot be told: ${world.daemon.reason ?? 'its daemon does not answer'}`,
      why: PEER,
    });
  }
  if (!own) {
    return warning('peer', {
      found: `${key} can be served; this host itself holds no lease that is known of`,
      why: 'peers send answers to the subnet that this host holds',
      cause: 'this host holds no lease',
      fix: daemonRuns(seen)
        ? 'see `loden status` for what the daemon waits for'
        : 'start its daemon by `loden run`',
    });
  }
  const mine = knownValue(world.status)?.lease;
  if (mine && mine.state !== 'held') {
    return warning('peer', {
      found: `${key} is served; our own lease ${own.key} is ${mine.state}: ${mine.reason ?? 'no reason is told'}`,
      why: 'peers send answers to the subnet that this host holds',
      cause: `this host's own lease ${own.key} is ${mine.state} (${mine.reason ?? 'no reason is told'})`,
      fix: 'see `loden status`; peers forget a lease that has run out',
    });
  }
  return ok('peer', { found: `${key} is served by ${expected.backend}`, why: PEER });
}

const SETTINGS = 'a host that does not forward drops what pods send';

/** For packets of pods: may this host let them through? */
export function forwardingHop({ sysctls }: Seen): Hop {
  const found = Object.entries(sysctls).map(
    ([path, value]) => `${path.replaceAll('/', '.')} = ${value ?? '?'}`,
  );
  const off = Object.entries(sysctls).find(([, value]) => value === '0');
  const text = found.join(', ') || 'nothing to be read';
  if (off) {
    const name = off[0].replaceAll('/', '.');
    return broken('forwarding', {
      found: text,
      expected: `${name} = 1`,
      why: SETTINGS,
      cause: `this host does not forward packets: ${name} is 0`,
      fix: `find who sets it (\`sysctl -w ${name}=1\` puts it right); loden turns it on when it starts`,
    });
  }
  return ok('forwarding', { found: text, why: SETTINGS });
}
