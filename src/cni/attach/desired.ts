import { POD_ROUTE_PROTOCOL } from '../../contract.ts';
import type { Address, KernelObject, Neigh, Route, Sysctl, VethLink } from '../../kernel/types.ts';
import type { Addr } from '../../net/addr.ts';
import { everything, hostPrefix, network, type Prefix, samePrefix } from '../../net/prefix.ts';
import type { AttachedAddress, Attachment } from '../types.ts';
import { hostAlias } from './names.ts';

/**
 * The kernel objects of an attachment, pure. Both ends follow from the record alone, so that CHECK compares with what
 * ADD has made, whatever the node's subnet is by then.
 */

/**
 * The host's side. `netnsFd`: where the container's end is born; absent: it is there already, and the veth is not made.
 *
 * Mode bridge: a port. Mode ptp: a routed link, with the gateway on this end, the way to the pod and who it is.
 */
export function hostObjects(a: Attachment, netnsFd?: number): KernelObject[] {
  const dev = a.hostIf;
  const peer = netnsFd === undefined ? {} : { peer: { netnsFd, name: a.ifname, mac: a.mac, mtu: a.mtu } };
  const link: VethLink = {
    kind: 'link',
    name: dev,
    mac: a.hostMac,
    mtu: a.mtu,
    up: true,
    alias: hostAlias(a),
    veth:
      a.mode === 'bridge'
        ? { ...peer, ...(a.bridge === undefined ? {} : { master: a.bridge }), hairpin: a.hairpin }
        : peer,
  };
  if (a.mode === 'bridge') return [link];
  return [
    link,
    // A pod must not tell the host its routes.
    ipv6(dev, 'accept_ra', '0'),
    ...a.addresses.flatMap(({ address, gateway }): KernelObject[] => [
      { kind: 'address', dev, addr: hostPrefix(gateway) } satisfies Address,
      { kind: 'neigh', dev, addr: address.addr, mac: a.mac } satisfies Neigh,
      route(dev, hostPrefix(address.addr)),
    ]),
  ];
}

/**
 * The container's side, in its namespace, but for {@link podRoutes}. Its end of the veth is put right, never made.
 * `hasIpv6`: new devices have IPv6 there. To tell them so once more would cost much where many pods are attached at once: that
 * sysctl asks for RTNL again and again until it is free (net/ipv6/addrconf.c addrconf_disable_ipv6).
 */
export function podObjects(a: Attachment, hasIpv6 = false): KernelObject[] {
  const dev = a.ifname;
  const link: VethLink = {
    kind: 'link',
    name: dev,
    mac: a.mac,
    mtu: a.mtu,
    up: true,
    alias: '',
    veth: {},
  };
  return [link, ...podSysctls(a, hasIpv6), ...a.addresses.flatMap((to) => connected(a, to))];
}

/** No router but the gateway, and no wait for duplicates: nobody else can have the address. */
function podSysctls({ ifname, addresses }: Attachment, hasIpv6: boolean): Sysctl[] {
  const guard = ipv6(ifname, 'accept_ra', '0');
  if (!addresses.some(({ address }) => address.addr.family === 6)) return [guard];
  const on = hasIpv6 ? [] : [ipv6(ifname, 'disable_ipv6', '0')];
  return [guard, ipv6(ifname, 'accept_dad', '0'), ...on];
}

function connected(a: Attachment, { address, gateway }: AttachedAddress): KernelObject[] {
  const dev = a.ifname;
  if (a.mode === 'bridge') return [{ kind: 'address', dev, addr: address }];
  return [
    { kind: 'address', dev, addr: hostPrefix(address.addr) },
    { kind: 'neigh', dev, addr: gateway, mac: a.hostMac },
    route(dev, hostPrefix(gateway)),
  ];
}

/**
 * The container's default routes, then the further ones; none that is there anyway. A container in two networks has one
 * default route, of the network that came first: these may be refused (EEXIST).
 */
export function podRoutes(a: Attachment): Route[] {
  const routes: Route[] = [];
  for (const { address, gateway } of a.addresses) {
    const { family } = address.addr;
    const home = a.mode === 'bridge' ? network(address) : hostPrefix(gateway);
    const wanted: readonly Prefix[] = [everything(family), ...a.routes.map(network)];
    for (const dst of wanted) {
      if (dst.addr.family !== family || samePrefix(home, dst)) continue;
      if (!routes.some((r) => samePrefix(r.dst, dst))) routes.push(route(a.ifname, dst, gateway));
    }
  }
  return routes;
}

/** What devices of the container's namespace are born with. */
export const NO_IPV6 = 'net/ipv6/conf/default/disable_ipv6';

const ipv6 = (dev: string, name: string, value: string): Sysctl => ({
  kind: 'sysctl',
  path: `net/ipv6/conf/${dev}/${name}`,
  value,
  dev,
});

const route = (dev: string, dst: Prefix, via?: Addr): Route => ({
  kind: 'route',
  type: 'unicast',
  dst,
  ...(via ? { via } : {}),
  dev,
  onlink: false,
  protocol: POD_ROUTE_PROTOCOL,
});
