import type { Kernel } from '../../kernel/kernel.ts';
import { reconcileOnce } from '../../kernel/once.ts';
import type { Route } from '../../kernel/types.ts';
import { samePrefix } from '../../net/prefix.ts';
import type { Attachment } from '../types.ts';
import { forwarding } from './bridge.ts';
import { hostObjects, podObjects, podRoutes } from './desired.ts';

/** What of an attachment is not as it was made, on both sides, in words. Looks only. */
export async function differences(a: Attachment, host: Kernel, pod: Kernel): Promise<string[]> {
  const [outside, inside] = await Promise.all([hostSide(a, host), podSide(a, pod)]);
  return [
    ...outside.differences,
    ...inside.differences.map((text) => `${text}, in the container`),
    ...(outside.peer === inside.ifindex
      ? []
      : [`link ${a.hostIf} is not the other end of ${a.ifname} in the container`]),
  ];
}

async function hostSide(
  a: Attachment,
  host: Kernel,
): Promise<{ differences: readonly string[]; peer?: number | undefined }> {
  const gateways =
    a.mode === 'bridge' && a.bridge !== undefined
      ? a.addresses.map(({ address, gateway }) => ({
          kind: 'address' as const,
          dev: a.bridge!,
          addr: { addr: gateway, len: address.len },
        }))
      : [];
  const bridge = a.bridge === undefined ? undefined : await host.linkNamed(a.bridge);
  if (bridge) host.remember(bridge);
  const routing = a.mode === 'ptp' ? forwarding(a.addresses.map(({ address }) => address.addr.family)) : [];
  const wanted = [...gateways, ...hostObjects(a), ...routing];
  const { differences } = await reconcileOnce(host, wanted, { apply: false });
  const link = await host.linkNamed(a.hostIf);
  return { differences, peer: link?.peer };
}

async function podSide(
  a: Attachment,
  pod: Kernel,
): Promise<{ differences: string[]; ifindex?: number | undefined }> {
  const { differences } = await reconcileOnce(pod, podObjects(a), { apply: false });
  const found = [...differences];
  const link = await pod.linkNamed(a.ifname);
  for (const route of link ? podRoutes(a) : []) {
    const { differences } = await reconcileOnce(pod, [route], { apply: false });
    if (differences.length > 0 && !(await isElsewhere(pod, route))) found.push(...differences);
  }
  return { differences: found, ifindex: link?.ifindex };
}

/** Does another network of the container lead there? It came first, and has the route. */
async function isElsewhere(pod: Kernel, wanted: Route): Promise<boolean> {
  const { family } = wanted.dst.addr;
  const others = await pod.routes({ family }, (o) => samePrefix(o.dst, wanted.dst) && o.dev !== wanted.dev);
  return others.length > 0;
}
