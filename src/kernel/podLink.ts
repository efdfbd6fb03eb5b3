import type { Request } from '../netlink/message.ts';
import {
  type IfInfo,
  IN6_ADDR_GEN_MODE_NONE,
  type LinkAttributes,
  type LinkInfo,
  link,
} from '../netlink/rtnl.ts';
import type { LinkChange } from './link.ts';
import type { Names } from './names.ts';
import type { ObservedLink } from './observed.ts';
import type { ObservedState } from './state.ts';
import type { BridgeLink, Link, VethLink } from './types.ts';

/** Bridges and veths: what pods hang on. */

/** RFC 8200: a device with a smaller MTU has no IPv6, and refuses to be told how to do it. */
export const IPV6_MTU = 1280;

/** What differs of a bridge of ours or a veth; undefined: it is of another type. */
export function comparePodLink(
  o: ObservedLink,
  wanted: BridgeLink | VethLink,
  state: Pick<ObservedState, 'link'>,
): Partial<LinkChange> | undefined {
  if (o.type !== (wanted.bridge ? 'bridge' : 'veth')) return undefined;
  const mac = o.mac !== wanted.mac;
  if (wanted.bridge) return { mac };
  const { master, hairpin = false } = wanted.veth;
  const isPort = master !== undefined && o.master !== undefined && o.master === state.link(master)?.ifindex;
  return {
    mac,
    master: master === undefined ? o.master !== undefined : !isPort,
    // A port starts without.
    hairpin: master !== undefined && hairpin !== (isPort && o.hairpin === true),
  };
}

/**
 * A veth uses one queue unless it is told otherwise, but is made with one for each CPU: to put the others out of use takes the
 * kernel as long as all the rest (drivers/net/veth.c veth_init_queues).
 */
const ONE_QUEUE = { IFLA_NUM_TX_QUEUES: 1, IFLA_NUM_RX_QUEUES: 1 } as const;

/**
 * With the other end, in its namespace, by one message. A bridge gets its MTU afterwards: one that it is born with it
 * gives up for that of its ports (net/bridge/br_if.c br_mtu_auto_adjust).
 */
export function createPodLink(o: BridgeLink | VethLink, names: Names): Request<IfInfo, LinkAttributes> {
  const own = { IFLA_IFNAME: o.name, IFLA_ADDRESS: o.mac };
  if (o.bridge) return link.create({}, { ...own, IFLA_LINKINFO: { kind: 'bridge' } });
  const { peer, master } = o.veth;
  const other = peer && {
    header: {},
    attributes: {
      IFLA_ADDRESS: peer.mac,
      IFLA_IFNAME: peer.name,
      IFLA_MTU: peer.mtu,
      IFLA_NET_NS_FD: peer.netnsFd,
      ...ONE_QUEUE,
    },
  };
  return link.create(
    {},
    {
      ...own,
      IFLA_MTU: o.mtu,
      ...ONE_QUEUE,
      IFLA_MASTER: master === undefined ? undefined : names.ifindex(master),
      IFLA_LINKINFO: { kind: 'veth', ...(other ? { veth: { VETH_INFO_PEER: other } } : {}) },
    },
  );
}

/**
 * A port gets no link-local address: it is the bridge that speaks. It may be refused: there are kernels without IPv6. To be
 * told before the port comes up. Undefined: nothing is to be told.
 */
export const silencePort = (o: Link, ifindex: number): Request<IfInfo, LinkAttributes> | undefined =>
  o.veth?.master === undefined || o.mtu < IPV6_MTU
    ? undefined
    : link.change(
        { ifi_index: ifindex },
        { IFLA_AF_SPEC: { AF_INET6: { IFLA_INET6_ADDR_GEN_MODE: IN6_ADDR_GEN_MODE_NONE } } },
      );

/** What only a port can be told, once it is one. */
export const portInfo = (hairpin = false): LinkInfo => ({
  slaveKind: 'bridge',
  port: { IFLA_BRPORT_MODE: hairpin ? 1 : 0 },
});
