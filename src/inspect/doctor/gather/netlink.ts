import { dumpAddresses, readAddress } from '../../../kernel/address.ts';
import { dumpLinks, readLink } from '../../../kernel/link.ts';
import { Names } from '../../../kernel/names.ts';
import type { ObservedAddress, ObservedRoute } from '../../../kernel/observed.ts';
import { dumpRoutes, readRoute } from '../../../kernel/route.ts';
import { NetlinkSocket } from '../../../netlink/socket.ts';
import type { LinkFact } from '../facts.ts';

/** What the kernel holds, of everybody: it is only listed, which anybody may. */
export interface KernelListing {
  readonly links: readonly LinkFact[];
  readonly addresses: readonly ObservedAddress[];
  readonly routes: readonly ObservedRoute[];
}

export async function listKernel(): Promise<KernelListing> {
  using socket = NetlinkSocket.open();
  const names = new Names();
  const links = await socket.dump(dumpLinks(), (message) => {
    const link = readLink(message);
    if (!link) return undefined;
    names.set(link.ifindex, link.name);
    const external = (message.attributes.IFLA_LINKINFO?.vxlan?.IFLA_VXLAN_COLLECT_METADATA ?? 0) !== 0;
    return { ...link, external };
  });
  const addresses = await socket.dump(dumpAddresses(), (message) => readAddress(message, names));
  const routes: ObservedRoute[] = [];
  for (const family of [4, 6] as const) {
    for (const r of await socket.dump(dumpRoutes({ family }), (message) => readRoute(message, family, names)))
      routes.push(r);
  }
  return { links, addresses, routes };
}
