import { formatAddr } from '../../net/addr.ts';
import { formatPrefix } from '../../net/prefix.ts';
import { subnetsOf } from '../ownHost.ts';
import { broken, ok, warning } from './hop.ts';
import type { PodEnd, Seen } from './seen.ts';
import type { Hop } from './types.ts';

/** Hops about pods of this host. Pure. */

const POD = "the last step is from the bridge through the pod's veth";

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
  const own = subnetsOf(seen.own).find((p) => p.addr.family === addr.family);
  const inOwn = own ? formatPrefix(own) : "this host's subnet";
  if (attachment === undefined) {
    const seenThere =
      neighbour?.mac && neighbour.state !== 'FAILED' ? `; ${neighbour.mac} answers for it` : '';
    if (seenThere === '') {
      return make(
        `no pod on this host has the address ${text}`,
        "see who should have it: the runtime's list of pods; the address is free here",
        `no attachment has ${text}${neighbour ? `; its neighbour entry is ${neighbour.state}` : ''}`,
        `a pod in ${inOwn}`,
      );
    }
    return warning(hop, {
      found: `no attachment of loden's has ${text}${seenThere}`,
      why: POD,
      cause: `a pod that loden did not attach has ${text}`,
      fix: "it may be another plugin's: look which one gives addresses of this subnet",
    });
  }
  const who = attachment === 'unknown' ? 'a pod' : `container ${attachment.containerId.slice(0, 12)}`;
  if ('refused' in way) {
    return make(
      `this host has no route to its own pod ${text}`,
      'see whether the bridge is up and has its address; a pod attached anew puts it right',
      way.refused,
      "a route to the bridge or to the pod's veth",
    );
  }
  if (device?.name.startsWith('flannel') || !device) {
    return make(
      `this host sends packets for its own pod ${text} elsewhere`,
      'see whether the bridge is up and has its address; a pod attached anew puts it right',
      way.route.text,
      "a route to the bridge or to the pod's veth",
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
      "the pod's namespace has gone, or somebody deleted the device: let the runtime make the pod anew",
      `there is no device ${attachment.hostIf} (${who}, ${attachment.netns})`,
      attachment.hostIf,
    );
  }
  if (port && (!port.up || !port.carrier)) {
    const wrong = port.up ? 'has no carrier: its other end, in the pod, is down' : 'is down';
    return make(
      `the pod's cable ${port.name} ${wrong}`,
      port.up ? "look into the pod's namespace" : `\`ip link set ${port.name} up\` puts it right`,
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
