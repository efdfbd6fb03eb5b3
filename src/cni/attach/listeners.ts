import type { Kernel } from '../../kernel/kernel.ts';
import { reconcileOnce } from '../../kernel/once.ts';
import type { Sysctl } from '../../kernel/types.ts';
import { everything, samePrefix } from '../../net/prefix.ts';

/** rtm_protocol of routes from router advertisements (linux/rtnetlink.h). */
const RTPROT_RA = 9;

const FORWARDING = 'net/ipv6/conf/all/forwarding';

/**
 * To be called before forwarding goes on: the kernel drops the default routes it has from router advertisements at that
 * moment (net/ipv6/route.c rt6_purge_dflt_routers), and listens no more, but on devices with accept_ra 2. Those that have such
 * a route get it; what has none yet, the daemon sees to later. Rejects when the kernel does not answer or refuses.
 */
export async function keepListening(
  kernel: Kernel,
  objects: Iterable<{ readonly kind: string }>,
): Promise<void> {
  const isWanted = [...objects].some((o) => o.kind === 'sysctl' && (o as Sysctl).path === FORWARDING);
  if (!isWanted || (await kernel.sysctl(FORWARDING)) !== '0') return;
  const routes = await kernel.routes({ family: 6, protocol: RTPROT_RA }, (o) =>
    samePrefix(o.dst, everything(6)),
  );
  const wanted: Sysctl[] = [];
  for (const ifindex of new Set(routes.flatMap((o) => o.ifindex ?? []))) {
    const [link] = await kernel.links(ifindex);
    const path = `net/ipv6/conf/${link?.name}/accept_ra`;
    if (link && (await kernel.sysctl(path)) === '1') wanted.push({ kind: 'sysctl', path, value: '2' });
  }
  if (wanted.length === 0) return;
  const { failures } = await reconcileOnce(kernel, wanted, { apply: true });
  if (failures[0]) throw failures[0];
}
