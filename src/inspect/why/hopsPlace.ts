import { formatAddr } from '../../net/addr.ts';
import { formatPrefix, network, parsePrefix } from '../../net/prefix.ts';
import { knownValue } from '../world.ts';
import { answers, broken, daemonRuns, ok, peerName, showAddr, unknown, warning } from './hop.ts';
import { ownLease } from './place.ts';
import type { PodEnd, Seen } from './seen.ts';
import type { Hop } from './types.ts';

/** Hops about who and where: lease, peer, pods of this host. Pure. */

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
        cause: `it is outside the overlay's network ${networks}`,
        fix: 'ask for an address in it; other addresses are the underlay’s business',
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
        fix: 'find who wrote that key; the node’s daemon writes it anew when it is deleted',
      });
    case 'reserved':
      return broken('lease', {
        found: `${place.lease.key} is reserved, and no node holds it`,
        why: LEASE,
        cause: `its subnet ${formatPrefix(place.subnet)} is reserved, but no node has taken it`,
        fix: 'start the daemon of the node it is reserved for, or release it (`loden leases release`)',
      });
    case 'own':
      return ok('lease', { found: `${place.lease.key}, this host's own${source}`, why: LEASE });
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
  const { expected, world } = seen;
  const key = peerName(seen);
  const own = ownLease(world);
  if (expected && 'unknown' in expected) return unknown('peer', { found: expected.unknown, why: PEER });
  if (!expected) return unknown('peer', { found: 'nothing is known of it', why: PEER });
  if (expected.backend === 'alloc') {
    return broken('peer', {
      found: 'the backend alloc: subnets are leased, and that is all',
      why: PEER,
      cause: 'the network’s backend is alloc, which carries no packets',
      fix: 'whoever chose alloc carries them: look at its routes, or choose vxlan, host-gw or udp in the network config',
    });
  }
  if (expected.problem !== undefined) {
    return broken('peer', {
      found: `${key} is not served: ${expected.problem}`,
      expected: 'a lease that this host can serve',
      why: PEER,
      cause: `its node's lease ${key} cannot be served: ${expected.problem}`,
      fix: 'put right what that node’s lease says, on that node or in etcd',
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
      fix: 'give each node its own --public-ip, or delete the lease of the node that is gone (`loden leases release`)',
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

const POD = 'the last step is from the bridge through the pod’s veth';

/** A pod of this host: `source` where packets come from, `pod` where they go. */
export function podHop(seen: Seen, hop: 'source' | 'pod', end: PodEnd): Hop {
  const { addr, way, device, neighbour, port, attachment, echo } = end;
  const text = formatAddr(addr);
  const make = (cause: string, fix: string, found: string, expected?: string): Hop =>
    broken(hop, { found, expected, why: POD, cause, fix });
  if ('route' in way && way.route.type === 'local') {
    if (hop === 'pod') return ok(hop, { found: `${way.route.text}: this host's own address`, why: POD });
    return ok(hop, { found: `${way.route.text}: this host's own address, no pod's`, why: POD });
  }
  const own = seen.place.kind === 'own' ? seen.place.subnet : ownSubnetOf(seen);
  const inOwn = own ? formatPrefix(network(own)) : 'this host’s subnet';
  if (attachment === undefined) {
    const seenThere =
      neighbour?.mac && neighbour.state !== 'FAILED' ? `; ${neighbour.mac} answers for it` : '';
    if (seenThere === '') {
      return make(
        `no pod on this host has the address ${text}`,
        'see who should have it: the runtime’s list of pods; the address is free here',
        `no attachment has ${text}${neighbour ? `; its neighbour entry is ${neighbour.state}` : ''}`,
        `a pod in ${inOwn}`,
      );
    }
    return warning(hop, {
      found: `no attachment of loden's has ${text}${seenThere}`,
      why: POD,
      cause: `a pod that loden did not attach has ${text}`,
      fix: 'it may be another plugin’s: look which one gives addresses of this subnet',
    });
  }
  const who = attachment === 'unknown' ? 'a pod' : `container ${attachment.containerId.slice(0, 12)}`;
  if ('refused' in way) {
    return make(
      `this host has no route to its own pod ${text}`,
      'see whether the bridge is up and has its address; a pod attached anew puts it right',
      way.refused,
      'a route to the bridge or to the pod’s veth',
    );
  }
  if (device?.name.startsWith('flannel') || !device) {
    return make(
      `this host sends packets for its own pod ${text} elsewhere`,
      'see whether the bridge is up and has its address; a pod attached anew puts it right',
      way.route.text,
      'a route to the bridge or to the pod’s veth',
    );
  }
  if (!device.up) {
    return make(
      `the device ${device.name} is down`,
      `find who took it down; \`ip link set ${device.name} up\` puts it right`,
      `${device.name} is down`,
      `${device.name} up`,
    );
  }
  if (attachment !== 'unknown' && !port) {
    return make(
      `the pod's cable ${attachment.hostIf} is gone from this host`,
      'the pod’s namespace has gone, or somebody deleted the device: let the runtime make the pod anew',
      `there is no device ${attachment.hostIf} (${who}, ${attachment.netns})`,
      attachment.hostIf,
    );
  }
  if (port && (!port.up || !port.carrier)) {
    const wrong = port.up ? 'has no carrier: its other end, in the pod, is down' : 'is down';
    return make(
      `the pod's cable ${port.name} ${wrong}`,
      port.up ? 'look into the pod’s namespace' : `\`ip link set ${port.name} up\` puts it right`,
      `${port.name} ${wrong} (${who})`,
      `${port.name} up, with carrier`,
    );
  }
  if (port && attachment !== 'unknown' && attachment.bridge !== null && port.master === undefined) {
    return make(
      `the pod's cable ${port.name} is no port of ${attachment.bridge}`,
      `\`ip link set ${port.name} master ${attachment.bridge}\` puts it right; find who took it out`,
      `${port.name} is a port of no bridge`,
      `a port of ${attachment.bridge}`,
    );
  }
  if (neighbour?.state === 'FAILED' || neighbour?.state === 'INCOMPLETE') {
    return make(
      `the pod with ${text} does not answer ${addr.family === 4 ? 'ARP' : 'neighbour discovery'}`,
      'look into the pod: does eth0 have the address, is it up?',
      `${text} dev ${device.name} ${neighbour.state}`,
      'a MAC',
    );
  }
  const behind = port ? `, behind ${port.name}` : '';
  const mac = neighbour?.mac ? ` at ${neighbour.mac} ${neighbour.state}` : '';
  const found = `${who}${mac} on ${device.name}${behind}`;
  if (echo?.what === 'answered') return ok(hop, { found, why: POD });
  if (hop === 'pod' && echo) {
    return warning(hop, {
      found: `${found}; it does not answer an echo`,
      why: POD,
      cause: 'the pod itself does not answer an echo, although all on the way is right',
      fix: 'look into the pod: its own firewall, its routes; not every pod answers ICMP',
    });
  }
  return ok(hop, { found, why: POD });
}

function ownSubnetOf(seen: Seen) {
  const own = ownLease(seen.world);
  return own?.subnets
    .flatMap((t) => parsePrefix(t) ?? [])
    .find((p) => p.addr.family === seen.question.to.family);
}
