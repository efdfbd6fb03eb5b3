import type { Backend } from '../backend.ts';
import { noOptions } from '../no-options.ts';

/** Leases a subnet and leaves the network to somebody else: nothing in the kernel is touched. */
export const alloc: Backend<Readonly<Record<string, never>>> = {
  type: 'alloc',
  parse: noOptions,
  check: () => [],
  mtu: (_config, _families, host) => host.uplink.mtu,
  devices: () => [],
  advertise: () => ({ type: undefined, data: new Map() }),
  desired: () => [],
};
