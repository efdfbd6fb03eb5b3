import { parseMac } from '../../../net/mac.ts';
import { isSurelyOwn, vtepMac } from '../../ownHost.ts';
import type { Facts } from '../facts.ts';
import { linkNamed, overlayOf, ownLease, peerLeases } from '../overlay.ts';
import { type Check, type Found, failure, ok, orOk, skipped } from '../types.ts';

/** Has the tunnel's device the MAC that our lease tells peers, and nobody else's? */
export const tunnelMac: Check<Facts> = {
  id: 'tunnel-mac',
  group: 'Tunnel',
  title: "the tunnel device's MAC",
  look(facts) {
    const overlay = overlayOf(facts);
    if (!overlay) return [skipped('the network config is not known')];
    if (overlay.type !== 'vxlan') return [ok(`the backend ${overlay.type} tells peers no MAC`)];
    const lease = ownLease(facts);
    if (!lease) return [skipped('our own lease is not known')];
    if (!isSurelyOwn(facts, lease)) return [skipped(`whether ${lease.key} is our own lease cannot be told`)];
    const found: Found[] = [];
    for (const family of overlay.families) {
      const device = overlay.devices.find((d) => d.includes('-v6') === (family === 6));
      const link = device === undefined ? undefined : linkNamed(facts, device);
      const told = vtepMac(lease, family);
      if (link?.mac && told && link.mac !== told)
        found.push(
          failure(
            link.name,
            `${link.name} has the MAC ${link.mac}, but our lease tells peers ${told}: what they send is dropped here`,
            `${parseMac(told) ? `ip link set ${link.name} address ${told}` : 'restart loden'} (a running daemon does it); then see to it that nobody ` +
              'changes it again: deploy/systemd/network/10-loden.link for udev, and see the check network-managers',
          ),
        );
      for (const peer of peerLeases(facts).filter((p) => told !== undefined && vtepMac(p, family) === told))
        found.push(
          failure(
            peer.key,
            `the lease ${peer.key} (${peer.publicIP ?? peer.publicIPv6}) has the same VtepMAC ${told} as ours: one of the two hosts is a copy of the other`,
            'on the copy: stop loden, remove its --state-dir, and start it again',
          ),
        );
    }
    return orOk(found, 'the device has the MAC that our lease tells peers');
  },
};
