import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { DEFAULTS } from '../../src/contract.ts';
import { formatAddr } from '../../src/net/addr.ts';
import { network, offset, prefix } from '../../src/net/prefix.ts';
import { type Cluster, NETWORK } from './cluster.ts';
import type { Host } from './host.ts';

const PREFIX = `${DEFAULTS.etcdPrefix}/subnets/`;

/** A lease as flanneld of any backend stores it; the rest of the value is the backend's. */
export interface FlannelPeer {
  /** By family; at least one. */
  readonly subnets: { readonly 4?: string; readonly 6?: string };
  readonly value: Readonly<Record<string, unknown>> & {
    readonly PublicIP: string;
    readonly PublicIPv6: string | null;
  };
}

/** The key of a lease for these subnets, IPv4 first. */
export const flannelKey = (subnets: readonly string[]): string =>
  PREFIX + subnets.map((subnet) => subnet.replace('/', '-')).join('&');

/** Write a lease as flanneld does, also over one of ours: on an etcd lease of its own for a day. */
export async function putFlannelLease(
  { etcd }: Cluster,
  key: string,
  value: Readonly<Record<string, unknown>>,
): Promise<void> {
  await etcd.put(key, JSON.stringify(value), await etcd.grant(86_400));
}

/** Everybody's leases but the one under `own`. */
export async function flannelPeers({ etcd }: Cluster, own: string): Promise<FlannelPeer[]> {
  return (await etcd.list(PREFIX))
    .filter(({ key }) => key !== own)
    .map(({ key, value }) => ({
      subnets: Object.fromEntries(
        key
          .slice(PREFIX.length)
          .split('&')
          .map((text) => [text.includes(':') ? 6 : 4, text.replace(/-(?=\d+$)/, '/')]),
      ),
      value: JSON.parse(value) as FlannelPeer['value'],
    }));
}

/** subnet.env as flanneld fills it; `mtu` in bytes. */
export function flannelEnv(
  families: readonly (4 | 6)[],
  subnet: (family: 4 | 6) => string,
  options: { mtu: number; masq: boolean },
): Record<string, string> {
  const env: Record<string, string> = {};
  for (const family of families) {
    const name = family === 4 ? 'FLANNEL' : 'FLANNEL_IPV6';
    const { addr, len } = network(prefix(subnet(family)));
    env[`${name}_NETWORK`] = NETWORK[family];
    env[`${name}_SUBNET`] = `${formatAddr(offset(addr, 1n))}/${len}`;
  }
  return { ...env, FLANNEL_MTU: String(options.mtu), FLANNEL_IPMASQ: String(options.masq) };
}

export function writeSubnetFile(host: Host, env: Readonly<Record<string, string>>): void {
  mkdirSync(dirname(host.subnetFile), { recursive: true });
  writeFileSync(
    host.subnetFile,
    Object.entries(env)
      .map(([name, value]) => `${name}=${value}\n`)
      .join(''),
  );
}
