import type { Backend } from '../backend.ts';
import { parseVxlan, type VxlanConfig } from './config.ts';
import { desiredVxlan, vxlanPaths } from './desired.ts';
import { checkDevices, deviceMtu, deviceName } from './device.ts';
import { vtepData } from './vtep.ts';

/** Packets of pods in UDP through the kernel's VXLAN devices, one for each family. */
export const vxlan: Backend<VxlanConfig> = {
  type: 'vxlan',
  parse: parseVxlan,
  check: checkDevices,
  mtu: (config, families, host) => Math.min(...families.map((f) => deviceMtu(config, f, host))),
  devices: (config, families) => families.map((f) => deviceName(config, f)),
  advertise: (config, families, host) => ({
    type: 'vxlan',
    data: new Map(families.map((f) => [f, vtepData(config.vni, host.mac(deviceName(config, f)))])),
  }),
  desired: desiredVxlan,
  paths: vxlanPaths,
};
