import type { Facts, Managers, UnitFile } from '../facts.ts';
import { type Overlay, overlayOf, uplinkName } from '../overlay.ts';
import { type Check, type Found, orOk, skipped, warning } from '../types.ts';
import { fileFor, globs, setting, truth } from '../unitFile.ts';

/** Does a program that manages the network take our devices, addresses or routes for its own? */
export const networkManagers: Check<Facts> = {
  id: 'network-managers',
  group: 'Neighbours',
  title: 'programs that manage the network',
  look(facts) {
    if ('missing' in facts.managers) return [skipped(facts.managers.missing)];
    const managers = facts.managers.value;
    const overlay = overlayOf(facts);
    const devices = [...(overlay?.devices ?? ['flannel.1']), 'cni0'];
    const uplink = uplinkName(facts, overlay);
    const found = [
      ...networkd(managers, overlay, devices, uplink),
      ...networkManager(managers, devices),
      ...dhcpcd(managers, devices),
      ...connman(managers, devices),
    ];
    return orOk(found, 'nobody here takes our devices and routes for his own');
  },
};

/** `systemd-networkd`, as the kernel shortens it. */
const NETWORKD = 'systemd-network';
const NETWORK_FILE = 'cp deploy/systemd/network/10-loden.network /etc/systemd/network/ && networkctl reload';

const lastTruth = (files: readonly UnitFile[], key: string): boolean | undefined =>
  files.map((f) => truth(setting(f, key))).findLast((t) => t !== undefined);

function networkd(
  { running, networkFiles, networkdConf }: Managers,
  overlay: Overlay | undefined,
  devices: readonly string[],
  uplink: string | undefined,
): Found[] {
  if (!running.has(NETWORKD)) return [];
  const found: Found[] = [];
  const manages = (name: string, kind: string | undefined): UnitFile | undefined => {
    const file = fileFor(networkFiles, { name, kind });
    return file && truth(setting(file, 'link.unmanaged')) ? undefined : file;
  };
  for (const name of devices) {
    const kind = name === 'cni0' ? 'bridge' : overlay?.type === 'udp' ? 'tun' : 'vxlan';
    const file = manages(name, kind);
    if (!file) continue;
    found.push(
      warning(
        file.path,
        `systemd-networkd runs, and ${file.path} fits ${name}: it takes away addresses and routes there that it has not made`,
        NETWORK_FILE,
      ),
    );
    break;
  }
  const foreign = lastTruth(networkdConf, 'network.manageforeignroutes') ?? true;
  const file = overlay?.routed && uplink !== undefined ? manages(uplink, undefined) : undefined;
  if (foreign && file)
    found.push(
      warning(
        uplink!,
        `systemd-networkd runs and manages ${uplink} by ${file.path}: when it restarts it removes routes to peers there, for ManageForeignRoutes= is not "no"`,
        'mkdir -p /etc/systemd/networkd.conf.d && printf "[Network]\\nManageForeignRoutes=no\\n" >/etc/systemd/networkd.conf.d/loden.conf && ' +
          'systemctl restart systemd-networkd',
      ),
    );
  return found;
}

function networkManager({ running, networkManagerConf }: Managers, devices: readonly string[]): Found[] {
  if (!running.has('NetworkManager')) return [];
  const left = devices.filter((d) => !isUnmanaged(networkManagerConf, d));
  if (left.length === 0) return [];
  return [
    warning(
      'NetworkManager',
      `NetworkManager runs and nothing tells it to leave ${left.join(' and ')} alone: it may change their addresses, routes and MACs`,
      'printf "[keyfile]\\nunmanaged-devices=interface-name:flannel*;interface-name:cni0;interface-name:veth*\\n" ' +
        '>/etc/NetworkManager/conf.d/loden.conf && systemctl reload NetworkManager',
    ),
  ];
}

/** `unmanaged-devices=` of the last file that has it (NetworkManager.conf(5)), or a [device] section with managed=0. */
function isUnmanaged(files: readonly UnitFile[], device: string): boolean {
  const lists = files.flatMap((f) => {
    const plain = setting(f, 'keyfile.unmanaged-devices');
    const added = setting(f, 'keyfile.unmanaged-devices+');
    return [plain, added].filter((v) => v !== undefined);
  });
  const sections = files.flatMap((f) =>
    [...f.settings].flatMap(([key, values]) => {
      const section = /^(device.*)\.match-device$/.exec(key)?.[1];
      const managed = section && truth(setting(f, `${section}.managed`));
      return managed === false ? values : [];
    }),
  );
  const named = [...lists, ...sections].flatMap((text) => text.split(/[;,]/));
  return named.some((spec) => {
    const [, pattern] = /^\s*interface-name:=?(.+?)\s*$/.exec(spec) ?? [];
    return pattern !== undefined && globs(pattern, device);
  });
}

function dhcpcd({ running, plain }: Managers, devices: readonly string[]): Found[] {
  if (!running.has('dhcpcd')) return [];
  const text = plain.get('dhcpcd.conf') ?? '';
  const words = (key: string) =>
    [...text.matchAll(new RegExp(`^\\s*${key}\\s+(.+)$`, 'gm'))].flatMap((m) => m[1]!.trim().split(/[\s,]+/));
  const [denied, allowed] = [words('denyinterfaces'), words('allowinterfaces')];
  const left = devices.filter(
    (d) => !denied.some((p) => globs(p, d)) && (allowed.length === 0 || allowed.some((p) => globs(p, d))),
  );
  if (left.length === 0) return [];
  return [
    warning(
      'dhcpcd',
      `dhcpcd runs and asks for addresses on ${left.join(' and ')} too: it gives them link-local ones and routes`,
      'echo "denyinterfaces flannel* cni0 veth*" >>/etc/dhcpcd.conf && systemctl restart dhcpcd',
    ),
  ];
}

function connman({ running, plain }: Managers, devices: readonly string[]): Found[] {
  if (!running.has('connmand')) return [];
  const list = /^\s*NetworkInterfaceBlacklist\s*=\s*(.+)$/m.exec(plain.get('main.conf') ?? '')?.[1] ?? '';
  const prefixes = list.split(',').map((p) => p.trim());
  const left = devices.filter((d) => !prefixes.some((p) => p !== '' && d.startsWith(p)));
  if (left.length === 0) return [];
  return [
    warning(
      'connmand',
      `connman runs and takes ${left.join(' and ')} for its own`,
      'add flannel,cni,veth to NetworkInterfaceBlacklist= in /etc/connman/main.conf and restart connman',
    ),
  ];
}
