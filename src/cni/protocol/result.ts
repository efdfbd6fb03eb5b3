import { type Addr, formatAddr } from '../../net/addr.ts';
import type { Mac } from '../../net/mac.ts';
import { everything, formatPrefix, hostPrefix, type Prefix } from '../../net/prefix.ts';
import type { Attachment, CniVersion } from '../types.ts';
import { atLeast } from './version.ts';

/**
 * What an ADD yields, as the newest version has it; {@link formatResult} says it in any version's words (spec section
 * "Success", and "Result" before 1.0).
 */
export interface CniResult {
  readonly interfaces: readonly ResultInterface[];
  readonly ips: readonly ResultIp[];
  readonly routes: readonly ResultRoute[];
  readonly dns: Dns;
}

export interface ResultInterface {
  readonly name: string;
  readonly mac?: string;
  /** Path of the network namespace; absent on the host. */
  readonly sandbox?: string;
  /** Bytes; from 1.1.0 on, as are the two below. */
  readonly mtu?: number;
  readonly socketPath?: string;
  readonly pciID?: string;
}

export interface ResultIp {
  /** With host bits. */
  readonly address: Prefix;
  readonly gateway?: Addr;
  /** Index into `interfaces`. */
  readonly interface?: number;
}

export interface ResultRoute {
  readonly dst: Prefix;
  readonly gw?: Addr;
  /** From 1.1.0 on. */
  readonly mtu?: number;
  readonly advmss?: number;
  readonly priority?: number;
  readonly table?: number;
  readonly scope?: number;
}

export interface Dns {
  readonly nameservers?: readonly string[];
  readonly domain?: string;
  readonly search?: readonly string[];
  readonly options?: readonly string[];
}

/** Beside the attachment, what its result says. */
export interface ResultFacts {
  /** Of the bridge as it is, which somebody else may have made. */
  readonly bridgeMac?: Mac | undefined;
  /** `dns` of the configuration, passed on. */
  readonly dns?: Dns | undefined;
}

/** Beside 1.1.0's: members a route has since then. */
export const ROUTE_NUMBERS = ['mtu', 'advmss', 'priority', 'table', 'scope'] as const;

/**
 * The result of an attachment: interfaces host first and the container's last, its addresses, a default route for
 * each family behind the routes of the configuration.
 */
export function resultOf(a: Attachment, facts: ResultFacts = {}): CniResult {
  const host: ResultInterface = { name: a.hostIf, mac: a.hostMac, mtu: a.mtu };
  const pod: ResultInterface = { name: a.ifname, mac: a.mac, sandbox: a.netns, mtu: a.mtu };
  const bridge: ResultInterface[] =
    a.mode === 'bridge' && a.bridge !== undefined
      ? [{ name: a.bridge, ...(facts.bridgeMac ? { mac: facts.bridgeMac } : {}) }]
      : [];
  const interfaces = [...bridge, host, pod];
  const families = a.addresses.map(({ gateway }) => gateway.family);
  return {
    interfaces,
    ips: a.addresses.map(({ address, gateway }) => ({
      address: a.mode === 'ptp' ? hostPrefix(address.addr) : address,
      gateway,
      interface: interfaces.length - 1,
    })),
    routes: [
      // Without a gateway: by that of the address (spec section "ADD Success", routes.gw).
      ...a.routes.filter((dst) => families.includes(dst.addr.family)).map((dst) => ({ dst })),
      ...a.addresses.map(({ gateway }) => ({ dst: everything(gateway.family), gw: gateway })),
    ],
    dns: facts.dns ?? {},
  };
}

/** The JSON of a result in a version's form. What the version has no words for is left out. */
export function formatResult(version: CniVersion, result: CniResult): Record<string, unknown> {
  if (!atLeast(version, '0.3.0')) return formatOld(version, result);
  const newest = atLeast(version, '1.1.0');
  const withFamily = !atLeast(version, '1.0.0');
  const { interfaces, ips, routes, dns } = result;
  return {
    cniVersion: version,
    ...(interfaces.length > 0 ? { interfaces: interfaces.map((i) => formatInterface(i, newest)) } : {}),
    ...(ips.length > 0
      ? {
          ips: ips.map((ip) => ({
            ...(withFamily ? { version: String(ip.address.addr.family) } : {}),
            ...(ip.interface === undefined ? {} : { interface: ip.interface }),
            address: formatPrefix(ip.address),
            ...(ip.gateway ? { gateway: formatAddr(ip.gateway) } : {}),
          })),
        }
      : {}),
    ...(routes.length > 0 ? { routes: routes.map((r) => formatRoute(r, newest)) } : {}),
    dns,
  };
}

/** 0.1.0 and 0.2.0 have one address of each family, and its family's routes beside it. */
function formatOld(version: CniVersion, { ips, routes, dns }: CniResult): Record<string, unknown> {
  const of = (family: 4 | 6) => {
    const ip = ips.find((i) => i.address.addr.family === family);
    if (!ip) return undefined;
    const own = routes.filter((r) => r.dst.addr.family === family);
    return {
      ip: formatPrefix(ip.address),
      ...(ip.gateway ? { gateway: formatAddr(ip.gateway) } : {}),
      ...(own.length > 0 ? { routes: own.map((r) => formatRoute(r, false)) } : {}),
    };
  };
  const [ip4, ip6] = [of(4), of(6)];
  return { cniVersion: version, ...(ip4 ? { ip4 } : {}), ...(ip6 ? { ip6 } : {}), dns };
}

const formatInterface = (
  { name, mac, sandbox, mtu, socketPath, pciID }: ResultInterface,
  newest: boolean,
) => ({
  name,
  ...(mac === undefined ? {} : { mac }),
  ...(newest && mtu !== undefined ? { mtu } : {}),
  ...(sandbox === undefined ? {} : { sandbox }),
  ...(newest && socketPath !== undefined ? { socketPath } : {}),
  ...(newest && pciID !== undefined ? { pciID } : {}),
});

const formatRoute = (r: ResultRoute, newest: boolean) => ({
  dst: formatPrefix(r.dst),
  ...(r.gw ? { gw: formatAddr(r.gw) } : {}),
  ...(newest
    ? Object.fromEntries(ROUTE_NUMBERS.flatMap((k) => (r[k] === undefined ? [] : [[k, r[k]]])))
    : {}),
});
