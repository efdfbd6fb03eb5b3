import { CNI } from '../../contract.ts';
import type { ObservedAddress, ObservedLink } from '../../kernel/observed.ts';
import type { Address, BridgeLink, KernelObject, Sysctl } from '../../kernel/types.ts';
import { sameAddr } from '../../net/addr.ts';
import { containsPrefix, formatPrefix, network, offset, type Prefix, samePrefix } from '../../net/prefix.ts';
import { scopeOf } from '../../net/scope.ts';
import { CniError, CODE } from '../errors.ts';
import type { NodeNetwork } from '../types.ts';
import { addressMac, BRIDGE_ALIAS } from './names.ts';

/** What a bridge shall be: a policy, pure. */

export interface BridgeWish {
  readonly name: string;
  /** Bytes. */
  readonly mtu: number;
  /** The gateway of each of the node's subnets, with the subnet's length. */
  readonly gateways: readonly Prefix[];
  /** The overlay, of each family. */
  readonly networks: readonly Prefix[];
}

export interface BridgePort {
  readonly name: string;
  /** Of an attachment, so that it is known which addresses it has. */
  readonly isOurs: boolean;
}

/** What the kernel has of it. */
export interface BridgeSight {
  /** Undefined: there is no device of the name. */
  readonly link: ObservedLink | undefined;
  /** All addresses of the namespace: others' devices may hold what belongs here. */
  readonly addresses: readonly ObservedAddress[];
  readonly ports: readonly BridgePort[];
}

/**
 * Does a pod hold an address of this prefix? Of an attachment counts the subnet that it was given its address with, of
 * an entry of the store, which knows no subnet, whether it lies in the prefix and in none of the node's present subnets.
 */
export type InUse = (subnet: Prefix) => boolean;

export interface BridgePlan {
  /** As it shall be, everything that is right already included. */
  readonly objects: readonly KernelObject[];
  readonly remove: readonly ObservedAddress[];
  /** Gateways of earlier subnets that stay, for pods use them. */
  readonly kept: readonly Prefix[];
}

/** The first address of each subnet is the gateway's. */
export const bridgeWish = (name: string, node: NodeNetwork): BridgeWish => ({
  name,
  mtu: node.mtu,
  gateways: node.subnets.map(({ subnet }) => gatewayOf(subnet)),
  networks: node.subnets.map((s) => s.network),
});

/** With the subnet's length. */
const gatewayOf = (subnet: Prefix): Prefix => ({
  addr: offset(network(subnet).addr, 1n),
  len: subnet.len,
});

/**
 * What to put and what to remove. An address that is not wished for stays while pods use its prefix; goes if it is the
 * gateway's own with another length, if the bridge is empty and made for pods (by its alias or name) or the address is one of
 * the overlay, or if it was the gateway of an earlier subnet and all ports are of pods that have other addresses; else nobody knows what it is for, and that is the end. Throws {@link CniError}
 * `bridgeBlocked`, which names what is in the way.
 */
export function planBridge(wish: BridgeWish, sight: BridgeSight, inUse: InUse): BridgePlan {
  const { name, gateways } = wish;
  const { link, ports } = sight;
  const strangers = ports.filter((port) => !port.isOurs);
  if (link && link.type !== 'bridge') throw notABridge(name, link);
  heldElsewhere(wish, sight);
  const remove: ObservedAddress[] = [];
  const kept: Prefix[] = [];
  const unexplained: ObservedAddress[] = [];
  for (const o of sight.addresses) {
    if (o.dev !== name || scopeOf(o.addr.addr) === 'link') continue;
    if (gateways.some((g) => samePrefix(g, o.addr))) continue;
    if (gateways.some((g) => sameAddr(g.addr, o.addr.addr))) remove.push(o);
    else if (inUse(network(o.addr))) kept.push(o.addr);
    else if (
      ports.length === 0 ? isForPods(wish, link, o) : strangers.length === 0 && isFormerGateway(wish, o)
    )
      remove.push(o);
    else unexplained.push(o);
  }
  if (unexplained.length > 0) {
    throw blocked(wish, unexplained, strangers.length > 0 ? strangers : ports);
  }
  return { objects: bridgeObjects(wish, link), remove, kept };
}

/** An empty bridge may be somebody's who has no port for it yet, and its address too. */
const isForPods = ({ name, networks }: BridgeWish, link: ObservedLink | undefined, o: ObservedAddress) =>
  link?.alias === BRIDGE_ALIAS ||
  name === CNI.bridge ||
  networks.some((whole) => containsPrefix(whole, o.addr));

/** One that this policy has put there, for an earlier lease. */
const isFormerGateway = ({ networks }: BridgeWish, { addr }: ObservedAddress): boolean =>
  networks.some((whole) => containsPrefix(whole, addr)) && samePrefix(gatewayOf(addr), addr);

/** Of a bridge that is there, MAC and alias stay what they are: its pods know the one, its maker the other. */
function bridgeObjects({ name, mtu, gateways }: BridgeWish, there: ObservedLink | undefined): KernelObject[] {
  const link: BridgeLink = {
    kind: 'link',
    name,
    mac: there?.mac ?? addressMac(gateways.map((g) => g.addr)),
    mtu,
    up: true,
    alias: there ? (there.alias ?? '') : BRIDGE_ALIAS,
    bridge: true,
  };
  // A pod must not tell the host its routes.
  const guard: Sysctl = { kind: 'sysctl', path: `net/ipv6/conf/${name}/accept_ra`, value: '0', dev: name };
  return [
    link,
    guard,
    ...gateways.map((addr): Address => ({ kind: 'address', dev: name, addr })),
    ...forwarding(gateways.map((g) => g.addr.family)),
  ];
}

/** A host with pods is a router. */
export function forwarding(families: readonly (4 | 6)[]): Sysctl[] {
  const on = (path: string): Sysctl => ({ kind: 'sysctl', path, value: '1' });
  return [
    ...(families.includes(4) ? [on('net/ipv4/ip_forward')] : []),
    ...(families.includes(6) ? [on('net/ipv6/conf/all/forwarding')] : []),
  ];
}

/** Two devices with one subnet: the kernel would send to either. */
function heldElsewhere({ name, gateways }: BridgeWish, { addresses }: BridgeSight): void {
  for (const { dev, addr } of addresses) {
    // The overlay's devices and routed veths have single addresses of it.
    if (dev === name || addr.len === (addr.addr.family === 4 ? 32 : 128)) continue;
    const wanted = gateways.find((g) => containsPrefix(network(g), network(addr)));
    if (!wanted) continue;
    throw new CniError(
      CODE.bridgeBlocked,
      `bridge ${name} cannot be given ${formatPrefix(wanted)}: ${dev} has ${formatPrefix(addr)}, and two devices with one subnet take ` +
        `each other's packets. Give ${dev} addresses of another range, or all networks of this node one bridge ("bridge" in their ` +
        `configurations), then try again`,
    );
  }
}

const notABridge = (name: string, { type }: ObservedLink): CniError =>
  new CniError(
    CODE.bridgeBlocked,
    `${name} is no bridge but ${type === undefined ? 'a device of its own' : `of type ${type}`}, so pods cannot be its ports: remove it ` +
      `(ip link del ${name}), or name another in the network configuration ("bridge")`,
  );

/** How many ports a message names. */
const MOST_NAMED = 10;

function blocked(
  { name, gateways }: BridgeWish,
  addresses: readonly ObservedAddress[],
  ports: readonly BridgePort[],
): CniError {
  const found = addresses.map((o) => formatPrefix(o.addr));
  const wanted = gateways.map(formatPrefix).join(' and ');
  const named = ports
    .slice(0, MOST_NAMED)
    .map((port) => port.name)
    .join(', ');
  const more = ports.length > MOST_NAMED ? ` and ${ports.length - MOST_NAMED} more` : '';
  const away = found.map((text) => `ip addr del ${text} dev ${name}`).join('; ');
  if (ports.length === 0) {
    return new CniError(
      CODE.bridgeBlocked,
      `bridge ${name} should have ${wanted}, and has ${found.join(' and ')}, which is not of the overlay, and the bridge was not made ` +
        `for pods, so nothing was changed. Name another bridge in the network configuration ("bridge"), or remove the address if ` +
        `nothing needs it (${away}), then try again`,
    );
  }
  return new CniError(
    CODE.bridgeBlocked,
    `bridge ${name} should have ${wanted}, and has ${found.join(' and ')} too, which no known pod uses; it is in use by ${named}${more}, ` +
      `so nothing was changed. Remove what hangs on these ports (ip link show master ${name}), or the address itself if nothing needs ` +
      `it (${away}), then try again`,
  );
}
