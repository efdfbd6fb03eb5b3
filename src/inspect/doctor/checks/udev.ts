import type { Facts } from '../facts.ts';
import { overlayOf } from '../overlay.ts';
import { type Check, ok, skipped, warning } from '../types.ts';
import { fileFor, setting } from '../unitFile.ts';

/** Our own file, as docs/deploy.md puts it in place. */
const INSTALL = 'cp deploy/systemd/network/10-loden.link /etc/systemd/network/ && udevadm control --reload';

/** Does udev give our devices other MACs (MACAddressPolicy= in systemd.link(5))? */
export const udev: Check<Facts> = {
  id: 'udev',
  group: 'Neighbours',
  title: 'udev and MAC addresses',
  look(facts) {
    if ('missing' in facts.managers) return [skipped(facts.managers.missing)];
    const { running, linkFiles } = facts.managers.value;
    if (!running.has('systemd-udevd') && !running.has('udevd') && !running.has('(udev-worker)'))
      return [ok('udev does not run here')];
    const overlay = overlayOf(facts);
    const kind = overlay?.type === 'vxlan' || !overlay ? 'vxlan' : overlay.type === 'udp' ? 'tun' : undefined;
    const devices = (overlay?.devices ?? ['flannel.1']).map((name) => ({ name, kind }));
    for (const device of [...devices, { name: 'cni0', kind: 'bridge' }]) {
      const file = fileFor(linkFiles, device);
      const policy = file && setting(file, 'link.macaddresspolicy');
      if (file && policy !== undefined && policy !== 'none')
        return [
          warning(
            file.path,
            `${file.path} is what udev goes by for ${device.name}, and it says MACAddressPolicy=${policy}: udev may change the MAC that peers and pods rely on`,
            INSTALL,
          ),
        ];
    }
    return [ok('no file has udev change the MACs of our devices')];
  },
};
