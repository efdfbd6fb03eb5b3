import type { Kernel } from '../../kernel/kernel.ts';
import { type Addr, sameAddr } from '../../net/addr.ts';
import { CniError, CODE } from '../errors.ts';
import { kernelFailure } from './failures.ts';
import { openNetns } from './netns.ts';

/** An interface of a container that no record tells of. */
export interface PodEnd {
  /** CNI_NETNS. */
  readonly netns: string;
  /** CNI_IFNAME. */
  readonly ifname: string;
  /** `<dev>:<ino>` of the namespace that is no container's: nothing is removed there. */
  readonly forbidden?: string | undefined;
  /** Only if it has one of these addresses. */
  readonly having?: readonly Addr[] | undefined;
}

/**
 * Removes an interface inside a container, as other plugins do at DEL, and with it its other end; nothing but a veth, and nothing
 * if the namespace is gone, or is the host's own (`<dev>:<ino>`). Resolves when it is gone. Throws {@link CniError}.
 */
export async function removePodEnd(
  openKernel: (netnsFd: number) => Kernel,
  { netns: path, ifname, forbidden, having }: PodEnd,
  host: string,
): Promise<boolean> {
  using netns = await openNetns(path, 'CHECK').catch((error: unknown) => {
    if (
      error instanceof CniError &&
      (error.code === CODE.unknownContainer || error.code === CODE.invalidNetns)
    )
      return undefined;
    throw error;
  });
  if (!netns || netns.id === forbidden || netns.id === host) return false;
  const pod = openKernel(netns.fd);
  try {
    const link = await pod.linkNamed(ifname);
    if (link?.type !== 'veth') return false;
    if (having) {
      const addresses = await pod.addresses(link.ifindex);
      if (!addresses.some(({ addr }) => having.some((a) => sameAddr(a, addr.addr)))) return false;
    }
    const [failure] = await pod.apply([{ verb: 'delete', object: link }]);
    if (failure && failure.code !== 'ENODEV') throw failure;
    return true;
  } catch (cause) {
    throw kernelFailure(`remove ${ifname} of the container at ${path}`, cause);
  } finally {
    pod.close();
  }
}
