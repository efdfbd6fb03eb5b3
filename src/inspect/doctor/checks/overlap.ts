import { POD_ROUTE_PROTOCOL, ROUTE_PROTOCOL } from '../../../contract.ts';
import { formatAddr } from '../../../net/addr.ts';
import { containsPrefix, formatPrefix, network, overlaps, type Prefix } from '../../../net/prefix.ts';
import { subnetsOf } from '../../ownHost.ts';
import type { Facts } from '../facts.ts';
import { type Overlay, overlayOf, ownLease } from '../overlay.ts';
import { type Check, type Found, failure, orOk, skipped, warning } from '../types.ts';

/** Protocols of routes (linux/rtnetlink.h): the kernel's own, and flanneld's. */
const [RTPROT_KERNEL, RTPROT_BOOT] = [2, 3];

/** Does the overlay's network overlap with something that this host reaches in another way? */
export const overlap: Check<Facts> = {
  id: 'overlap',
  group: 'Neighbours',
  title: 'overlapping networks and routes',
  look(facts) {
    const overlay = overlayOf(facts);
    if (!overlay) return [skipped('the network config is not known')];
    if ('missing' in facts.addresses) return [skipped(facts.addresses.missing)];
    const own = subnetsOf(ownLease(facts));
    const found = [...connected(facts, overlay, own), ...routes(facts, overlay, own)];
    return orOk(found, `nothing else here uses ${overlay.networks.map(formatPrefix).join(' and ')}`);
  },
};

const within = (own: readonly Prefix[], p: Prefix): boolean => own.some((s) => containsPrefix(s, p));

/** Prefixes of devices that are not ours. Pods' bridges have a part of our own subnet. */
function connected(facts: Facts, overlay: Overlay, own: readonly Prefix[]): Found[] {
  if ('missing' in facts.addresses) return [];
  return facts.addresses.value
    .filter((a) => a.dev !== 'lo' && a.dev !== 'cni0' && !/^flannel/.test(a.dev))
    .map((a) => ({ dev: a.dev, on: network(a.addr) }))
    .filter(({ on }) => overlay.networks.some((n) => overlaps(n, on)) && !within(own, on))
    .map(({ dev, on }) =>
      failure(
        dev,
        `${dev} has the prefix ${formatPrefix(on)}, which overlaps the overlay's network ${overlay.networks.map(formatPrefix).join(' and ')}: addresses in it mean two things here`,
        dev === 'docker0'
          ? 'give Docker this node\'s own subnet (docs/deploy.md, "Docker") or another "bip" in /etc/docker/daemon.json'
          : `give ${dev} other addresses, or choose another Network in the network config`,
      ),
    );
}

/** Routes of others into the overlay. What leads into our own subnet is how pods are reached. */
function routes(facts: Facts, overlay: Overlay, own: readonly Prefix[]): Found[] {
  if ('missing' in facts.routes) return [];
  return (
    facts.routes.value
      .filter((r) => r.dst.len > 0 && overlay.networks.some((n) => overlaps(n, r.dst)) && !within(own, r.dst))
      .filter(
        (r) =>
          ![ROUTE_PROTOCOL, POD_ROUTE_PROTOCOL, RTPROT_KERNEL].includes(r.protocol) &&
          !/^flannel/.test(r.dev ?? ''),
      )
      // flanneld's host-gw routes are adopted, if they are right.
      .filter((r) => !(r.protocol === RTPROT_BOOT && overlay.type === 'host-gw' && r.via))
      .map((r) => {
        const words = `${formatPrefix(r.dst)}${r.via ? ` via ${formatAddr(r.via)}` : ''}${r.dev === undefined ? '' : ` dev ${r.dev}`}`;
        const wide = overlay.networks.some((n) => containsPrefix(r.dst, n));
        return (wide ? warning : failure)(
          words,
          wide
            ? `the route ${words}, which is not ours, covers the overlay's whole network: what goes to subnets without a node leaves by it`
            : `the route ${words}, which is not ours, leads into the overlay's network: packets to pods there leave by it`,
          `ip route del ${words} (and where it comes from: routing protocol ${r.protocol})`,
        );
      })
  );
}
