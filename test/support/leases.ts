import { DEFAULTS, KEYS } from '../../src/contract.ts';
import type { Cluster } from './cluster.ts';
import { revision } from './etcdFaults.ts';
import type { EtcdHost, KeyValue } from './etcdHost.ts';
import type { Host, LogLine } from './host.ts';
import type { Netns } from './netns.ts';
import { ping } from './ping.ts';
import { until } from './proc.ts';

/** Milliseconds in which a host must be in step with etcd again once it can reach it. */
export const HEALED = 30_000;

const PREFIX = `${DEFAULTS.etcdPrefix}/${KEYS.subnets}/`;
const device = 'flannel.1';

/** The etcd key of a subnet such as `10.42.7.0/24`. */
export const keyOf = (subnet: string): string => PREFIX + subnet.replace('/', '-');

/** What of `/v1/status` the tests of faults look at. */
export interface Status {
  readonly ready: boolean;
  readonly reason: string | null;
  readonly instance: string;
  readonly node: string;
  readonly lease: {
    readonly state: 'waiting' | 'held' | 'fenced';
    readonly reason: string | null;
    readonly lease: {
      readonly key: string;
      readonly subnets: readonly string[];
      readonly reservation: boolean;
    };
  };
  readonly setAside: number;
  readonly store: { readonly connected: boolean; readonly requests: number; readonly error: string | null };
  /** Of the view the kernel was last programmed from. */
  readonly kernel: { readonly revision: string | null };
  readonly problems: readonly string[];
}

export const status = (host: Host): Promise<Status> => host.get<Status>('/v1/status');

/** The subnet a host holds. */
export const subnetOf = async (host: Host): Promise<string> => (await status(host)).lease.lease.subnets[0]!;

/** Every lease key, by subnet. */
export async function leases(etcd: EtcdHost): Promise<Map<string, KeyValue>> {
  const all = await etcd.list(PREFIX);
  return new Map(all.map((kv) => [kv.key.slice(PREFIX.length).replace('-', '/'), kv]));
}

/** The lease value of a vxlan node, as flannel writes it. */
export const flannelValue = (publicIP: string, mac: string): string =>
  JSON.stringify({
    PublicIP: publicIP,
    PublicIPv6: null,
    BackendType: 'vxlan',
    BackendData: { VNI: 1, VtepMAC: mac },
  });

/** Of the network config where there are ghosts: no host's subnet is one of theirs. */
export const BESIDE_GHOSTS = { SubnetMax: '10.42.99.0' } as const;

/** A node that is nothing but a lease: there is no host behind it. `n` 1 to 99. */
export function ghost(n: number, mac = `0e:00:00:00:00:${String(n).padStart(2, '0')}`) {
  const subnet = `10.42.${100 + n}.0/24`;
  return { subnet, key: keyOf(subnet), value: flannelValue(`192.0.2.${100 + n}`, mac) };
}

type Peers = Record<string, string>;
const sorted = (peers: Iterable<readonly [string, string]>): Peers =>
  Object.fromEntries([...peers].sort(([a], [b]) => (a < b ? -1 : 1)));

/** The peers that the leases in etcd make for a host. */
async function peersInEtcd(etcd: EtcdHost, host: Host): Promise<Peers> {
  const { node } = await status(host);
  const peers: [string, string][] = [];
  for (const [subnet, { value }] of await leases(etcd)) {
    const { PublicIP, BackendData, Loden } = JSON.parse(value);
    if (Loden?.node !== node) peers.push([subnet, `${BackendData.VtepMAC} at ${PublicIP}`]);
  }
  return sorted(peers);
}

interface Route {
  readonly dst: string;
  readonly gateway?: string;
}
interface Neighbour {
  readonly dst?: string;
  readonly lladdr?: string;
  readonly mac?: string;
}

/** The peers that a host's kernel sends to, by what it would do with a packet for them. */
export async function peersInKernel(host: Host): Promise<Peers> {
  const [routes, neighbours, fdb] = await Promise.all([
    host.netns.ipJson<Route[]>(`-4 route show dev ${device}`),
    host.netns.ipJson<Neighbour[]>(`-4 neigh show nud permanent dev ${device}`),
    host.netns.bridgeJson<Neighbour[]>(`fdb show dev ${device}`),
  ]);
  const macs = new Map(neighbours.map((n) => [n.dst, n.lladdr]));
  const ends = new Map(fdb.filter((f) => f.dst !== undefined).map((f) => [f.mac, f.dst]));
  const peers = routes.map(({ dst, gateway }): [string, string] => {
    const mac = macs.get(gateway);
    return [dst, `${mac} at ${ends.get(mac)}`];
  });
  // What stands there without a route is wrong as well.
  const gateways = new Set(routes.map((r) => r.gateway));
  for (const [gateway, mac] of macs) {
    if (!gateways.has(gateway)) peers.push([`neighbour ${gateway}`, String(mac)]);
  }
  const used = new Set(neighbours.map((n) => n.lladdr));
  for (const [mac, end] of ends) if (!used.has(mac)) peers.push([`FDB entry ${mac}`, String(end)]);
  return sorted(peers);
}

/** Wait until these hosts have seen all that happened in etcd, and have made their kernels of it. */
export async function caughtUp(cluster: Cluster, hosts = cluster.hosts, timeout = HEALED): Promise<void> {
  for (const host of hosts) {
    const now = await revision(cluster.etcd);
    await untilStatus(
      host,
      `has caught up with revision ${now}`,
      ({ store, kernel }) => store.connected && kernel.revision === now,
      timeout,
    );
  }
}

/** Wait until these hosts have caught up, and their kernels have exactly the peers that etcd has. */
export async function inStep(cluster: Cluster, hosts = cluster.hosts, timeout = HEALED): Promise<void> {
  for (const host of hosts) {
    let [is, shall] = ['', ''];
    const same = async () => {
      is = JSON.stringify(await peersInKernel(host), null, 1);
      shall = JSON.stringify(await peersInEtcd(cluster.etcd, host), null, 1);
      const { store, kernel } = await status(host);
      return is === shall && store.connected && kernel.revision === (await revision(cluster.etcd));
    };
    await until(`${host.name} in step with etcd`, same, timeout, 50).catch((error: Error) => {
      throw new Error(`${error.message}: its kernel has ${is}, etcd ${shall}`, { cause: error });
    });
  }
}

/** Wait until a host's status is as wanted; on failure the message says what it was. */
export async function untilStatus(
  host: Host,
  what: string,
  test: (status: Status) => boolean,
  timeout = HEALED,
): Promise<Status> {
  let last: Status | undefined;
  try {
    return await until(
      `${host.name} ${what}`,
      async () => {
        last = await status(host);
        return test(last) && last;
      },
      timeout,
      50,
    );
  } catch (error) {
    const { ended } = host.daemon;
    const end = ended === undefined ? '' : `; its daemon ended (${ended}):\n${host.daemon.tail()}`;
    throw new Error(`${(error as Error).message}: ${JSON.stringify(last)}${end}`, { cause: error });
  }
}

/** Wait until a host has logged an event of the store at error level. */
export const loggedError = (host: Host, event: string, timeout?: number): Promise<LogLine> =>
  host.logged(`${event} at error level`, (line) => line.event === event && line.level === 'error', timeout);

/** Wait until an echo comes back; the first to or from a pod just made may have to wait for its link. */
export const reaches = (from: Netns, to: string, timeout?: number): Promise<true> =>
  until(`${from.name} to reach ${to}`, async () => (await ping(from, to)) !== undefined, timeout);
