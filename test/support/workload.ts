import { randomBytes } from 'node:crypto';
import { formatAddr } from '../../src/net/addr.ts';
import { localMac } from '../../src/net/mac.ts';
import { formatPrefix, network, offset, type Prefix, prefix } from '../../src/net/prefix.ts';
import type { Host } from './host.ts';
import { Netns } from './netns.ts';

const BRIDGE = 'cni0';

/** A pod as the CNI bridge plugin would make it: `eth0` in a namespace of its own, behind the bridge cni0 of its host. */
export class Workload implements AsyncDisposable {
  readonly host: Host;
  readonly netns: Netns;
  readonly ipv4: string | undefined;
  readonly ipv6: string | undefined;

  private constructor(host: Host, netns: Netns, addrs: readonly Prefix[]) {
    const text = (family: 4 | 6) => {
      const found = addrs.find((a) => a.addr.family === family);
      return found && formatAddr(found.addr);
    };
    this.host = host;
    this.netns = netns;
    this.ipv4 = text(4);
    this.ipv6 = text(6);
  }

  /** The `index`-th pod (from 0) of the subnet that subnet.env names; the first has the subnet's second address. */
  static async create(host: Host, label: string, index: number): Promise<Workload> {
    const env = host.subnetEnv();
    const mtu = env.FLANNEL_MTU!;
    const gateways = [env.FLANNEL_SUBNET, env.FLANNEL_IPV6_SUBNET]
      .filter((text) => text !== undefined)
      .map(prefix);
    const addrs = gateways.map((g) => ({ addr: offset(network(g).addr, BigInt(index + 2)), len: g.len }));
    await ensureBridge(host.netns, mtu, gateways);

    const netns = await Netns.create(host.netns.owner, `${host.name}-${label}`);
    const port = `veth${index}`;
    await host.netns.ipBatch([
      `link add ${port} mtu ${mtu} type veth peer name eth0 mtu ${mtu} netns ${netns.name}`,
      `link set ${port} master ${BRIDGE} up`,
    ]);
    await netns.ipBatch([
      'link set eth0 up',
      ...addrs.map((a) => `addr add ${formatPrefix(a)} dev eth0`),
      ...gateways.map((g) => `route add default via ${formatAddr(g.addr)}`),
    ]);
    return new Workload(host, netns, addrs);
  }

  /** Its address in a family; throws if it has none. */
  addr(family: 4 | 6): string {
    const found = family === 4 ? this.ipv4 : this.ipv6;
    if (found === undefined) throw new Error(`${this.netns.name} has no IPv${family} address`);
    return found;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.netns[Symbol.asyncDispose]();
  }
}

/** The bridge with the gateway's addresses, once for each host. */
async function ensureBridge(netns: Netns, mtu: string, gateways: readonly Prefix[]): Promise<void> {
  const links = await netns.ipJson<{ ifname: string }[]>('link show');
  if (links.some((link) => link.ifname === BRIDGE)) return;
  await netns.ipBatch([
    // Its own, as the plugin gives it: otherwise it is that of a port and changes when pods come, and packets are lost.
    `link add ${BRIDGE} address ${localMac(randomBytes(6))} mtu ${mtu} type bridge`,
    ...gateways.map((g) => `addr add ${formatPrefix(g)} dev ${BRIDGE}`),
    `link set ${BRIDGE} up`,
  ]);
}
