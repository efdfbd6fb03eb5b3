import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { HopName, Why } from '../../src/inspect/why/index.ts';
import type { Cluster } from '../support/cluster.ts';
import { type Host, LODEN } from '../support/host.ts';
import type { Netns } from '../support/netns.ts';
import { type LeaseView, nthSubnet, pinnedCluster } from '../support/pinned.ts';
import { CommandError, until } from '../support/proc.ts';
import type { Workload } from '../support/workload.ts';

/** Every hop of `loden why`: one real fault for each, and it is named, and nothing else is. */

type Family = 4 | 6;

const why = (host: Host, to: string, ...args: string[]): Promise<Why> =>
  askBy(() =>
    host.loden('why', to, '--json', '--run-dir', host.runDir, '--state-dir', host.stateDir, ...args),
  );

async function askBy(run: () => Promise<string>): Promise<Why> {
  try {
    return JSON.parse(await run()) as Why;
  } catch (error) {
    // 1: a hop is broken.
    if (error instanceof CommandError && error.status === 1 && error.stdout)
      return JSON.parse(error.stdout) as Why;
    throw error;
  }
}

const brokenHops = (w: Why): string[] => w.hops.filter((h) => h.state === 'broken').map((h) => h.hop);

/** Do it again and again, faster than the daemon puts it right, until told to stop. */
async function hold(netns: Netns, command: string, log: string): Promise<() => Promise<void>> {
  const proc = await netns.start(['sh', '-c', `while :; do ${command} 2>/dev/null; sleep 0.01; done`], {
    log,
  });
  return async () => {
    await proc.stop('SIGKILL');
  };
}

/** What a fault is done to, and by what words. */
interface Scene {
  readonly cluster: Cluster;
  /** Who asks, and about whose pod. */
  readonly host: Host;
  readonly peer: Host;
  readonly from: Workload;
  readonly to: Workload;
  /** The peer's tunnel MAC in a family. */
  mac(family: Family): string;
}

interface Fault {
  readonly name: string;
  /** The hop that is broken; undefined: none is. */
  readonly hop: HopName | undefined;
  /** In the conclusion. */
  readonly says: RegExp;
  readonly family?: Family;
  /** Ask from the pod instead of the host. */
  readonly pod?: boolean;
  /** Another address than the peer's pod's. */
  readonly to?: (s: Scene) => string;
  readonly args?: readonly string[];
  /** Returns what undoes it. */
  inject(s: Scene): Promise<() => Promise<unknown>>;
}

class Stage implements Scene {
  readonly cluster: Cluster;
  readonly pods: readonly Workload[];
  readonly #macs: ReadonlyMap<Family, string>;
  constructor(cluster: Cluster, pods: readonly Workload[], macs: ReadonlyMap<Family, string>) {
    this.cluster = cluster;
    this.pods = pods;
    this.#macs = macs;
  }
  static async create(Type: string, families: readonly Family[], hosts: number): Promise<Stage> {
    const cluster = await pinnedCluster(Array(hosts).fill(0), { families, backend: { Type } });
    const pods = await Promise.all(cluster.hosts.map((h) => h.workload()));
    const { lease } = (await cluster.hosts[1]!.get<{ lease: { lease: LeaseView } }>('/v1/status')).lease;
    const macs = new Map<Family, string>();
    if (lease.data?.VtepMAC) macs.set(4, lease.data.VtepMAC);
    if (lease.dataV6?.VtepMAC) macs.set(6, lease.dataV6.VtepMAC);
    return new Stage(cluster, pods, macs);
  }
  get host(): Host {
    return this.cluster.hosts[0]!;
  }
  get peer(): Host {
    return this.cluster.hosts[1]!;
  }
  get from(): Workload {
    return this.pods[0]!;
  }
  get to(): Workload {
    return this.pods[1]!;
  }
  mac(family: Family): string {
    return this.#macs.get(family)!;
  }

  ask({ family = 4, pod, to, args = [] }: Pick<Fault, 'family' | 'pod' | 'to' | 'args'>): Promise<Why> {
    const from = pod ? ['--from', this.from.addr(family)] : [];
    return why(this.host, to ? to(this) : this.to.addr(family), ...from, ...args);
  }

  async expectFault(fault: Fault): Promise<void> {
    const undo = await fault.inject(this);
    try {
      const wanted = fault.hop === undefined ? [] : [fault.hop];
      let last: Why | undefined;
      // The moment may be one in which the daemon has just put it right.
      await until(
        fault.name,
        async () => {
          last = await this.ask(fault);
          return (
            JSON.stringify(brokenHops(last)) === JSON.stringify(wanted) && fault.says.test(last.conclusion)
          );
        },
        12_000,
      ).catch((error) => {
        throw new Error(`${error.message}\n${JSON.stringify(last, null, 1)}`);
      });
      expect(last!.whole).toBe(wanted.length === 0);
    } finally {
      await undo();
    }
  }

  /** All is as before: the next fault is the only one. */
  async expectWhole(ask: Pick<Fault, 'family' | 'pod'> = {}): Promise<Why> {
    let last: Why | undefined;
    await until(
      'a whole path',
      async () => {
        last = await this.ask(ask);
        return last.whole && /answers\.$/.test(last.conclusion);
      },
      15_000,
    ).catch((error) => {
      throw new Error(`${error.message}\n${JSON.stringify(last, null, 1)}`);
    });
    return last!;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.cluster[Symbol.asyncDispose]();
  }
}

const logOf = ({ host }: Scene): string => `${host.dir}/fault.log`;
const held = (
  name: string,
  hop: HopName,
  says: RegExp,
  command: (s: Scene) => string,
  more: Partial<Fault> = {},
): Fault => ({
  name,
  hop,
  says,
  inject: (s) => hold(s.host.netns, command(s), logOf(s)),
  ...more,
});
/** One command of `ip` and what undoes it. */
const ip = (
  name: string,
  hop: HopName,
  says: RegExp,
  does: (s: Scene) => string,
  undoes: (s: Scene) => string,
  more: Partial<Fault> = {},
): Fault => ({
  name,
  hop,
  says,
  inject: async (s) => {
    await s.host.netns.ip(does(s));
    return () => s.host.netns.ip(undoes(s));
  },
  ...more,
});
/** A table of nftables on a host. */
const nft = (
  name: string,
  hop: HopName,
  says: RegExp,
  body: (s: Scene) => string,
  more: Partial<Fault> & { where?: (s: Scene) => Netns } = {},
): Fault => ({
  name,
  hop,
  says,
  inject: async (s) => {
    const netns = more.where?.(s) ?? s.host.netns;
    await netns.nft(`table inet trouble {\n${body(s)}\n}`);
    return () => netns.run(['nft', 'delete', 'table', 'inet', 'trouble']);
  },
  ...more,
});

const FAULTS: readonly Fault[] = [
  held(
    'a route deleted again and again',
    'route',
    /route to 10\.42\.2\.0\/24 was removed by somebody; loden puts it back once a second/,
    () => 'ip route del 10.42.2.0/24',
  ),
  held(
    'the same, IPv6, from a pod',
    'route',
    /route to fd00:42:0:2::\/64 was removed/,
    () => 'ip route del fd00:42:0:2::/64',
    { family: 6, pod: true },
  ),
  ip(
    'a blackhole in its place',
    'route',
    /blackhole 10\.42\.2\.2\/32.*by hand or by a script.*ip route del/,
    () => 'route add blackhole 10.42.2.2/32',
    () => 'route del blackhole 10.42.2.2/32',
  ),
  ip(
    'a foreign route in its place',
    'route',
    /10\.42\.2\.0\/25 via 192\.0\.2\.254 dev eth0 proto static/,
    () => 'route add 10.42.2.0/25 via 192.0.2.254 proto static',
    () => 'route del 10.42.2.0/25',
    { pod: true },
  ),
  held(
    'a neighbour with a wrong MAC',
    'neighbour',
    /has the MAC 02:00:00:00:00:99, and its lease says/,
    () => 'ip neigh replace 10.42.2.0 lladdr 02:00:00:00:00:99 dev flannel.1 nud permanent',
  ),
  held(
    'a neighbour deleted, IPv6',
    'neighbour',
    /neighbour entry of fd00:42:0:2:: .* was removed/,
    () => 'ip neigh del fd00:42:0:2:: dev flannel-v6.1',
    { family: 6 },
  ),
  held(
    'an FDB entry deleted',
    'fdb',
    /FDB entry of .* was removed/,
    (s) => `bridge fdb del ${s.mac(4)} dev flannel.1`,
  ),
  held(
    'an FDB entry to another host, IPv6',
    'fdb',
    /sends to 2001:db8::77/,
    (s) => `bridge fdb replace ${s.mac(6)} dev flannel-v6.1 dst 2001:db8::77 self permanent`,
    { family: 6 },
  ),
  held(
    'the tunnel device down',
    'tunnel',
    /tunnel device flannel\.1 is down/,
    () => 'ip link set flannel.1 down',
  ),
  held(
    'forwarding off',
    'forwarding',
    /net\.ipv4\.ip_forward is 0/,
    () => 'echo 0 >/proc/sys/net/ipv4/ip_forward',
    { pod: true },
  ),
  ip(
    'a rule that bypasses the main table',
    'rules',
    /100: from all to 10\.42\.0\.0\/16 lookup 77/,
    () => 'rule add to 10.42.0.0/16 lookup 77 priority 100',
    () => 'rule del priority 100',
    {
      inject: async ({ host: { netns } }) => {
        await netns.ip('route add default via 192.0.2.254 table 77');
        await netns.ip('rule add to 10.42.0.0/16 lookup 77 priority 100');
        return async () => {
          await netns.ip('rule del priority 100');
          await netns.ip('route flush table 77');
        };
      },
    },
  ),
  ip(
    'a rule that prohibits, IPv6',
    'rules',
    /prohibit/,
    () => '-6 rule add to fd00:42::/48 prohibit priority 90',
    () => '-6 rule del priority 90',
    { family: 6 },
  ),
  nft(
    'a chain that forwards nothing',
    'firewall',
    /drops the packet at the forward hook: nft table inet trouble, chain f: policy drop/,
    () => 'chain f { type filter hook forward priority 5; policy drop; }',
    { pod: true },
  ),
  nft(
    'answers dropped on their way in',
    'firewall',
    /rejects its answer at the input hook: .*iifname "flannel\.1" reject/,
    () => 'chain i { type filter hook input priority 5; iifname "flannel.1" reject; }',
  ),
  {
    name: 'iptables -P FORWARD DROP, which loden’s own rules except',
    hop: undefined,
    says: /whole/,
    pod: true,
    inject: async ({ host: { netns } }) => {
      await netns.run(['iptables', '-P', 'FORWARD', 'DROP']);
      return () => netns.run(['iptables', '-P', 'FORWARD', 'ACCEPT']);
    },
  },
  {
    name: 'a rule of iptables before them',
    hop: 'firewall',
    says: /drops the packet at the forward hook: iptables.*table filter, chain FORWARD: -A FORWARD -d 10\.42\.2\.0\/24 -m conntrack --ctstate NEW -j DROP/,
    pod: true,
    inject: async ({ host: { netns } }) => {
      const rule = ['FORWARD', '-d', '10.42.2.0/24', '-m', 'conntrack', '--ctstate', 'NEW', '-j', 'DROP'];
      // Loden keeps its own first only in chains that it has seen to end.
      const stop = await hold(
        netns,
        `iptables -C ${rule.join(' ')} || iptables -I ${rule.join(' ')}`,
        '/dev/null',
      );
      return async () => {
        await stop();
        await netns.run(['iptables', '-D', ...rule]);
      };
    },
  },
  nft(
    'a foreign masquerade',
    'translation',
    /changes its source address \(masquerade\): nft table inet trouble, chain p: oifname "flannel\.1" masquerade/,
    () => 'chain p { type nat hook postrouting priority 90; oifname "flannel.1" masquerade; }',
    { pod: true },
  ),
  nft(
    'the tunnel port dropped on its way out',
    'tunnel port',
    /drops the tunnel’s outgoing packets at the output hook.*udp dport 8472 drop/,
    () => 'chain o { type filter hook output priority 0; udp dport 8472 drop; }',
  ),
  nft(
    'the tunnel port dropped on its way in, IPv6',
    'tunnel port',
    /drops the tunnel’s incoming packets at the input hook.*udp dport 8472 drop/,
    () => 'chain i { type filter hook input priority 0; udp dport 8472 drop; }',
    { family: 6 },
  ),
  nft(
    'the tunnel port dropped at the other end',
    'remote',
    /its node's public address answers, but nothing comes through the tunnel: UDP port 8472 is blocked/,
    () => 'chain i { type filter hook input priority 0; udp dport 8472 drop; }',
    { where: (s) => s.peer.netns },
  ),
  {
    name: 'the tunnel port blocked on the underlay',
    hop: 'remote',
    says: /UDP port 8472 is blocked between the hosts/,
    family: 6,
    inject: async ({ cluster: { underlay } }) => {
      await underlay.netns.nft(
        'table bridge trouble { chain f { type filter hook forward priority 5; udp dport 8472 drop; }; }',
      );
      return () => underlay.netns.run(['nft', 'delete', 'table', 'bridge', 'trouble']);
    },
  },
  ip(
    'no route to the peer’s public address',
    'underlay',
    /no route to the peer's public address 192\.0\.2\.3/,
    () => 'route add unreachable 192.0.2.3',
    () => 'route del unreachable 192.0.2.3',
  ),
  {
    name: 'the uplink unplugged',
    hop: 'underlay',
    says: /uplink eth0 has no carrier/,
    inject: async ({ cluster: { underlay }, host }) => {
      await underlay.plug(host.at, 'out');
      return () => underlay.plug(host.at, 'in');
    },
  },
  {
    name: 'the peer cut off',
    hop: 'underlay',
    says: /the peer’s host 192\.0\.2\.3 does not answer on eth0 \(neighbour (?:FAILED|INCOMPLETE)\)/,
    inject: async ({ cluster: { underlay }, host, peer }) => {
      const heal = await underlay.isolate(peer.at);
      await host.netns.ip('neigh flush dev eth0');
      return heal;
    },
  },
  {
    name: 'an address that nobody has',
    hop: 'lease',
    says: /no node has a lease of its subnet/,
    to: () => '10.42.99.4',
    inject: async () => async () => {},
  },
  {
    name: 'an address outside',
    hop: 'lease',
    says: /outside the overlay's network 10\.42\.0\.0\/16/,
    to: () => '10.99.0.1',
    inject: async () => async () => {},
  },
  {
    name: 'a pod that is not there',
    hop: 'remote',
    says: /its node .* answers through the overlay and the address itself does not/,
    to: () => '10.42.2.200',
    inject: async () => async () => {},
  },
  {
    name: 'a port that nobody listens on',
    hop: 'remote',
    says: /nothing listens on TCP port 81 there: the path is whole/,
    args: ['--port', 'tcp:81'],
    inject: async () => async () => {},
  },
  {
    name: 'an own pod that is not there',
    hop: 'pod',
    says: /no pod on this host has the address 10\.42\.1\.200/,
    to: () => '10.42.1.200',
    inject: async () => async () => {},
  },
  {
    name: 'an own pod whose cable is cut',
    hop: 'pod',
    says: /the pod's cable veth\w+ has no carrier/,
    to: (s) => s.from.addr(6),
    inject: async ({ from }) => {
      await from.netns.ip('link set eth0 down');
      return async () => {
        await from.netns.ipBatch([
          'link set eth0 up',
          `addr replace ${from.addr(6)}/64 dev eth0`,
          'route replace default via 10.42.1.1',
          'route replace default via fd00:42:0:1::1',
        ]);
      };
    },
  },
  {
    name: 'a stale lease of a host without a daemon',
    hop: 'remote',
    says: /its lease 10\.42\.50\.0-24 may be stale/,
    to: () => '10.42.50.3',
    inject: ({ cluster }) => lease(cluster, 50, cluster.etcd.at.ipv4),
  },
  {
    name: 'a lease that cannot be served',
    hop: 'peer',
    says: /cannot be served: .*its VtepMAC/,
    to: () => '10.42.51.3',
    inject: ({ cluster }) => lease(cluster, 51, '192.0.2.88', '01:00:00:00:00:01'),
  },
  {
    name: 'two nodes with one public address',
    hop: 'peer',
    says: /two nodes claim one public address: .*10\.42\.52\.0-24/,
    inject: ({ cluster, peer }) => lease(cluster, 52, peer.at.ipv4),
  },
];

/** Somebody's lease of the n-th subnet, written straight to etcd. */
async function lease(cluster: Cluster, n: number, publicIP: string, mac = `02:00:00:00:00:${n}`) {
  const key = `/coreos.com/network/subnets/${nthSubnet(4, n).replace('/', '-')}`;
  await cluster.etcd.put(
    key,
    JSON.stringify({ PublicIP: publicIP, BackendType: 'vxlan', BackendData: { VNI: 1, VtepMAC: mac } }),
  );
  return () => cluster.etcd.delete(key);
}

describe('vxlan, both families', () => {
  let stage: Stage;
  beforeAll(async () => {
    stage = await Stage.create('vxlan', [4, 6], 3);
  });
  afterAll(async () => {
    await stage?.[Symbol.asyncDispose]();
  });

  test.each([
    { family: 4, pod: false },
    { family: 6, pod: true },
  ] as const)('every hop of a healthy path is in order: IPv$family, from a pod: $pod', async (ask) => {
    const { hops } = await stage.expectWhole(ask);
    expect(hops.filter((h) => h.state !== 'ok')).toEqual([]);
  });

  test.each(FAULTS)('$name', async (fault) => {
    await stage.expectFault(fault);
  });

  test('a network between that takes less than the uplinks: the path MTU is told, and that the route was lowered', async () => {
    const { cluster, peer } = stage;
    await cluster.underlay.netns.ip(`link set ${peer.at.port} mtu 1400`);
    let last: Why | undefined;
    await until(
      'the path MTU to be named',
      async () => {
        last = await stage.ask({});
        return (
          last.whole &&
          /path MTU to its node is 1350 bytes.*route was lowered to 1350 bytes/.test(last.conclusion)
        );
      },
      30_000,
    ).catch((error) => {
      throw new Error(`${error.message}\n${JSON.stringify(last, null, 1)}`);
    });
    await cluster.underlay.netns.ip(`link set ${peer.at.port} mtu 1500`);
  });

  test('without a daemon, of etcd; and not as root', async () => {
    const { host, cluster } = stage;
    await host.stop('SIGKILL');
    const args = ['--etcd-endpoints', cluster.etcd.endpoint()];
    const whole = await stage.ask({ args });
    expect(whole.hops.find((h) => h.hop === 'lease')!.found).toContain('from etcd');
    expect(brokenHops(whole)).toEqual([]);
    await host.netns.ip('route del 10.42.2.0/24');
    const w = await stage.ask({ args });
    expect(brokenHops(w)).toEqual(['route']);
    expect(w.conclusion).toContain('no loden daemon runs here to put it back');
    const nobody = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', '--inh-caps=-all', '--'];
    const argv = [
      LODEN,
      'why',
      stage.to.addr(4),
      '--json',
      '--run-dir',
      host.runDir,
      '--state-dir',
      host.stateDir,
      ...args,
    ];
    const seen = await askBy(() => host.netns.run([...nobody, ...argv]));
    expect(brokenHops(seen)).toEqual(['route']);
    const states = Object.fromEntries(seen.hops.map((h) => [h.hop, h.state]));
    expect(states).toMatchObject({
      lease: 'ok',
      fdb: 'ok',
      firewall: 'unknown',
      'tunnel port': 'unknown',
      path: 'unknown',
    });
  });
});

const DIRECT: readonly Fault[] = [
  held(
    'a route deleted',
    'route',
    /route to 10\.42\.2\.0\/24 was removed by somebody/,
    () => 'ip route del 10.42.2.0/24',
    { pod: true },
  ),
  nft(
    'a chain that drops by address',
    'firewall',
    /ip daddr 10\.42\.0\.0\/16 drop/,
    () => 'chain f { type filter hook forward priority 5; ip daddr 10.42.0.0/16 drop; }',
    { pod: true },
  ),
  {
    name: 'the uplink unplugged',
    hop: 'underlay',
    says: /uplink eth0 has no carrier/,
    inject: async ({ cluster: { underlay }, host }) => {
      await underlay.plug(host.at, 'out');
      return () => underlay.plug(host.at, 'in');
    },
  },
  {
    name: 'a peer that is down',
    hop: 'underlay',
    says: /the peer’s host 192\.0\.2\.3 does not answer on eth0/,
    inject: async ({ cluster: { underlay }, host, peer }) => {
      const heal = await underlay.isolate(peer.at);
      await host.netns.ip('neigh flush dev eth0');
      return heal;
    },
  },
];

const IN_USER_SPACE: readonly Fault[] = [
  held(
    'the route deleted',
    'route',
    /route to 10\.42\.0\.0\/16 was removed by somebody/,
    () => 'ip route del 10.42.0.0/16',
  ),
  held(
    'the tunnel device down',
    'tunnel',
    /tunnel device flannel0 is down/,
    () => 'ip link set flannel0 down',
    { pod: true },
  ),
  nft(
    'its port dropped on its way out',
    'tunnel port',
    /outgoing packets at the output hook.*udp dport 8285 drop/,
    () => 'chain o { type filter hook output priority 0; udp dport 8285 drop; }',
  ),
  {
    name: "the peer's daemon gone",
    hop: 'remote',
    says: /UDP port 8285 is blocked between the hosts or on that node, or its daemon/,
    inject: async ({ peer }) => {
      await peer.stop('SIGKILL');
      return () => peer.start();
    },
  },
  {
    name: 'our own daemon gone',
    hop: 'forwarder',
    says: /no daemon runs here, and the udp backend forwards in the daemon/,
    inject: async ({ host }) => {
      await host.stop('SIGKILL');
      return () => host.start();
    },
  },
];

describe.each([
  ['host-gw', DIRECT],
  ['udp', IN_USER_SPACE],
] as const)('%s', (backend, faults) => {
  test('a healthy path, and a fault of each kind', async () => {
    await using stage = await Stage.create(backend, [4], 2);
    const { hops } = await stage.expectWhole();
    expect(hops.filter((h) => h.state !== 'ok')).toEqual([]);
    for (const fault of faults) {
      const args = ['--etcd-endpoints', stage.cluster.etcd.endpoint()];
      await stage.expectFault({ ...fault, args });
    }
  });
});
