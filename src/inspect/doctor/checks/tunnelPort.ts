import { knownValue } from '../../world.ts';
import type { Facts, LinkFact } from '../facts.ts';
import { linkNamed, type Overlay, overlayOf } from '../overlay.ts';
import { type Check, type Found, failure, info, ok, orOk, skipped, warning } from '../types.ts';

/** Is the tunnel's UDP port ours: or does a program, or another tunnel, have it? */
export const tunnelPort: Check<Facts> = {
  id: 'tunnel-port',
  group: 'Tunnel',
  title: "the tunnel's port",
  look(facts) {
    const overlay = overlayOf(facts);
    if (!overlay) return [skipped('the network config is not known')];
    const { port } = overlay;
    if (port === undefined) return [ok(`the backend ${overlay.type} has no tunnel`)];
    const found = [
      ...(overlay.type === 'vxlan' ? otherTunnels(facts, overlay, port) : []),
      ...programs(facts, overlay, port),
    ];
    if (found.length === 0 && 'missing' in facts.sockets && overlay.type === 'udp')
      return [skipped(facts.sockets.missing)];
    return orOk(found, `nobody else has UDP port ${port}`);
  },
};

/** What works needs no fixing: a device of ours that is up has its port. */
const works = (facts: Facts, overlay: Overlay): boolean =>
  overlay.devices.every((d) => linkNamed(facts, d)?.up);

function otherTunnels(facts: Facts, overlay: Overlay, port: number): Found[] {
  if ('missing' in facts.links) return [];
  const ours = (l: LinkFact) => overlay.devices.includes(l.name);
  const level = works(facts, overlay) ? warning : failure;
  return facts.links.value
    .filter((l) => l.vxlan && !ours(l) && (l.vxlan.port === port || (l.external && l.vxlan.port === port)))
    .map((l) => {
      if (l.external)
        return level(
          l.name,
          `the VXLAN device ${l.name} takes all of UDP port ${port} (it is "external", as Cilium's and Open vSwitch's are)`,
          `remove it (ip link del ${l.name}), or choose another port: "Port" of Backend in the network config`,
        );
      if (l.vxlan!.vni === overlay.vni)
        return level(
          l.name,
          `the VXLAN device ${l.name} has our VNI ${overlay.vni} at our UDP port ${port}: packets of the overlay go there`,
          `remove it (ip link del ${l.name}), or choose another "VNI" or "Port" of Backend in the network config`,
        );
      return info(
        l.name,
        `the VXLAN device ${l.name} (VNI ${l.vxlan!.vni}) shares UDP port ${port} with ours, which does no harm`,
      );
    });
}

function programs(facts: Facts, overlay: Overlay, port: number): Found[] {
  if ('missing' in facts.sockets) return [];
  const daemon = knownValue(facts.world.status)?.pid;
  const found: Found[] = [];
  const told = new Set<number>();
  for (const s of facts.sockets.value.filter((x) => x.port === port)) {
    // The kernel's own, as that of a VXLAN device, belong to no program.
    if (!s.process || s.process.pid === daemon || told.has(s.process.pid)) continue;
    if (overlay.type === 'udp' && daemon === undefined && /^(?:node|loden|MainThread)$/.test(s.process.name))
      continue;
    told.add(s.process.pid);
    const { name, pid } = s.process;
    found.push(
      failure(
        `udp ${port}`,
        `the program ${name} (process ${pid}) has UDP port ${port} open at ${s.address}, which the tunnel needs`,
        `stop it (kill ${pid}), or choose another port: "Port" of Backend in the network config`,
      ),
    );
  }
  return found;
}
