import { knownValue, whyMissing } from '../../world.ts';
import type { Facts } from '../facts.ts';
import { listed, overlayOf } from '../overlay.ts';
import { type Check, ok, skipped, warning } from '../types.ts';

/** Do checksums arrive whole that the device is to fill in? */
export const checksum: Check<Facts> = {
  id: 'checksum',
  group: 'Tunnel',
  title: 'checksum offload',
  look(facts) {
    const overlay = overlayOf(facts);
    if (overlay && overlay.type !== 'vxlan')
      return [ok(`the backend ${overlay.type} leaves no checksums of pods to the interface`)];
    const probes = knownValue(facts.world.probes);
    if (!probes) return [skipped(`only the daemon's probes tell: ${whyMissing(facts.world.probes)}`)];
    if (!probes.enabled) return [skipped('the daemon does not probe (--probe-interval 0)')];
    const bad = probes.paths.filter((p) => p.checksum === 'corrupted');
    const offload = probes.checksumOffload;
    const device = offload?.device ?? overlay?.devices[0] ?? 'flannel.1';
    const fix =
      `update the driver or firmware of the interface, or the kernel; until then ethtool -K ${device} tx-checksum-ip-generic off on both hosts ` +
      '(a running daemon does it)';
    if (bad.length > 0)
      return [
        warning(
          device,
          `packets whose checksums the interface fills in arrive corrupted at ${listed(bad.map((p) => p.key))}` +
            (offload?.state === 'off' ? `; loden has turned that off on ${device}` : ''),
          fix,
        ),
      ];
    if (offload?.state === 'off')
      return [
        warning(
          device,
          `checksum offload is off on ${device}: ${offload.reason ?? 'somebody has turned it off'}`,
          fix,
        ),
      ];
    const good = probes.paths.filter((p) => p.checksum === 'good').length;
    return [
      ok(good > 0 ? `checksums arrive whole on ${good} paths` : 'no probe has found a corrupted checksum'),
    ];
  },
};
