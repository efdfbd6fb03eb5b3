import { closeSync, openSync } from 'node:fs';
import { NetlinkKernel } from '../../src/kernel/netlinkKernel.ts';
import type { SysctlFiles } from '../../src/kernel/sysctl.ts';
import type { Netns } from './netns.ts';
import { CommandError } from './proc.ts';

/** Sysctls of a namespace that the test itself is not in: by a process that enters it. */
const sysctlsIn = (netns: Netns): SysctlFiles => ({
  async read(path) {
    try {
      return (await netns.run(['cat', `/proc/sys/${path}`])).trim();
    } catch (cause) {
      if (cause instanceof CommandError && cause.stderr.includes('No such file')) return undefined;
      throw cause;
    }
  },
  async write(path, value) {
    await netns.sysctl({ [path]: value });
  },
});

/** A TUN device as the addon makes them, but in the namespace of the process that asks for it. */
export async function createTunIn(netns: Netns, name: string): Promise<void> {
  await netns.ip(`tuntap add dev ${name} mode tun multi_queue vnet_hdr`);
}

/** The kernel as seen from inside a namespace. Closing it closes its descriptor too. */
export function kernelIn(netns: Netns): NetlinkKernel {
  const fd = openSync(netns.path, 'r');
  const kernel = NetlinkKernel.open({
    netnsFd: fd,
    sysctls: sysctlsIn(netns),
    createTun: (name) => createTunIn(netns, name),
  });
  const close = kernel.close.bind(kernel);
  kernel.close = () => {
    close();
    closeSync(fd);
  };
  return kernel;
}
