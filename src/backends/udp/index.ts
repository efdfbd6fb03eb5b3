import { TUN_DEVICE } from '../../contract.ts';
import type { Backend } from '../backend.ts';
import { parseUdp, type UdpConfig } from './config.ts';
import { desiredUdp, udpPaths, udpRoute } from './desired.ts';
import { checkDevice, deviceMtu } from './device.ts';
import { udpForwarding } from './table.ts';

/** Packets of pods as they are in UDP, by way of a TUN device and a forwarder in user space; flannel's default. */
export const udp: Backend<UdpConfig> = {
  type: 'udp',
  parse: parseUdp,
  check: (_config, families, host, network) => checkDevice(families, host, network),
  mtu: (_config, families, host) => deviceMtu(families, host),
  devices: () => [TUN_DEVICE],
  advertise: () => ({ type: undefined, data: new Map() }),
  desired: desiredUdp,
  paths: udpPaths,
  ownRoute: udpRoute,
  forwarding: udpForwarding,
};
