import type { Forwarding } from '../../src/backends/backend.ts';
import { LINK_ALIAS, ROUTE_PROTOCOL } from '../../src/contract.ts';
import type { KernelObject } from '../../src/kernel/types.ts';
import { formatAddr } from '../../src/net/addr.ts';
import { formatPrefix } from '../../src/net/prefix.ts';

/** What a forwarder is to do, one line for each peer. */
export function forwardingWords({ device, port, local, table }: Forwarding): string[] {
  const { mtu, tun, own, peers } = table;
  return [
    `forward ${device} mtu ${mtu} port ${port} local ${local.map(formatAddr).join(' ')}`,
    `  at ${tun.map(formatAddr).join(' ')} for ${own.map(formatPrefix).join(' ')}`,
    ...peers.map(
      ({ slot, endpoints, prefixes }) =>
        `  peer ${slot} at ${endpoints.map(formatAddr).join(' ')} has ${prefixes.map(formatPrefix).join(' ')}`,
    ),
  ];
}

/** A kernel object as the command that would make it, for goldens people can read. */
export function words(o: KernelObject): string {
  switch (o.kind) {
    case 'link': {
      if (o.tun) {
        const alias = o.alias === LINK_ALIAS ? '' : ` alias ${o.alias}`;
        return `ip tuntap add ${o.name} mode tun multi_queue vnet_hdr; ip link set ${o.name} mtu ${o.mtu} txqueuelen ${o.tun.txqlen} ${o.up ? 'up' : 'down'}${alias}`;
      }
      if (!o.vxlan) throw new Error(`no words for link ${o.name}: pods are described by other tests`);
      const { vni, port, local, underlay, learning, gbp } = o.vxlan;
      const switches = [learning ? 'learning' : 'nolearning', ...(gbp ? ['gbp'] : [])].join(' ');
      const alias = o.alias === LINK_ALIAS ? '' : ` alias ${o.alias}`;
      return `ip link add ${o.name} address ${o.mac} mtu ${o.mtu} ${o.up ? 'up' : 'down'}${alias} type vxlan id ${vni} dstport ${port} local ${formatAddr(local)} dev ${underlay} ${switches}`;
    }
    case 'sysctl':
      return `sysctl ${o.path}=${o.value}`;
    case 'address':
      return `ip address add ${formatPrefix(o.addr)} dev ${o.dev}`;
    case 'neigh':
      return `ip neigh add ${formatAddr(o.addr)} lladdr ${o.mac} dev ${o.dev} nud permanent`;
    case 'fdb':
      return `bridge fdb add ${o.mac} dev ${o.dev} dst ${formatAddr(o.dst)} self permanent`;
    case 'route': {
      const way = `${o.via ? ` via ${formatAddr(o.via)}` : ''}${o.dev ? ` dev ${o.dev}` : ''}${o.onlink ? ' onlink' : ''}`;
      const type = o.type === 'unicast' ? '' : `${o.type} `;
      const proto = o.protocol === ROUTE_PROTOCOL ? '' : ` proto ${o.protocol}`;
      return `ip route add ${type}${formatPrefix(o.dst)}${way}${proto}${o.metric === undefined ? '' : ` metric ${o.metric}`}`;
    }
  }
}
