import { closeSync, openSync } from 'node:fs';
import { NetlinkKernel } from '../../src/kernel/netlinkKernel.ts';
import type { Netns } from './netns.ts';

/** A TUN device as the addon makes them, but in the namespace of the process that asks for it. */
export async function createTunIn(netns: Netns, name: string): Promise<void> {
  await netns.ip(`tuntap add dev ${name} mode tun multi_queue vnet_hdr`);
}

/** The kernel as seen from inside a namespace. Closing it closes its descriptor too. */
export function kernelIn(netns: Netns): NetlinkKernel {
  const fd = openSync(netns.path, 'r');
  const kernel = NetlinkKernel.open({
    netnsFd: fd,
    createTun: (name) => createTunIn(netns, name),
  });
  const close = kernel.close.bind(kernel);
  kernel.close = () => {
    close();
    closeSync(fd);
  };
  return kernel;
}
