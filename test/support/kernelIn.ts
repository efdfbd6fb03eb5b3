import { closeSync, openSync } from 'node:fs';
import { NetlinkKernel } from '../../src/kernel/netlinkKernel.ts';
import { addon, type NativeNetlink } from '../../src/native/addon.ts';
import { NETLINK_ROUTE } from '../../src/netlink/header.ts';
import { NetlinkSocket } from '../../src/netlink/socket.ts';
import type { Netns } from './netns.ts';

/** A TUN device as the addon makes them, but in the namespace of the process that asks for it. */
async function createTunIn(netns: Netns, name: string): Promise<void> {
  await netns.ip(`tuntap add dev ${name} mode tun multi_queue vnet_hdr`);
}

/** The kernel as seen from inside a namespace. Closing it closes its descriptor too. */
export function kernelIn(netns: Netns): NetlinkKernel {
  const fd = openSync(netns.path, 'r');
  const kernel = NetlinkKernel.open({
    netnsFd: fd,
    txChecksums: true,
    createTun: (name) => createTunIn(netns, name),
  });
  return closing(kernel, fd);
}

/** What a kernel was asked, at the border to the native side. */
export interface Traffic {
  /** Times that JavaScript waited for an answer before it went on to ask. */
  waits: number;
  /** Jobs of the socket's thread: exchanges and batches of sysctls. */
  jobs: number;
  /** Bytes that came back. */
  bytes: number;
}

/** {@link kernelIn}, and what goes over the border. */
export function meteredKernelIn(netns: Netns): { readonly kernel: NetlinkKernel; readonly traffic: Traffic } {
  const fd = openSync(netns.path, 'r');
  const traffic: Traffic = { waits: 0, jobs: 0, bytes: 0 };
  const native = addon().netlinkOpen(NETLINK_ROUTE, fd, 1024 * 1024);
  let out = 0;
  async function metered<T>(job: Promise<T>): Promise<T> {
    traffic.jobs++;
    if (out++ === 0) traffic.waits++;
    try {
      return await job;
    } finally {
      out--;
    }
  }
  const socket: NativeNetlink = {
    portId: native.portId,
    close: () => native.close(),
    sysctls: (jobs) => metered(native.sysctls(jobs)),
    async exchange(bytes, lastSeq, timeoutMs) {
      const reply = await metered(native.exchange(bytes, lastSeq, timeoutMs));
      traffic.bytes += reply.data.length;
      return reply;
    },
  };
  return { kernel: closing(new NetlinkKernel(new NetlinkSocket(socket), { netnsFd: fd }), fd), traffic };
}

function closing(kernel: NetlinkKernel, fd: number): NetlinkKernel {
  const close = kernel.close.bind(kernel);
  kernel.close = () => {
    close();
    closeSync(fd);
  };
  return kernel;
}
