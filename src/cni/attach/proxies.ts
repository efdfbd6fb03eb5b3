import { POD_ROUTE_PROTOCOL } from '../../contract.ts';
import type { Kernel } from '../../kernel/kernel.ts';
import type { ObservedLink } from '../../kernel/observed.ts';
import { type Addr, formatAddr } from '../../net/addr.ts';
import { containsAddr, type Prefix } from '../../net/prefix.ts';
import type { Request } from '../../netlink/message.ts';
import { afOf, NTF_PROXY, neigh } from '../../netlink/rtnl.ts';
import { type NetlinkOptions, NetlinkSocket } from '../../netlink/socket.ts';
import type { Attachment } from '../types.ts';

/**
 * Pods of mode bridge take all of the node's subnet to be on their bridge, those of mode ptp are routed: where a node has
 * both, the host answers on the bridge for each routed pod. Not by the sysctl proxy_arp, which answers for the whole routing
 * table, and not at all for IPv6, but by an entry of each address (NTF_PROXY, net/core/neighbour.c pneigh_lookup), marked by NDA_PROTOCOL.
 */

interface Bridge {
  readonly ifindex: number;
  readonly name: string;
  readonly prefixes: readonly Prefix[];
  /** Addresses it answers for, as text. */
  readonly held: Set<string>;
}

export class Proxies {
  readonly #options: NetlinkOptions;
  #socket: NetlinkSocket | undefined;
  readonly #bridges = new Map<string, Bridge>();

  constructor(options: NetlinkOptions) {
    this.#options = options;
  }

  /** A bridge is as it shall be, with these prefixes: it answers for the routed pods there are. Rejects when the kernel does not answer. */
  async sync(kernel: Kernel, { ifindex, name }: ObservedLink, prefixes: readonly Prefix[]): Promise<void> {
    const bridge: Bridge = { ifindex, name, prefixes, held: new Set() };
    // Known before the look at the routes: whoever is attached during it tells of itself.
    this.#bridges.set(name, bridge);
    await this.#review(kernel, bridge);
  }

  /** An attachment has been made. Rejects when its bridges cannot be told. */
  async attached({ mode, addresses }: Attachment): Promise<void> {
    for (const bridge of this.#bridges.values()) {
      const all = addresses.map(({ address }) => address.addr);
      if (mode === 'bridge')
        await this.#drop(
          bridge,
          all.filter((a) => bridge.held.has(formatAddr(a))),
        );
      else
        await this.#put(
          bridge,
          all.filter((a) => bridge.prefixes.some((p) => containsAddr(p, a))),
        );
    }
  }

  /** A pod is gone: nobody answers for it any more. */
  async settle(kernel: Kernel): Promise<void> {
    for (const bridge of this.#bridges.values()) if (bridge.held.size > 0) await this.#review(kernel, bridge);
  }

  forget(name: string): void {
    this.#bridges.delete(name);
  }

  close(): void {
    this.#bridges.clear();
    this.#socket?.close();
  }

  async #review(kernel: Kernel, bridge: Bridge): Promise<void> {
    const request = neigh.dump({ ndm_flags: NTF_PROXY }, { NDA_IFINDEX: bridge.ifindex });
    // The entries before the routes: what is made in between has its route first.
    const there = await this.#open().dump(request, ({ attributes: { NDA_DST: addr, NDA_PROTOCOL: by } }) =>
      by === POD_ROUTE_PROTOCOL ? addr : undefined,
    );
    const wanted = new Map<string, Addr>();
    for (const family of [4, 6] as const) {
      const inside = bridge.prefixes.filter((p) => p.addr.family === family);
      if (inside.length === 0) continue;
      const query = { family, protocol: POD_ROUTE_PROTOCOL };
      // By the protocol alone: names of devices made since are not known here.
      const routes = await kernel.routes(
        query,
        ({ dst }) => dst.len === (family === 4 ? 32 : 128) && inside.some((p) => containsAddr(p, dst.addr)),
      );
      for (const { dst } of routes) wanted.set(formatAddr(dst.addr), dst.addr);
    }
    for (const addr of there) bridge.held.add(formatAddr(addr));
    await this.#drop(
      bridge,
      there.filter((a) => !wanted.has(formatAddr(a))),
    );
    await this.#put(
      bridge,
      [...wanted].filter(([text]) => !bridge.held.has(text)).map(([, addr]) => addr),
    );
  }

  async #put(bridge: Bridge, addresses: readonly Addr[]): Promise<void> {
    if (addresses.length === 0) return;
    const { name } = bridge;
    const wasNone = bridge.held.size === 0;
    for (const a of addresses) bridge.held.add(formatAddr(a));
    // The delay is there for hosts that answer for one that can answer itself (up to 0.8 s).
    const sysctls = [
      [`net/ipv6/conf/${name}/proxy_ndp`, '1'],
      [`net/ipv6/neigh/${name}/proxy_delay`, '0'],
      [`net/ipv4/neigh/${name}/proxy_delay`, '0'],
    ];
    if (wasNone) await this.#open().sysctls(sysctls.map(([path, value]) => ({ path: path!, value: value! })));
    await this.#send(addresses.map((a) => request('put', bridge, a)));
  }

  async #drop(bridge: Bridge, addresses: readonly Addr[]): Promise<void> {
    if (addresses.length === 0) return;
    for (const a of addresses) bridge.held.delete(formatAddr(a));
    await this.#send(addresses.map((a) => request('remove', bridge, a)));
  }

  /** A bridge or an entry that is gone is none of our business. */
  async #send(requests: readonly Request[]): Promise<void> {
    for (const failure of await this.#open().transact(requests)) {
      if (failure && failure.code !== 'ENODEV' && failure.code !== 'ENOENT')
        throw new Error(`cannot have a bridge answer for a routed pod: ${failure.code}`);
    }
  }

  #open(): NetlinkSocket {
    this.#socket ??= NetlinkSocket.open(this.#options);
    return this.#socket;
  }
}

const request = (verb: 'put' | 'remove', { ifindex }: Bridge, addr: Addr): Request =>
  neigh[verb](
    { ndm_family: afOf(addr.family), ndm_ifindex: ifindex, ndm_flags: NTF_PROXY },
    { NDA_DST: addr, NDA_PROTOCOL: POD_ROUTE_PROTOCOL },
  ) as Request;
