import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { StatusJson } from '../../src/api/shapes.ts';
import { CHECKS } from '../../src/inspect/doctor/checks/index.ts';
import type { Cluster } from '../support/cluster.ts';
import {
  doctor,
  namedProgram,
  optionsFor,
  rootWith,
  trouble,
  type Verdict,
  verdicts,
} from '../support/doctor.ts';
import { type Host, LODEN } from '../support/host.ts';
import { dump, foreignText, overlayText } from '../support/kernelText.ts';
import { flannelValue, keyOf, leases, subnetOf } from '../support/leases.ts';
import type { Netns } from '../support/netns.ts';
import { pinnedCluster } from '../support/pinned.ts';
import { until } from '../support/proc.ts';

/** One thing that is wrong, put in and taken out again. */
interface Fault {
  readonly check: string;
  readonly level: 'failure' | 'warning';
  /** The cause that must be named, and the fix. */
  readonly cause: RegExp;
  readonly fix: RegExp;
  /** Other checks that it rightly concerns too. */
  readonly also?: Readonly<Record<string, Verdict>>;
  /** What can no longer be looked at is skipped. */
  readonly hides?: boolean;
  readonly args?: readonly string[];
  /** Instead of the patient's own. */
  readonly onlyArgs?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Returns what takes it out. */
  inject?(): Promise<() => Promise<unknown>>;
}

/** Where faults are put in, one after the other. */
interface Patient {
  readonly host: Host;
  readonly args: readonly string[];
  readonly healthy: Record<string, Verdict>;
}

const stack = new AsyncDisposableStack();
let cluster: Cluster;
let hosts: readonly Host[];
/** A host without a daemon. */
let bare: Host;

/** Checks whose faults are here. */
const HERE: readonly string[] = [
  ...[
    'bridge-netfilter',
    'clock',
    'cni',
    'daemon',
    'duplicate-ips',
    'etcd',
    'forward-drop',
    'forwarding',
    'kernel',
  ],
  ...[
    'leases',
    'mtu',
    'network-config',
    'network-managers',
    'objects',
    'other-overlays',
    'overlap',
    'own-lease',
  ],
  ...['pods', 'rp-filter', 'subnet-file', 'tunnel-firewall', 'tunnel-mac', 'tunnel-port', 'udev', 'uplink'],
];
/** doctor-probes.test.ts and doctor-alone.test.ts have the others. */
const ELSEWHERE: readonly string[] = ['checksum', 'peers', 'certificates'];

test('every check has a fault', () => {
  expect([...HERE, ...ELSEWHERE].sort()).toEqual(CHECKS.map((c) => c.id).sort());
});

beforeAll(async () => {
  // Some peers are routed: what only concerns those is looked at too. Probes have a cluster of their own.
  cluster = stack.use(
    await pinnedCluster([0, 0, 0], {
      backend: { Type: 'vxlan', DirectRouting: true },
      args: ['--probe-interval', '0'],
    }),
  );
  hosts = [...cluster.hosts];
  bare = await cluster.addHost();
  await Promise.all(hosts.map((host) => host.workload()));
});
afterAll(() => stack.disposeAsync());

async function admit(host: Host, ...more: readonly string[]): Promise<Patient> {
  const args = [...optionsFor(host, cluster.etcd), ...more];
  const { report } = await doctor(host.netns, args);
  return { host, args, healthy: verdicts(report) };
}

/** The fault is named with its fix, and no other check changes its mind. */
async function examine({ host, args, healthy }: Patient, fault: Fault): Promise<void> {
  const undo = await fault.inject?.();
  const given = fault.onlyArgs ?? [...args, ...(fault.args ?? [])];
  const { status, report } = await doctor(host.netns, given, fault.env).finally(() => undo?.());
  const now = verdicts(report);
  const hidden = fault.hides
    ? Object.fromEntries(Object.entries(now).filter(([, verdict]) => verdict === 'skipped'))
    : {};
  const said = trouble(report, fault.check);
  expect({ fault: fault.check, now, said: said.map((f) => f.cause) }).toEqual({
    fault: fault.check,
    now: { ...healthy, ...hidden, ...fault.also, [fault.check]: fault.level },
    said: [expect.stringMatching(fault.cause)],
  });
  expect(said[0]).toMatchObject({ level: fault.level, fix: expect.stringMatching(fault.fix) });
  expect(status).toBe(Object.values(now).includes('failure') ? 1 : 0);
  expect(HERE).toContain(fault.check);
}

async function examineAll(patient: Patient, faults: readonly Fault[]): Promise<void> {
  for (const fault of faults) await examine(patient, fault);
}

/** A sysctl that has another value for a while. */
const sysctl = (netns: Netns, path: string, value: number) => async () => {
  const before = (await netns.run(['cat', `/proc/sys/${path}`])).trim();
  await netns.sysctl({ [path]: value });
  return () => netns.sysctl({ [path]: before });
};

const ip = (netns: Netns, add: string, del: string) => async (): Promise<() => Promise<unknown>> => {
  await netns.ip(add);
  return () => netns.ip(del);
};

const nft = (netns: Netns, chain: string) => async (): Promise<() => Promise<unknown>> => {
  await netns.nft(`table inet theirs { chain c { ${chain}\n }\n }`);
  return () => netns.nft('delete table inet theirs');
};

const program = (host: Host, name: string) => async () => {
  const running = await namedProgram(host.netns, host.dir, name);
  return () => running.stop('SIGKILL');
};

const key = (path: string, value: string) => async () => {
  await cluster.etcd.put(path, value);
  return () => cluster.etcd.delete(path);
};

test('a healthy cluster has neither failures nor warnings', async () => {
  for (const host of hosts) {
    const before = await dump(host.netns);
    const { status, report } = await doctor(host.netns, optionsFor(host, cluster.etcd));
    const after = await dump(host.netns);
    // It changes nothing, nor has the daemon change anything.
    expect(overlayText(after) + foreignText(after)).toBe(overlayText(before) + foreignText(before));
    expect(report.findings.filter((f) => f.level === 'failure' || f.level === 'warning')).toEqual([]);
    expect({ status, well: report.well, daemon: report.daemon }).toEqual({
      status: 0,
      well: true,
      daemon: 'running',
    });
    // Probes are off, and nothing else is out of sight.
    expect(report.findings.filter((f) => f.level === 'skipped').map((f) => f.check)).toEqual([
      'checksum',
      'peers',
    ]);
  }
  const text = await hosts[0]!.netns.run([LODEN, 'doctor', ...optionsFor(hosts[0]!, cluster.etcd)]);
  expect(text).toContain('✔ forwarding');
  expect(text).toMatch(/All is well: 2 skipped\.\n$/);
});

test('each fault of a host is named, alone', async () => {
  const [a, b, c] = hosts as [Host, Host, Host];
  const patients = await Promise.all([a, b, c, bare].map((host) => admit(host)));
  const udevRoot = rootWith(join(b.dir, 'udev'), {
    'usr/lib/systemd/network/99-default.link':
      '[Match]\nOriginalName=*\n[Link]\nNamePolicy=keep kernel\nMACAddressPolicy=persistent\n',
  });
  const networkdRoot = rootWith(join(b.dir, 'networkd'), {
    'etc/systemd/network/all.network': '[Match]\nName=*\n[Network]\nDHCP=yes\n',
    'etc/systemd/networkd.conf': '[Network]\nManageForeignRoutes=no\n',
  });
  const kernelRoot = rootWith(join(bare.dir, 'kernel'), {
    'proc/config.gz': 'CONFIG_BRIDGE=y\nCONFIG_VETH=y\n# CONFIG_VXLAN is not set\n',
  });
  const broken = join(c.dir, 'broken');
  mkdirSync(join(broken, 'net.d'), { recursive: true });
  mkdirSync(join(broken, 'bin'));
  writeFileSync(
    join(broken, 'net.d/10.conflist'),
    '{"cniVersion":"1.0.0","name":"pods","plugins":[{"type":"loden"}]}',
  );
  writeFileSync(join(broken, 'bin/portmap'), '');
  const onA: readonly Fault[] = [
    {
      check: 'forwarding',
      level: 'failure',
      cause: /forwarding is off for flannel\.1/,
      fix: /sysctl -w net\/ipv4\/conf\/flannel\.1\/forwarding=1/,
      inject: sysctl(a.netns, 'net/ipv4/conf/flannel.1/forwarding', 0),
    },
    {
      check: 'rp-filter',
      level: 'warning',
      cause: /rp_filter is strict on eth0/,
      fix: /net\/ipv4\/conf\/eth0\/rp_filter=2/,
      inject: sysctl(a.netns, 'net/ipv4/conf/eth0/rp_filter', 1),
    },
    {
      check: 'forward-drop',
      level: 'failure',
      cause: /dropped by "policy drop" in nft table inet theirs, chain c/,
      fix: /nft insert rule inet theirs c ip saddr 10\.42\.0\.0\/16 accept/,
      inject: nft(a.netns, 'type filter hook forward priority 5; policy drop;'),
    },
    {
      check: 'tunnel-firewall',
      level: 'failure',
      cause: /come in at UDP port 8472 are dropped by "udp dport 8472 drop.*" in nft table inet theirs/,
      fix: /nft insert rule inet theirs c udp dport 8472 accept/,
      inject: nft(a.netns, 'type filter hook input priority 0; udp dport 8472 drop'),
    },
    {
      check: 'tunnel-firewall',
      level: 'failure',
      cause: /sent elsewhere \(redirect\) by "udp dport 8472 redirect to :53.*"/,
      fix: /udp dport 8472 return/,
      inject: nft(a.netns, 'type nat hook prerouting priority -100; udp dport 8472 redirect to :53'),
    },
    {
      // Of the last of its peers.
      check: 'tunnel-firewall',
      level: 'failure',
      cause: /come in at UDP port 8472 \(of the peer 10\.42\.\d\.0-24\) are dropped by "ip saddr /,
      fix: /nft insert rule inet theirs c udp dport 8472 accept/,
      inject: nft(a.netns, `type filter hook input priority 0; ip saddr ${c.at.ipv4} udp dport 8472 drop`),
    },
    {
      check: 'forward-drop',
      level: 'failure',
      cause: /to pods of other nodes \(of the peer 10\.42\.\d\.0-24\) are dropped by "ip daddr /,
      fix: /nft insert rule inet theirs c/,
      inject: nft(a.netns, `type filter hook forward priority 5; ip daddr ${await subnetOf(c)} drop`),
    },
    {
      check: 'bridge-netfilter',
      level: 'warning',
      cause: /bridge-nf-call-iptables is 0, and kube-proxy runs here/,
      fix: /sysctl -w net\/bridge\/bridge-nf-call-iptables=1/,
      inject: async () => {
        const off = await sysctl(a.netns, 'net/bridge/bridge-nf-call-iptables', 0)();
        const end = await program(a, 'kube-proxy')();
        return () => Promise.all([off(), end()]);
      },
    },
  ];
  const onB: readonly Fault[] = [
    {
      check: 'udev',
      level: 'warning',
      cause: /99-default\.link .* for flannel\.1, .*MACAddressPolicy=persistent/,
      fix: /10-loden\.link/,
      args: ['--root', udevRoot],
      inject: program(b, 'systemd-udevd'),
    },
    {
      check: 'network-managers',
      level: 'warning',
      cause: /systemd-networkd runs, and .*all\.network fits flannel\.1/,
      fix: /10-loden\.network/,
      args: ['--root', networkdRoot],
      inject: program(b, 'systemd-networkd'),
    },
    {
      check: 'network-managers',
      level: 'warning',
      cause: /NetworkManager runs and nothing tells it to leave flannel\.1 and cni0 alone/,
      fix: /unmanaged-devices=interface-name:flannel\*/,
      args: ['--root', udevRoot],
      inject: program(b, 'NetworkManager'),
    },
    {
      check: 'other-overlays',
      level: 'warning',
      cause: /cilium_vxlan is a device of Cilium/,
      fix: /ip link del cilium_vxlan/,
      inject: ip(b.netns, 'link add cilium_vxlan type vxlan id 5 dstport 9999', 'link del cilium_vxlan'),
    },
    {
      check: 'other-overlays',
      level: 'failure',
      cause: /flanneld runs on this host too/,
      fix: /stop and disable flanneld/,
      inject: program(b, 'flanneld'),
    },
    {
      check: 'overlap',
      level: 'failure',
      cause:
        /the route 10\.42\.77\.0\/24 via 192\.0\.2\.254 dev eth0, which is not ours, leads into the overlay/,
      fix: /ip route del 10\.42\.77\.0\/24 via 192\.0\.2\.254 dev eth0/,
      inject: ip(
        b.netns,
        'route add 10.42.77.0/24 via 192.0.2.254 dev eth0 proto static',
        'route del 10.42.77.0/24',
      ),
    },
  ];
  const onC: readonly Fault[] = [
    {
      check: 'cni',
      level: 'failure',
      cause: /10\.conflist names the plugin loden, which is not in/,
      fix: /loden cni install/,
      args: ['--conf-dir', join(broken, 'net.d'), '--bin-dir', join(broken, 'bin')],
    },
    {
      check: 'subnet-file',
      level: 'failure',
      cause: /subnet\.env says MTU 1300, but the overlay takes 1450 bytes/,
      fix: /systemctl restart loden/,
      inject: async () => {
        const before = readFileSync(c.subnetFile, 'utf8');
        writeFileSync(c.subnetFile, before.replace('MTU=1450', 'MTU=1300'));
        return async () => writeFileSync(c.subnetFile, before);
      },
    },
    {
      check: 'clock',
      level: 'warning',
      cause: /is 36\d\d s behind this host's/,
      fix: /timedatectl set-ntp true/,
      env: {
        NODE_OPTIONS: '--import=data:text/javascript,const/**/n=Date.now;Date.now=()=>n()+3600000',
      },
    },
    {
      check: 'etcd',
      level: 'warning',
      cause:
        /etcd at https:\/\/192\.0\.2\.1:2379 speaks another protocol than the URL says: it does not speak TLS/,
      fix: /http:\/\/ instead of https:\/\/|https:\/\/ instead of http:\/\//,
      args: ['--etcd-endpoints', `${cluster.etcd.endpoint()},https://192.0.2.1:2379`],
    },
    {
      check: 'etcd',
      level: 'warning',
      cause: /etcd at http:\/\/192\.0\.2\.1:9 cannot be reached: connection refused/,
      fix: /--etcd-endpoints/,
      args: ['--etcd-endpoints', `${cluster.etcd.endpoint()},http://192.0.2.1:9`],
    },
    {
      // As if the program with the socket did not answer.
      check: 'daemon',
      level: 'failure',
      cause: /the daemon does not answer: .*no answer within/,
      fix: /systemctl restart loden/,
      hides: true,
      inject: async () => {
        c.daemon.kill('SIGSTOP');
        return async () => c.daemon.kill('SIGCONT');
      },
    },
    {
      // Where etcd is only that daemon knows: nothing is made up of it.
      check: 'daemon',
      level: 'failure',
      cause: /the daemon does not answer: .*no answer within/,
      fix: /systemctl restart loden/,
      hides: true,
      onlyArgs: c.dirs,
      inject: async () => {
        c.daemon.kill('SIGSTOP');
        return async () => c.daemon.kill('SIGCONT');
      },
    },
  ];
  const onBare: readonly Fault[] = [
    {
      check: 'kernel',
      level: 'failure',
      cause: /has no vxlan, which the vxlan backend needs/,
      fix: /linux-modules-extra|CONFIG_VXLAN/,
      args: ['--root', kernelRoot],
    },
    {
      check: 'uplink',
      level: 'failure',
      cause: /the interface nosuch is gone/,
      fix: /--iface/,
      args: ['--iface', 'nosuch'],
    },
    {
      check: 'tunnel-port',
      level: 'failure',
      cause: /has UDP port 8472 open at 0\.0\.0\.0, which the tunnel needs/,
      fix: /kill \d+|"Port" of Backend/,
      inject: async () => {
        const script = "require('node:dgram').createSocket('udp4').bind(8472, () => console.log('bound'))";
        const proc = await bare.netns.start([process.execPath, '-e', script], {
          log: join(bare.dir, 'socket.log'),
        });
        await proc.saying(/bound/);
        return () => proc.stop('SIGKILL');
      },
    },
    {
      check: 'network-config',
      level: 'failure',
      cause: /there is no network config at \/nothing\/config in etcd/,
      fix: /loden config set/,
      hides: true,
      args: ['--etcd-prefix', '/nothing'],
    },
  ];
  const ends = await Promise.allSettled(
    [onA, onB, onC, onBare].map((faults, i) => examineAll(patients[i]!, faults)),
  );
  for (const end of ends) if (end.status === 'rejected') throw end.reason;
});

test('what is wrong in etcd is named, alone', async () => {
  const [a, b] = hosts as [Host, Host, Host];
  const patient = await admit(a);
  const others = await subnetOf(b);
  const mac = '0a:00:00:00:00:99';
  await examineAll(patient, [
    {
      check: 'duplicate-ips',
      level: 'failure',
      cause: new RegExp(`have one public address, ${b.at.ipv4.replaceAll('.', '\\.')}:`),
      fix: /--public-ip/,
      inject: key(keyOf('10.42.250.0/24'), flannelValue(b.at.ipv4, mac)),
    },
    {
      check: 'leases',
      level: 'failure',
      cause: /overlap: .* belongs to two nodes/,
      fix: /loden leases release/,
      inject: key(keyOf(others.replace('.0/24', '.128/25')), flannelValue('192.0.2.99', mac)),
    },
    {
      check: 'leases',
      level: 'warning',
      cause: /the key .*10\.42\.251\.0-24.* cannot be read as a lease/,
      fix: /etcdctl del/,
      inject: key(keyOf('10.42.251.0/24'), '{'),
    },
    {
      check: 'network-config',
      level: 'warning',
      cause: /the network config in etcd is not what the daemon goes by/,
      fix: /restart loden/,
      hides: true,
      inject: async () => {
        await cluster.configure({ Backend: { Type: 'host-gw' } });
        await until('the daemon to have seen it', async () => {
          const { network } = await a.get<{ network: { inForce: boolean } }>('/v1/config');
          return !network.inForce;
        });
        return () => cluster.configure({});
      },
    },
  ]);
});

test('what is wrong while no daemon mends it is named, alone', async () => {
  const c = hosts[2]!;
  await c.stop();
  const patient = await admit(c);
  expect(patient.healthy).toMatchObject({
    daemon: 'warning',
    objects: 'skipped',
    pods: 'skipped',
    forwarding: 'fine',
  });
  // Who does not know himself blames nobody, himself least of all.
  const stranger = await doctor(c.netns, [...patient.args, '--state-dir', join(c.dir, 'nowhere')]);
  expect(verdicts(stranger.report)).toEqual({ ...patient.healthy, 'tunnel-mac': 'skipped' });
  const [link] = await c.netns.ipJson<{ address: string }[]>('link show dev flannel.1');
  await examineAll(patient, [
    {
      check: 'tunnel-mac',
      level: 'failure',
      cause: /flannel\.1 has the MAC 0a:00:00:00:00:01, but our lease tells peers/,
      fix: new RegExp(`ip link set flannel\\.1 address ${link!.address}`),
      inject: ip(
        c.netns,
        'link set flannel.1 address 0a:00:00:00:00:01',
        `link set flannel.1 address ${link!.address}`,
      ),
    },
    {
      check: 'mtu',
      level: 'failure',
      cause: /flannel\.1 takes packets of 1450 bytes, but .* eth0, which has MTU 1400/,
      fix: /ip link set flannel\.1 mtu 1350/,
      inject: ip(c.netns, 'link set eth0 mtu 1400', 'link set eth0 mtu 1500'),
    },
    {
      check: 'other-overlays',
      level: 'failure',
      cause: /cni0 has the address 10\.42\.254\.1\/24, which is not of this node's subnet/,
      fix: /ip link del cni0/,
      inject: ip(c.netns, 'addr add 10.42.254.1/24 dev cni0', 'addr del 10.42.254.1/24 dev cni0'),
    },
  ]);
});

test('pods of a subnet that another node has taken are named, and what stands on them', async () => {
  const c = hosts[2]!;
  const [subnet] = [...(await leases(cluster.etcd))].find(([, kv]) => kv.value.includes(`"${c.at.ipv4}"`))!;
  const { healthy } = await admit(hosts[0]!);
  await cluster.etcd.delete(keyOf(subnet));
  await cluster.etcd.put(keyOf(subnet), flannelValue('192.0.2.98', '0a:00:00:00:00:98'));
  await c.start();
  const { status, report } = await doctor(c.netns, optionsFor(c, cluster.etcd));
  expect(verdicts(report)).toEqual({
    ...healthy,
    pods: 'warning',
    objects: 'warning',
    'other-overlays': 'warning',
  });
  expect(trouble(report, 'pods')[0]).toMatchObject({
    cause: expect.stringContaining(`1 pod has an address of a subnet that this node no longer has`),
    fix: expect.stringContaining('delete'),
  });
  expect(trouble(report, 'objects')[0]!.cause).toContain(`route ${subnet}`);
  expect(trouble(report, 'other-overlays')[0]!.cause).toContain('cni0 has the address');
  expect(status).toBe(0);
});

test('what a daemon waits for is named', async () => {
  const small = '/small/network';
  await cluster.etcd.put(
    `${small}/config`,
    '{"Network":"10.43.0.0/24","SubnetLen":26,"SubnetMin":"10.43.0.64","SubnetMax":"10.43.0.64","Backend":{"Type":"vxlan"}}',
  );
  await cluster.etcd.put(`${small}/subnets/10.43.0.64-26`, flannelValue('192.0.2.97', '0a:00:00:00:00:97'));
  const { args, healthy } = await admit(bare, '--etcd-prefix', small);
  await bare.start({ args: ['--etcd-prefix', small, '--probe-interval', '0'], wait: false });
  await until('the daemon to look for a subnet in vain', async () => {
    const { lease } = await bare.get<StatusJson>('/v1/status');
    return lease.reason !== null && /subnet/.test(lease.reason);
  });
  const { report } = await doctor(bare.netns, args);
  await bare.stop();
  expect(verdicts(report)).toEqual({
    ...healthy,
    daemon: 'failure',
    'own-lease': 'failure',
    objects: 'fine',
    pods: 'fine',
  });
  expect(trouble(report, 'own-lease')[0]!.cause).toMatch(/this node has no subnet: .*subnet/);
  expect(trouble(report, 'daemon')[0]!.cause).toMatch(/the daemon is not ready: /);
});

test('what the kernel refuses is named, and who is in the way', async () => {
  const { args, healthy } = await admit(bare);
  await bare.netns.ip('link add theirs type vxlan id 1 dstport 8472');
  await bare.start({ args: ['--probe-interval', '0'], wait: false });
  await until('the kernel to refuse', async () => {
    const { kernel } = await bare.get<StatusJson>('/v1/status');
    return kernel.failing.some((f) => f.error.includes('EEXIST'));
  });
  const { report } = await doctor(bare.netns, args);
  expect(verdicts(report)).toEqual({
    ...healthy,
    daemon: 'failure',
    objects: 'failure',
    pods: 'fine',
    'tunnel-port': 'failure',
    'tunnel-mac': 'fine',
  });
  expect(trouble(report, 'objects')[0]!.cause).toMatch(/the kernel refuses link flannel\.1: EEXIST/);
  expect(trouble(report, 'tunnel-port')).toMatchObject([
    {
      cause: expect.stringContaining('the VXLAN device theirs has our VNI 1 at our UDP port 8472'),
      fix: expect.stringContaining('ip link del theirs'),
    },
  ]);
  // What it says is to be done helps.
  await bare.netns.ip('link del theirs');
  await bare.ready();
  const after = await doctor(bare.netns, args);
  expect(after.report.findings.filter((f) => f.level === 'failure' || f.level === 'warning')).toEqual([]);
  expect(after.status).toBe(0);
});
