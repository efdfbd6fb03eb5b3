import { readdir, readFile, readlink } from 'node:fs/promises';
import { formatAddr } from '../../../net/addr.ts';
import type { UdpSocket } from '../facts.ts';
import { parseUdpTable } from '../udpTable.ts';

/** What /proc tells of this network namespace. */

const read = (path: string): Promise<string | undefined> =>
  readFile(path, 'utf8').then(
    (text) => text.trim(),
    () => undefined,
  );

/** Settings of all devices that matter, and of single ones: `net/ipv4/conf/<device>/rp_filter`. */
const GLOBAL = [
  'net/ipv4/ip_forward',
  'net/ipv6/conf/all/forwarding',
  'net/ipv6/conf/all/disable_ipv6',
  'net/ipv4/conf/all/rp_filter',
  'net/bridge/bridge-nf-call-iptables',
  'net/bridge/bridge-nf-call-ip6tables',
  'net/netfilter/nf_conntrack_count',
  'net/netfilter/nf_conntrack_max',
] as const;

const OF_DEVICE = [
  'net/ipv4/conf/DEV/forwarding',
  'net/ipv4/conf/DEV/rp_filter',
  'net/ipv6/conf/DEV/forwarding',
  'net/ipv6/conf/DEV/disable_ipv6',
] as const;

/** Of these devices; a name that could climb out of /proc/sys is passed over. */
export async function readSysctls(devices: readonly string[]): Promise<ReadonlyMap<string, string>> {
  const safe = devices.filter((d) => !d.includes('/') && d !== '.' && d !== '..');
  const paths = [...GLOBAL, ...safe.flatMap((d) => OF_DEVICE.map((p) => p.replace('DEV', d)))];
  const values = await Promise.all(
    paths.map(async (path) => [path, await read(`/proc/sys/${path}`)] as const),
  );
  return new Map(values.filter((v): v is readonly [string, string] => v[1] !== undefined));
}

export interface Process {
  readonly pid: number;
  /** As the kernel shortens it, to 15 bytes. */
  readonly name: string;
}

/** Programs of this network namespace; where that cannot be told (not root), all that are seen. */
export async function listProcesses(): Promise<readonly Process[]> {
  const own = await readlink('/proc/self/ns/net').catch(() => undefined);
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number);
  const found = await Promise.all(
    pids.map(async (pid) => {
      const namespace = await readlink(`/proc/${pid}/ns/net`).catch((e: NodeJS.ErrnoException) =>
        e.code === 'EACCES' || e.code === 'EPERM' ? own : undefined,
      );
      if (namespace === undefined || namespace !== own) return undefined;
      const name = await read(`/proc/${pid}/comm`);
      return name === undefined ? undefined : { pid, name };
    }),
  );
  return found.filter((p) => p !== undefined);
}

/** UDP sockets with the programs that have them open, as far as we may see those. */
export async function listSockets(processes: readonly Process[]): Promise<readonly UdpSocket[]> {
  const rows = [
    ...parseUdpTable((await read('/proc/net/udp')) ?? ''),
    ...parseUdpTable((await read('/proc/net/udp6')) ?? ''),
  ];
  const owners = await ownersOf(new Set(rows.map((r) => r.inode)), processes);
  return rows.map(({ address, port, inode }) => ({
    family: address.family,
    address: formatAddr(address),
    port,
    process: owners.get(inode),
  }));
}

async function ownersOf(
  inodes: ReadonlySet<string>,
  processes: readonly Process[],
): Promise<ReadonlyMap<string, Process>> {
  const owners = new Map<string, Process>();
  for (const process of processes) {
    const fds = await readdir(`/proc/${process.pid}/fd`).catch(() => []);
    const targets = await Promise.all(
      fds.map((fd) => readlink(`/proc/${process.pid}/fd/${fd}`).catch(() => '')),
    );
    for (const target of targets) {
      const inode = /^socket:\[(\d+)\]$/.exec(target)?.[1];
      if (inode !== undefined && inodes.has(inode)) owners.set(inode, process);
    }
  }
  return owners;
}
