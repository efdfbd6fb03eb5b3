import { containsAddr, formatPrefix } from '../../../net/prefix.ts';
import { subnetsOf } from '../../ownHost.ts';
import { knownValue } from '../../world.ts';
import type { Facts, LinkFact } from '../facts.ts';
import { type Overlay, overlayOf, ownLease } from '../overlay.ts';
import { type Check, type Found, failure, orOk, skipped, warning } from '../types.ts';

/** Devices of others, by name. */
const OTHERS: readonly (readonly [RegExp, string])[] = [
  [/^weave$|^vxlan-6784$/, 'Weave Net'],
  [/^cilium_(?:vxlan|host|net|geneve)$/, 'Cilium'],
  [/^vxlan(?:-v6)?\.calico$/, 'Calico'],
  [/^wireguard\.cali$/, 'Calico'],
  [/^kube-bridge$/, 'kube-router'],
  [/^antrea-(?:tun0|gw0)$/, 'Antrea'],
  [/^ovn-k8s-mp0$/, 'OVN-Kubernetes'],
  [/^flannel-wg(?:-v6)?$/, "flannel's wireguard backend"],
  [/^flannel\.ipip$/, "flannel's ipip backend"],
];

/** Programs that do what Loden does. */
const PROGRAMS = ['flanneld', 'calico-node', 'weaver', 'cilium-agent', 'kube-router', 'antrea-agent'];

/** What other overlays, or an earlier configuration of this one, have left; or that one runs beside us. */
export const otherOverlays: Check<Facts> = {
  id: 'other-overlays',
  group: 'Neighbours',
  title: 'other overlays and their remains',
  look(facts) {
    if ('missing' in facts.links) return [skipped(facts.links.missing)];
    const overlay = overlayOf(facts);
    const found = [
      ...programs(facts),
      ...(overlay ? formerOurs(facts.links.value, overlay) : []),
      ...devices(facts, facts.links.value),
      ...bridge(facts),
    ];
    return orOk(found, 'no device and no program of another overlay is here');
  },
};

function programs(facts: Facts): Found[] {
  const running = 'value' in facts.managers ? facts.managers.value.running : new Set<string>();
  return PROGRAMS.filter((p) => running.has(p)).map((p) =>
    failure(
      p,
      `${p} runs on this host too: both write the same tables of the kernel`,
      `stop and disable ${p}`,
    ),
  );
}

/** Of another VNI or backend; a daemon removes those it has made itself. */
const formerOurs = (links: readonly LinkFact[], overlay: Overlay): Found[] =>
  links
    .filter((l) => /^flannel(?:-v6)?\.\d+$|^flannel0$/.test(l.name) && !overlay.devices.includes(l.name))
    .map((l) =>
      warning(
        l.name,
        `${l.name} is left from another backend or VNI: this network has ${overlay.devices.join(' and ') || 'no device of its own'}; routes on it lead nowhere`,
        `ip link del ${l.name}`,
      ),
    );

function devices(facts: Facts, links: readonly LinkFact[]): Found[] {
  const addresses = 'value' in facts.addresses ? facts.addresses.value : [];
  const found: Found[] = [];
  for (const link of links) {
    const whose = OTHERS.find(([name]) => name.test(link.name))?.[1];
    // tunl0 comes with the module; it is Calico's only if it has an address.
    const tunl = link.name === 'tunl0' && addresses.some((a) => a.dev === 'tunl0') ? 'Calico' : undefined;
    const owner = whose ?? tunl;
    if (owner === undefined) continue;
    found.push(
      warning(
        link.name,
        `${link.name} is a device of ${owner}: two overlays on one host fight over routes and pods, and a former one leaves stale routes and rules`,
        `if ${owner} is no longer used here: ${link.name === 'tunl0' ? 'ip addr flush dev tunl0; modprobe -r ipip' : `ip link del ${link.name}`}, ` +
          'and remove its files from /etc/cni/net.d',
      ),
    );
  }
  return found;
}

/** A bridge that was made for another subnet: new pods cannot be attached, old ones are not reached. */
function bridge(facts: Facts): Found[] {
  const own = subnetsOf(ownLease(facts));
  if (own.length === 0 || 'missing' in facts.addresses) return [];
  const wrong = facts.addresses.value.filter(
    (a) =>
      a.dev === 'cni0' &&
      a.scope === 0 &&
      own.some((s) => s.addr.family === a.addr.addr.family) &&
      !own.some((s) => containsAddr(s, a.addr.addr)),
  );
  // Its pods are known: the daemon gives it another address when the last of them goes.
  const stale = (knownValue(facts.world.status)?.cni.stale.length ?? 0) > 0;
  return wrong.map((a) =>
    (stale ? warning : failure)(
      'cni0',
      `the bridge cni0 has the address ${formatPrefix(a.addr)}, which is not of this node's subnet ${own.map(formatPrefix).join(' and ')}: it was made for another one`,
      'drain this node (or stop its pods), ip link del cni0, and start them again: the bridge is made anew',
    ),
  );
}
