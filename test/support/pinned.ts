import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { DEFAULTS } from '../../src/contract.ts';
import { Cluster, type ClusterOptions, NETWORK } from './cluster.ts';
import type { Host, HostOptions } from './host.ts';
import { dump, overlayText } from './kernelText.ts';

/** The n-th subnet of the network in a family. */
export const nthSubnet = (family: 4 | 6, n: number): string =>
  family === 4 ? `10.42.${n}.0/24` : `fd00:42:0:${n.toString(16)}::/64`;

/** A subnet.env that names the n-th subnets: a daemon that finds it asks for these. */
export function pin(host: Host, n: number, families: readonly (4 | 6)[]): void {
  const line = (family: 4 | 6) => {
    const name = family === 4 ? 'FLANNEL' : 'FLANNEL_IPV6';
    const own = nthSubnet(family, n).replace(/(\.0|::)\//, (_, end) => (end === '::' ? '::1/' : '.1/'));
    return `${name}_NETWORK=${NETWORK[family]}\n${name}_SUBNET=${own}\n`;
  };
  mkdirSync(dirname(host.subnetFile), { recursive: true });
  writeFileSync(host.subnetFile, families.map(line).join(''));
}

/** A cluster with a host for each segment named, the n-th (from 1) with the n-th subnets; their daemons are ready. */
export async function pinnedCluster(
  segments: readonly number[],
  options: ClusterOptions & { host?: Partial<HostOptions> } = {},
): Promise<Cluster> {
  const cluster = await Cluster.create({ segments: Math.max(...segments) + 1, ...options });
  try {
    for (const [i, segment] of segments.entries()) {
      pin(await cluster.addHost({ segment, ...options.host }), i + 1, cluster.families);
    }
    await Promise.all(cluster.hosts.map((host) => host.start()));
    return cluster;
  } catch (error) {
    await cluster[Symbol.asyncDispose]();
    throw error;
  }
}

/** The part of `/v1/status` and `/v1/leases` that tests look at. */
export interface LeaseView {
  readonly key: string;
  readonly publicIP: string | null;
  readonly node: string | null;
  readonly data: { readonly VtepMAC?: string } | null;
  readonly dataV6: { readonly VtepMAC?: string } | null;
}

/** Text in which MACs and ids, new in each run, are named by their host. */
export async function anonymous(cluster: Cluster, text: string): Promise<string> {
  let named = text;
  for (const host of cluster.hosts) {
    const status = await host.get<{ node: string; instance: string; lease: { lease: LeaseView } }>(
      '/v1/status',
    );
    const { data, dataV6 } = status.lease.lease;
    const names = [
      [data?.VtepMAC, 'MAC'],
      [dataV6?.VtepMAC, 'MAC6'],
      [status.node, 'node'],
      [status.instance, 'instance'],
    ] as const;
    for (const [value, name] of names) if (value) named = named.replaceAll(value, `<${host.name} ${name}>`);
  }
  return named;
}

/** Everything that comes of a host's lease: the kernel's overlay, subnet.env, the key and value in etcd. */
export async function outcome(cluster: Cluster, host: Host): Promise<string> {
  const { lease } = await host.get<{ lease: { lease: LeaseView } }>('/v1/status');
  const prefix = `${DEFAULTS.etcdPrefix}/subnets/`;
  const stored = (await cluster.etcd.list(prefix)).find((kv) => kv.key === prefix + lease.lease.key);
  const kernel = await anonymous(cluster, overlayText(await dump(host.netns)));
  const parts = [
    // Random MACs must not decide about the order.
    ['kernel', `${kernel.trim().split('\n').sort().join('\n')}\n`],
    ['sysctl', await sysctls(host)],
    ['subnet.env', readFileSync(host.subnetFile, 'utf8')],
    ['etcd', `${stored?.key}\n${await anonymous(cluster, stored?.value ?? '')}\n`],
  ];
  return parts.map(([name, text]) => `# ${name}\n${text}`).join('\n');
}

/** Those that the daemon sees to. */
const sysctls = (host: Host): Promise<string> =>
  host.netns.run([
    'sh',
    '-c',
    'cd /proc/sys/net && grep . ipv4/ip_forward ipv6/conf/all/forwarding $(ls -d ipv6/conf/flannel*/accept_ra ipv4/conf/flannel0/accept_local 2>/dev/null)',
  ]);
