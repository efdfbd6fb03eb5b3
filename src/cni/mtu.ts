import { CniError, CODE } from './errors.ts';
import type { NodeNetwork } from './types.ts';

/** Bytes that a link must carry to have IPv6 (RFC 8200 section 5). */
const LEAST_IPV6 = 1280;

/** Bytes of a packet in a pod; `configured`: `mtu` of the configuration. Throws {@link CniError} when the node's families cannot live with it. */
export function podMtu(configured: number | undefined, { mtu, subnets }: NodeNetwork): number {
  const own = configured ?? mtu;
  if (own >= LEAST_IPV6 || !subnets.some(({ subnet }) => subnet.addr.family === 6)) return own;
  throw new CniError(
    CODE.invalidConfig,
    `pods of this node have IPv6, which needs an MTU of ${LEAST_IPV6} at least, and ` +
      (configured === undefined
        ? `that of the overlay is ${own}: raise the MTU of the underlay's interface, or take IPv6 out of the network config (EnableIPv6)`
        : `"mtu" in the network configuration is ${own}: raise it, or leave it out to have the overlay's (${mtu})`),
  );
}
