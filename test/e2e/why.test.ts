import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Why } from '../../src/inspect/why/index.ts';
import type { Cluster } from '../support/cluster.ts';
import { LODEN } from '../support/host.ts';
import { keyOf, leases } from '../support/leases.ts';
import { nthSubnet } from '../support/pinned.ts';
import { until } from '../support/proc.ts';
import {
  askBy,
  brokenHops,
  CUT_OFF,
  type Fault,
  held,
  hold,
  ip,
  nft,
  Stage,
  UNPLUGGED,
} from '../support/whyStage.ts';

/** Every hop of `loden why`: one real fault for each, and it is named, and nothing else is. */

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
  {
    name: 'a rule to a table that stops it',
    hop: 'rules',
    says: /stops it: 101: from all to 10\.42\.0\.0\/16 lookup 78; there: blackhole default table 78/,
    inject: async ({ host: { netns } }) => {
      await netns.ip('route add blackhole default table 78');
      await netns.ip('rule add to 10.42.0.0/16 lookup 78 priority 101');
      return async () => {
        await netns.ip('rule del priority 101');
        await netns.ip('route flush table 78');
      };
    },
  },
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
    /drops the tunnel's outgoing packets at the output hook.*udp dport 8472 drop/,
    () => 'chain o { type filter hook output priority 0; udp dport 8472 drop; }',
  ),
  nft(
    'the tunnel port dropped on its way in, IPv6',
    'tunnel port',
    /drops the tunnel's incoming packets at the input hook.*udp dport 8472 drop/,
    () => 'chain i { type filter hook input priority 0; udp dport 8472 drop; }',
    { family: 6 },
  ),
  nft(
    'the tunnel port dropped at the other end',
    'remote',
    /nothing comes through the tunnel, though its node's public address answers; nothing wrong was found on this host \(not looked at: tc, XDP, XFRM\): perhaps UDP port 8472 is blocked/,
    () => 'chain i { type filter hook input priority 0; udp dport 8472 drop; }',
    { where: (s) => s.peer.netns, shared: true },
  ),
  {
    name: 'the tunnel port dropped at a device, which no hop judges',
    hop: 'remote',
    says: /nothing wrong was found on this host \(not known: firewall, tunnel port; not looked at: tc, XDP, XFRM\): it is one of those, or/,
    inject: async ({ host: { netns } }) => {
      await netns.nft(
        'table netdev trouble { chain c { type filter hook ingress device "eth0" priority 5; udp dport 8472 drop; }; }',
      );
      return () => netns.run(['nft', 'delete', 'table', 'netdev', 'trouble']);
    },
  },
  ip(
    'a policy of XFRM that blocks it, which nothing looks at',
    'remote',
    /nothing wrong was found on this host \(not looked at: tc, XDP, XFRM\)/,
    (s) => `xfrm policy add dst ${s.peer.at.ipv4} proto udp dport 8472 dir out action block`,
    (s) => `xfrm policy del dst ${s.peer.at.ipv4} proto udp dport 8472 dir out`,
  ),
  {
    name: 'the tunnel port sent elsewhere on its way in',
    hop: 'tunnel port',
    says: /sends the tunnel's incoming packets elsewhere \(dnat\) at the prerouting hook.*udp dport 8472 dnat/,
    inject: async ({ host: { netns } }) => {
      await netns.nft(
        'table ip trouble { chain p { type nat hook prerouting priority -100; udp dport 8472 dnat to 127.0.0.9; }; }',
      );
      return () => netns.run(['nft', 'delete', 'table', 'ip', 'trouble']);
    },
  },
  {
    name: 'outer packets that a mark sends elsewhere',
    hop: 'underlay',
    says: /no route to the peer's public address 192\.0\.2\.3, for packets with mark 0x5, .*100: from all fwmark 0x5 lookup 66/,
    inject: async ({ host: { netns } }) => {
      await netns.ip('route add blackhole default table 66');
      await netns.ip('rule add fwmark 5 lookup 66 priority 100');
      await netns.nft(
        'table inet trouble { chain o { type route hook output priority -150; udp dport 8472 meta mark set 5; }; }',
      );
      return async () => {
        await netns.run(['nft', 'delete', 'table', 'inet', 'trouble']);
        await netns.ip('rule del priority 100');
        await netns.ip('route flush table 66');
      };
    },
  },
  ip(
    'a wrong MAC of the peer’s host, for ever',
    'remote',
    /or it drops echoes.*Look at this first: the MAC 02:00:00:00:00:99 of 192\.0\.2\.3 on eth0 was put there by somebody/,
    (s) => `neigh replace ${s.peer.at.ipv4} lladdr 02:00:00:00:00:99 dev eth0 nud permanent`,
    (s) => `neigh del ${s.peer.at.ipv4} dev eth0`,
  ),
  nft(
    'a peer that drops echoes, and the tunnel port',
    'remote',
    /its node lives \(192\.0\.2\.3 does not answer echoes, but says that a port is closed\).*UDP port 8472 is blocked/,
    () =>
      'chain i { type filter hook input priority 0; iifname eth0 meta l4proto icmp drop; udp dport 8472 drop; }',
    { where: (s) => s.peer.netns, shared: true },
  ),
  {
    name: 'a peer that says nothing but answers ARP',
    shared: true,
    hop: 'remote',
    says: /a host with its public address 192\.0\.2\.3 has just answered ARP, and drops echoes/,
    inject: async ({ host, peer: { netns } }) => {
      await netns.nft(
        'table inet trouble { chain i { type filter hook input priority 0; iifname eth0 udp dport 8472 drop; }\n' +
          'chain o { type filter hook output priority 0; meta l4proto icmp drop; }; }',
      );
      await host.netns.ip('neigh flush dev eth0');
      return () => netns.run(['nft', 'delete', 'table', 'inet', 'trouble']);
    },
  },
  {
    name: 'the tunnel port blocked on the underlay',
    shared: true,
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
  UNPLUGGED,
  CUT_OFF,
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
    says: /10\.99\.0\.1 is not an address of the overlay: the overlay's network is 10\.42\.0\.0\/16/,
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
    hop: 'service',
    says: /is reached, but its TCP port 81 is refused/,
    args: ['--port', 'tcp:81'],
    inject: async () => async () => {},
  },
  {
    name: 'an own pod that is not there',
    hop: 'pod',
    says: /no pod on this host has the address 10\.42\.\d\.200/,
    to: (s) => s.own(200),
    inject: async () => async () => {},
  },
  {
    name: 'an own pod whose cable is cut',
    hop: 'pod',
    says: /the pod's cable veth\w+ has no carrier/,
    to: (s) => s.from.addr(6),
    inject: async (s) => {
      const { from } = s;
      await from.netns.ip('link set eth0 down');
      return async () => {
        await from.netns.ipBatch([
          'link set eth0 up',
          `addr replace ${from.addr(6)}/64 dev eth0`,
          `route replace default via ${s.own(1)}`,
          `route replace default via ${from.addr(6).replace(/::.*/, '::1')}`,
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
    shared: true,
    hop: 'peer',
    says: /two nodes claim one public address: 10\.42\.52\.0-24.* and 10\.42\.2\.0-24/,
    to: () => '10.42.52.3',
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

/** Hosts without a fault; who finds none waits for one. */
class Lanes {
  readonly #free: Stage[];
  readonly #waiting: ((stage: Stage) => void)[] = [];
  constructor(free: readonly Stage[]) {
    this.#free = [...free];
  }
  async take(): Promise<Stage> {
    return this.#free.pop() ?? new Promise((resolve) => this.#waiting.push(resolve));
  }
  give(stage: Stage): void {
    const next = this.#waiting.shift();
    if (next) next(stage);
    else this.#free.push(stage);
  }
}

describe('vxlan, both families', () => {
  let stage: Stage;
  let lanes: Lanes;
  beforeAll(async () => {
    stage = await Stage.create('vxlan', [4, 6], 3);
    lanes = new Lanes([stage, stage.other()]);
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

  // Two hosts have faults at a time, for most of it is waiting; each waits for one that has none.
  test.concurrent.each(FAULTS.filter((f) => !f.shared))('$name', async (fault) => {
    const free = await lanes.take();
    try {
      await free.expectFault(fault);
    } finally {
      lanes.give(free);
    }
  });

  test.each(FAULTS.filter((f) => f.shared))('$name', async (fault) => {
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
          /path MTU to its node is (135\d) bytes.*route was lowered to \1 bytes/.test(last.conclusion)
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
    const args = ['--etcd-endpoints', cluster.etcd.endpoint()];
    const nobody = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', '--inh-caps=-all', '--'];
    const dirs = ['--run-dir', host.runDir, '--state-dir', host.stateDir];
    const asNobody = (to: string) =>
      askBy(() => host.netns.run([...nobody, LODEN, 'why', to, '--json', ...dirs, ...args]));
    // The daemon does not talk to everybody: that is no word about its lease.
    const refused = await asNobody(stage.to.addr(4));
    expect(refused.conclusion).not.toMatch(/holds no lease|start its daemon/);
    expect(brokenHops(refused)).toEqual([]);
    await host.stop('SIGKILL');
    const whole = await stage.ask({ args });
    expect(whole.hops.find((h) => h.hop === 'lease')!.found).toContain('from etcd');
    expect(brokenHops(whole)).toEqual([]);
    await host.netns.ip('route del 10.42.2.0/24');
    const w = await stage.ask({ args });
    expect(brokenHops(w)).toEqual(['route']);
    expect(w.conclusion).toContain('no loden daemon runs here to put it back');
    const seen = await asNobody(stage.to.addr(4));
    expect(brokenHops(seen)).toEqual(['route']);
    const states = Object.fromEntries(seen.hops.map((h) => [h.hop, h.state]));
    expect(states).toMatchObject({
      lease: 'ok',
      fdb: 'ok',
      firewall: 'unknown',
      'tunnel port': 'unknown',
      path: 'unknown',
    });
    expect(seen.hops.find((h) => h.hop === 'firewall')!.found).toContain(
      "only root may see the firewall's rules",
    );
    // A lease as flanneld writes it is ours by its address.
    const found = [...(await leases(cluster.etcd))].find(([, kv]) => kv.value.includes(`"${host.at.ipv4}"`));
    const [subnet, { value }] = found!;
    const { Loden: _, ...flannel } = JSON.parse(value) as Record<string, unknown>;
    await cluster.etcd.put(keyOf(subnet), JSON.stringify(flannel));
    const own = await stage.ask({ args, to: (s) => s.from.addr(4) });
    expect(own.hops.find((h) => h.hop === 'lease')!.found).toContain("this host's own");
    expect(own.hops.find((h) => h.hop === 'pod')!.state).toBe('ok');
  });
});
