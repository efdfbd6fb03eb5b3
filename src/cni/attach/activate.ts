import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import type { Kernel } from '../../kernel/kernel.ts';
import type { ObservedLink } from '../../kernel/observed.ts';
import type { Addr } from '../../net/addr.ts';
import type { Attachment } from '../types.ts';

/**
 * What the kernel has been told it does in part at its leisure, in work queues. A pod's first packet would be lost on it.
 */

/** Looks at an address in a row before time is given to the kernel, and then one millisecond after the other. */
const LOOKS = 20;
const MOST_LOOKS = 500;

/**
 * Makes one side of an attachment ready for the first packet. Rejects when the kernel does not answer.
 *
 * The end of a veth that came up first drops what it is to send until the kernel has noticed that the other is up too
 * (net/core/link_watch.c), and so does a bridge with its first port. Whoever asks for a device makes it notice at once
 * (net/core/rtnetlink.c rtnl_getlink; since Linux 6.9).
 */
export async function activate(
  kernel: Kernel,
  a: Attachment,
  whose: 'pod' | 'gateway',
  bridge?: ObservedLink,
): Promise<void> {
  const addresses = a.addresses.map(({ address, gateway }) => (whose === 'pod' ? address.addr : gateway));
  await Promise.all([
    kernel.activate(whose === 'pod' ? [a.ifname] : bridge ? [a.hostIf, bridge.name] : [a.hostIf]),
    ...addresses.filter(({ family }) => family === 6).map((addr) => received(kernel, addr)),
  ]);
}

/**
 * Waits until packets to an IPv6 address of this host are received: their route is added later, even where there is no look
 * for duplicates (net/ipv6/addrconf.c addrconf_dad_work), in some 50 us. A notification would need a socket of its own, which
 * takes longer to make. Gives up silently in the end: what is not ready then is no reason to take all back.
 */
async function received(kernel: Kernel, addr: Addr): Promise<void> {
  for (let look = 1; look <= MOST_LOOKS; look++) {
    if ((await kernel.wayTo(addr))?.isLocal) return;
    await (look <= LOOKS ? nextTurn() : sleep(1));
  }
}
