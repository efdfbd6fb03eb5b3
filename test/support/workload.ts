import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { formatAddr } from '../../src/net/addr.ts';
import { localMac } from '../../src/net/mac.ts';
import { formatPrefix, network, offset, prefix } from '../../src/net/prefix.ts';
import type { Host } from './host.ts';
import { Netns } from './netns.ts';
import { type Container, lodenConfig, Plugin, type PluginResult, storeOf } from './plugin.ts';

const BRIDGE = 'cni0';

/** A pod: `eth0` in a namespace of its own, behind the bridge cni0 of its host, attached as a container runtime does it. */
export class Workload implements AsyncDisposable {
  readonly host: Host;
  readonly netns: Netns;
  readonly ipv4: string | undefined;
  readonly ipv6: string | undefined;
  #detach: () => Promise<void>;

  private constructor(
    host: Host,
    netns: Netns,
    addresses: readonly string[],
    detach: () => Promise<void> = async () => {},
  ) {
    this.host = host;
    this.netns = netns;
    this.ipv4 = addresses.find((text) => !text.includes(':'));
    this.ipv6 = addresses.find((text) => text.includes(':'));
    this.#detach = detach;
  }

  /** How a pod is attached on a host: the plugin with its configuration, and the container. */
  static attaching(
    host: Host,
    netns: Pick<Netns, 'name' | 'path'>,
  ): { plugin: Plugin; container: Container } {
    return {
      plugin: new Plugin(host.netns, lodenConfig(host)),
      container: { id: netns.name, netns: netns.path },
    };
  }

  /** Attached by the plugin, which asks the daemon of the host: that must run and have a lease. */
  static async create(host: Host, label: string): Promise<Workload> {
    const netns = await Netns.create(host.netns.owner, `${host.name}-${label}`);
    const { plugin, container } = Workload.attaching(host, netns);
    try {
      const result: PluginResult = await plugin.add(container);
      const addresses = result.ips.map(({ address }) => address.replace(/\/.*/, ''));
      return new Workload(host, netns, addresses, async () => {
        await plugin.del(container, result);
        await expectGone(host, result, addresses);
      });
    } catch (error) {
      await netns[Symbol.asyncDispose]();
      throw error;
    }
  }

  /**
   * The same by `ip` commands, for hosts on which no daemon of ours has run: the `index`-th pod (from 0) of the subnet that
   * subnet.env names; the first has the subnet's second address.
   */
  static async byHand(host: Host, label: string, index: number): Promise<Workload> {
    const env = host.subnetEnv();
    const mtu = env.FLANNEL_MTU!;
    const gateways = [env.FLANNEL_SUBNET, env.FLANNEL_IPV6_SUBNET]
      .filter((text) => text !== undefined)
      .map(prefix);
    const addrs = gateways.map((g) => ({ addr: offset(network(g).addr, BigInt(index + 2)), len: g.len }));
    if (index === 0) {
      await host.netns.ipBatch([
        // Its own, as the plugin gives it: otherwise it is that of a port and changes when pods come, and packets are lost.
        `link add ${BRIDGE} address ${localMac(randomBytes(6))} mtu ${mtu} type bridge`,
        ...gateways.map((g) => `addr add ${formatPrefix(g)} dev ${BRIDGE}`),
        `link set ${BRIDGE} up`,
      ]);
    }
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
    return new Workload(
      host,
      netns,
      addrs.map((a) => formatAddr(a.addr)),
    );
  }

  /** Its address in a family; throws if it has none. */
  addr(family: 4 | 6): string {
    const found = family === 4 ? this.ipv4 : this.ipv6;
    if (found === undefined) throw new Error(`${this.netns.name} has no IPv${family} address`);
    return found;
  }

  /** Detach it by the plugin, which needs the daemon of its host for it, or queues it. Idempotent. */
  async detach(): Promise<void> {
    const detach = this.#detach;
    this.#detach = async () => {};
    await detach();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.netns[Symbol.asyncDispose]();
  }
}

/** What an attachment has had on its host must be free again. */
async function expectGone(host: Host, result: PluginResult, addresses: readonly string[]): Promise<void> {
  const links = await host.netns.ipJson<{ ifname: string }[]>('link show type veth');
  const ends = (result.interfaces ?? []).filter(({ name, sandbox }) => !sandbox && name !== BRIDGE);
  const there = ends.filter(({ name }) => links.some(({ ifname }) => ifname === name));
  const taken = addresses.filter((address) =>
    existsSync(join(storeOf(host), String(lodenConfig(host).name), address)),
  );
  const left = [...there.map(({ name }) => name), ...taken];
  if (ends.length === 0 || left.length > 0) {
    throw new Error(
      `${host.name}: DEL has left ${left.join(', ') || 'who knows what: ADD has named no device'}`,
    );
  }
}
