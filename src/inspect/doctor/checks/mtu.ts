import { knownValue } from '../../world.ts';
import type { Facts } from '../facts.ts';
import { linkNamed, listed, type Overlay, overlayOf, uplinkName } from '../overlay.ts';
import { type Check, type Found, failure, orOk, skipped, warning } from '../types.ts';

/** Bytes around an inner packet, by backend and family: RFC 7348, 5; IP and UDP headers. */
const OVERHEAD: Readonly<Record<string, Readonly<Record<4 | 6, number>>>> = {
  vxlan: { 4: 50, 6: 70 },
  udp: { 4: 28, 6: 48 },
};

/** Do packets as large as pods send them pass all the way? */
export const mtu: Check<Facts> = {
  id: 'mtu',
  group: 'Tunnel',
  title: 'MTU',
  look(facts) {
    if ('missing' in facts.links) return [skipped(facts.links.missing)];
    const overlay = overlayOf(facts);
    if (!overlay) return [skipped('the network config is not known')];
    const found = [...devices(facts, overlay), ...paths(facts), ...pods(facts)];
    const largest = knownValue(facts.world.status)?.mtu ?? podMtu(facts);
    return orOk(
      found,
      largest === undefined
        ? 'the devices fit into each other'
        : `pods have ${largest} bytes, and that fits everywhere`,
    );
  },
};

function devices(facts: Facts, overlay: Overlay): Found[] {
  const name = uplinkName(facts, overlay);
  const under = name === undefined ? undefined : linkNamed(facts, name);
  if (!under) return [];
  return overlay.devices.flatMap((device) => {
    const link = linkNamed(facts, device);
    const overhead = OVERHEAD[overlay.type]?.[device.includes('-v6') ? 6 : 4];
    if (!link || overhead === undefined || link.mtu <= under.mtu - overhead) return [];
    return [
      failure(
        device,
        `${device} takes packets of ${link.mtu} bytes, but with ${overhead} bytes around them they do not fit through ${under.name}, which has MTU ${under.mtu}`,
        `ip link set ${device} mtu ${under.mtu - overhead} (a running daemon does it), or raise the MTU of ${under.name}`,
      ),
    ];
  });
}

/** What the probes have found. */
function paths(facts: Facts): Found[] {
  const probes = knownValue(facts.world.probes);
  const small = (probes?.paths ?? []).filter((p) => p.fullSize === 'lost' || p.routeMtu !== null);
  if (small.length === 0) return [];
  const words = small.map((p) => `${p.key}${p.pathMtu === null ? '' : ` (${p.pathMtu} bytes)`}`);
  const least = Math.min(...small.map((p) => p.pathMtu ?? Number.POSITIVE_INFINITY));
  const lowered = small.every((p) => p.routeMtu !== null);
  return [
    warning(
      words[0]!,
      `large packets do not pass to ${listed(words)}, small ones do: the network between the hosts takes less than their interfaces believe` +
        (lowered ? '; loden has lowered the MTU of those routes' : ''),
      `give the interfaces of all hosts the MTU that the network has${
        Number.isFinite(least)
          ? `, or set "MTU" of Backend in the network config so that pods get ${least} bytes`
          : ''
      }; "loden why" of a pod there shows the path`,
    ),
  ];
}

const podMtu = (facts: Facts): number | undefined =>
  'value' in facts.subnetEnv ? facts.subnetEnv.value?.mtu : undefined;

/** What pods are given. */
function pods(facts: Facts): Found[] {
  const most = knownValue(facts.world.status)?.mtu ?? podMtu(facts);
  if (most === undefined) return [];
  const found: Found[] = [];
  const bridge = linkNamed(facts, 'cni0');
  if (bridge && bridge.mtu > most)
    found.push(
      warning(
        'cni0',
        `the bridge cni0 has MTU ${bridge.mtu}, but the overlay takes ${most} bytes: pods that are attached now send too large packets`,
        `ip link set cni0 mtu ${most}, and restart the pods of this node`,
      ),
    );
  const configured = 'value' in facts.cni ? facts.cni.value.configurations?.[0] : undefined;
  if (configured?.mtu && configured.mtu > most)
    found.push(
      warning(
        configured.file,
        `the CNI configuration ${configured.file} gives pods MTU ${configured.mtu}, but the overlay takes ${most} bytes`,
        `remove "mtu" from it: pods then get what the overlay takes`,
      ),
    );
  return found;
}
