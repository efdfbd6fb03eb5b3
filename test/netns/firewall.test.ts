import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { commandsIn } from '../../src/kernel/command.ts';
import { Firewall, type FirewallDesired, nftMonitor } from '../../src/kernel/firewall.ts';
import { NOTHING } from '../../src/kernel/firewallPass.ts';
import type { Family } from '../../src/net/addr.ts';
import { prefix } from '../../src/net/prefix.ts';
import { Netns } from '../support/netns.ts';
import { thisProcess } from '../support/owner.ts';
import { until } from '../support/proc.ts';

const WHOAMI = fileURLToPath(new URL('../support/whoami.ts', import.meta.url));
/** Datagrams to this port are marked by a foreign table on their way. */
const MARKED = '4000';
const PLAIN = '5000';

const NET4 = prefix('10.5.0.0/16');
const NET6 = prefix('fd00:5::/48');
const DESIRED: FirewallDesired = {
  masquerade: new Map([
    [4 as Family, { network: NET4, subnet: prefix('10.5.7.0/24'), fullyRandom: true }],
    [6 as Family, { network: NET6, subnet: prefix('fd00:5:0:7::/64'), fullyRandom: true }],
  ]),
  forward: new Map([
    [4 as Family, NET4],
    [6 as Family, NET6],
  ]),
};
const FORWARD_ONLY: FirewallDesired = { masquerade: new Map(), forward: DESIRED.forward };
const OURS = ['-s', '-d'].map(
  (d) => `-A FORWARD ${d} 10.5.0.0/16 -m comment --comment "loden forward" -j ACCEPT`,
);
const FOREIGN = `table inet foreign {
  set s { type ipv4_addr; elements = { 192.0.2.77 } }
  chain marking { type filter hook forward priority mangle; udp dport ${MARKED} meta mark set 0x4000; }
  chain others { ip saddr @s counter drop; }
}
table ip sleeping { flags dormant; }`;

/*
 *   pod (10.5.7.2) ── host ── peer (172.16.0.2), the node of the pod 10.5.9.2
 *                      └───── world (192.0.2.1), with a route to the overlay through host
 */
const owner = thisProcess();
const dir = owner.tempDir('firewall');
let host: Netns;
let pod: Netns;
let peer: Netns;
let world: Netns;
let fd: number;
const running = new Set<Firewall>();

/** A daemon's firewall in the host; ends with the test. */
function firewall(options: { resyncMs?: number; log?: string[] } = {}): Firewall {
  const log = (_: object, message: string) => options.log?.push(message);
  const made = new Firewall({
    commands: commandsIn(host.path),
    monitor: nftMonitor(fd),
    log: { info: log, warn: log, error: log },
    ...(options.resyncMs === undefined ? {} : { resyncMs: options.resyncMs }),
  });
  running.add(made);
  return made;
}

/** The address that `to` sees when `from` speaks to it; `lost` when nothing comes back. */
const seen = async (from: Netns, to: string, port = PLAIN): Promise<string> =>
  (await from.run([process.execPath, WHOAMI, 'ask', to, port])).trim();

const sh = (script: string): Promise<string> => host.run(['sh', '-ec', script]);
/** All rules without counters and handles. */
const ruleset = (): Promise<string> => host.run(['nft', '-s', 'list', 'ruleset']);
const saved = async (tool: string): Promise<string[]> =>
  (await host.run([`${tool}-save`, '-t', 'filter'])).split('\n').filter((l) => l.startsWith('-A FORWARD'));

beforeAll(async () => {
  [host, pod, peer, world] = (await Promise.all(
    ['host', 'pod', 'peer', 'world'].map((label) => Netns.create(owner, label)),
  )) as [Netns, Netns, Netns, Netns];
  fd = openSync(host.path, 'r');
  await host.sysctl({ 'net/ipv4/ip_forward': 1, 'net/ipv6/conf/all/forwarding': 1 });
  await host.ipBatch(
    [pod, peer, world].map(
      (n, i) => `link add ${['pod', 'peer', 'world'][i]} type veth peer name eth0 netns ${n.name}`,
    ),
  );
  const cable = async (to: Netns, dev: string, here: string[], there: string[], routes: string[]) => {
    await host.ipBatch([...here.map((a) => `addr add ${a} dev ${dev}`), `link set ${dev} up`]);
    await to.ipBatch([...there.map((a) => `addr add ${a} dev eth0`), 'link set eth0 up', ...routes]);
  };
  await cable(
    pod,
    'pod',
    ['10.5.7.1/24', 'fd00:5:0:7::1/64'],
    ['10.5.7.2/24', 'fd00:5:0:7::2/64'],
    ['route add default via 10.5.7.1', 'route add default via fd00:5:0:7::1'],
  );
  await cable(
    peer,
    'peer',
    ['172.16.0.1/30', 'fd01::1/64'],
    ['172.16.0.2/30', 'fd01::2/64'],
    [
      'addr add 10.5.9.2/32 dev lo',
      'addr add fd00:5:0:9::2/128 dev lo nodad',
      'route add default via 172.16.0.1 src 10.5.9.2',
      'route add default via fd01::1 src fd00:5:0:9::2',
    ],
  );
  await cable(
    world,
    'world',
    ['192.0.2.254/24', '2001:db8::fe/64'],
    ['192.0.2.1/24', '2001:db8::1/64'],
    ['route add 10.5.0.0/16 via 192.0.2.254', 'route add fd00:5::/48 via 2001:db8::fe'],
  );
  await host.ipBatch(['route add 10.5.9.0/24 via 172.16.0.2', 'route add fd00:5:0:9::/64 via fd01::2']);
  for (const [netns, ipv4, ipv6] of [
    [pod, '10.5.7.2', 'fd00:5:0:7::2'],
    [peer, '10.5.9.2', 'fd00:5:0:9::2'],
    [world, '192.0.2.1', '2001:db8::1'],
  ] as const) {
    const server = await netns.start([process.execPath, WHOAMI, 'serve', ipv4, ipv6], {
      log: join(dir, `${netns.name}.log`),
    });
    await server.saying(new RegExp(`serving ${ipv6} ${PLAIN}`));
  }
});

beforeEach(() => host.nft(FOREIGN));
afterEach(async () => {
  await Promise.all([...running].map((f) => f.stop()));
  running.clear();
  await sh(`nft flush ruleset
    for t in filter nat; do for p in iptables-legacy ip6tables-legacy; do
      if grep -qx $t /proc/net/\${p%tables-legacy}_tables_names; then $p -t $t -F; $p -t $t -X; $p -P FORWARD ACCEPT; fi
    done; done`);
});
afterAll(async () => {
  if (fd !== undefined) closeSync(fd);
  await Promise.all([host, pod, peer, world].map((n) => n?.[Symbol.asyncDispose]()));
  owner.remove();
});

describe('masquerade', () => {
  test('hides pods from the world, and from nobody else', async () => {
    expect(await seen(pod, '192.0.2.1')).toBe('10.5.7.2');
    expect(await firewall().set(DESIRED)).toMatchObject({ inSync: true, error: null, problems: [] });
    const [toWorld, toWorld6, toPod, fromPod, marked, inward, inward6, through, through6] = await Promise.all(
      [
        seen(pod, '192.0.2.1'),
        seen(pod, '2001:db8::1'),
        seen(pod, '10.5.9.2'),
        seen(peer, '10.5.7.2'),
        seen(pod, '192.0.2.1', MARKED),
        seen(world, '10.5.7.2'),
        seen(world, 'fd00:5:0:7::2'),
        seen(world, '10.5.9.2'),
        seen(world, 'fd00:5:0:9::2'),
      ],
    );
    expect({ toWorld, toWorld6 }).toEqual({ toWorld: '192.0.2.254', toWorld6: '2001:db8::fe' });
    expect({ toPod, fromPod, marked }).toEqual({
      toPod: '10.5.7.2',
      fromPod: '10.5.9.2',
      marked: '10.5.7.2',
    });
    // The world speaks to a pod of this node as itself, to another node's pod through our address.
    expect({ inward, inward6 }).toEqual({ inward: '192.0.2.1', inward6: '2001:db8::1' });
    expect({ through, through6 }).toEqual({ through: '172.16.0.1', through6: 'fd01::1' });
  });

  test('is listed as it was written, for any length of prefix', async () => {
    const f = firewall();
    for (const [network4, subnet4, network6, subnet6] of [
      ['10.0.0.0/8', '10.128.0.0/9', 'fd00::/17', 'fd00:0:4000::/35'],
      ['10.5.0.0/22', '10.5.1.192/27', 'fc00::/48', 'fc00:0:0:8::/61'],
      ['192.168.64.0/28', '192.168.64.4/30', '2001:db8:ffff::/112', '2001:db8:ffff::fff8/125'],
    ] as const) {
      const masquerade = new Map([
        [4 as Family, { network: prefix(network4), subnet: prefix(subnet4), fullyRandom: false }],
        [6 as Family, { network: prefix(network6), subnet: prefix(subnet6), fullyRandom: true }],
      ]);
      expect((await f.set({ masquerade, forward: new Map() })).inSync).toBe(true);
      const writes: string[] = [];
      const commands = commandsIn(host.path);
      const restarted = new Firewall({
        commands: {
          ...commands,
          run(argv, input) {
            if (input !== undefined) writes.push(input);
            return commands.run(argv, input);
          },
        },
        log: console,
        monitor: () => ({ close() {} }),
      });
      await restarted.set({ masquerade, forward: new Map() });
      await restarted.stop();
      expect(writes).toEqual([]);
    }
  });

  test('survives a restart without a change', async () => {
    await sh('iptables -P FORWARD DROP; ip6tables -P FORWARD DROP');
    const first = firewall();
    await first.set(DESIRED);
    await first.stop();
    const before = await host.run(['nft', '-a', '-s', 'list', 'ruleset']);

    const monitor = await host.start(['nft', 'monitor'], { log: join(dir, 'monitor.log') });
    await until('nft monitor to listen', async () => {
      await sh('nft add table ip here; nft delete table ip here');
      return monitor.output().includes('delete table ip here');
    });
    const second = firewall();
    await second.set(DESIRED);
    await second.stop();
    await sh('nft add table ip end');
    await monitor.saying(/add table ip end/);
    const events = monitor
      .output()
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'));
    expect(events.filter((line) => !/(add|delete) table ip (here|end)/.test(line))).toEqual([]);
    await sh('nft delete table ip end');
    expect(await host.run(['nft', '-a', '-s', 'list', 'ruleset'])).toBe(before);
    await monitor.stop();
  });

  test.each([
    ['a flush of everything', 'nft flush ruleset'],
    ['a flush of the table', 'nft flush table ip loden; nft flush table ip6 loden'],
    ['the deletion of a table', 'nft delete table ip loden; nft delete table ip6 loden'],
    [
      'a rule too many',
      'nft insert rule ip loden postrouting ip daddr 192.0.2.0/24 return; nft delete table ip6 loden',
    ],
    ['a dormant table', "nft 'table ip loden { flags dormant; }; table ip6 loden { flags dormant; }'"],
  ])('is put right after %s', async (_, damage) => {
    const f = firewall();
    await f.set(DESIRED);
    const before = await host.run(['nft', '-s', 'list', 'table', 'ip', 'loden']);
    await sh(damage);
    await until('both tables to be repaired', () => f.status().repairs.masquerade === 2);
    expect(await host.run(['nft', '-s', 'list', 'table', 'ip', 'loden'])).toBe(before);
    expect(await seen(pod, '192.0.2.1')).toBe('192.0.2.254');
  });

  test('changes with what is desired, and goes with it; foreign tables stay', async () => {
    const foreign = await ruleset();
    const f = firewall();
    await f.set(DESIRED);
    const moved = new Map([
      [4 as Family, { network: NET4, subnet: prefix('10.5.8.0/24'), fullyRandom: false }],
    ]);
    await f.set({ masquerade: moved, forward: new Map() });
    const listed = await host.run(['nft', 'list', 'ruleset']);
    expect(listed).toContain('ip saddr 10.5.8.0/24 ip daddr 10.5.0.0/16 return');
    expect(listed).not.toContain('fully-random');
    expect(listed).not.toContain('ip6 loden');
    await f.set(NOTHING);
    expect(await ruleset()).toBe(foreign);
    expect(f.status().repairs).toEqual({ masquerade: 0, forward: 0 });
  });
});

/** The beginning of Docker's rules, with the operator's own in DOCKER-USER. */
const DOCKER = `iptables -P FORWARD DROP
  iptables -N DOCKER-USER; iptables -N DOCKER-ISOLATION
  iptables -A DOCKER-USER -p udp --dport ${MARKED} -j DROP; iptables -A DOCKER-USER -j RETURN
  iptables -A FORWARD -j DOCKER-USER; iptables -A FORWARD -j DOCKER-ISOLATION
  iptables -A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT`;

describe('forward rules', () => {
  test('let the overlay pass where Docker drops, and leave DOCKER-USER its say', async () => {
    await sh(DOCKER);
    expect(await seen(pod, '10.5.9.2')).toBe('lost');
    const f = firewall();
    expect(await f.set(FORWARD_ONLY)).toMatchObject({ inSync: true, problems: [] });
    const [out, back, refused] = await Promise.all([
      seen(pod, '10.5.9.2'),
      seen(peer, '10.5.7.2'),
      seen(pod, '10.5.9.2', MARKED),
    ]);
    expect({ out, back, refused }).toEqual({ out: '10.5.7.2', back: '10.5.9.2', refused: 'lost' });
    expect((await saved('iptables')).slice(-2)).toEqual(OURS);

    // Docker starts again: its chains are made anew, ours stand where they stood.
    await sh(`iptables -D FORWARD -j DOCKER-USER; iptables -I FORWARD -j DOCKER-USER`);
    await sh('iptables -F FORWARD; iptables -A FORWARD -j DOCKER-USER');
    await until('the rules to be put again', () => f.status().repairs.forward > 0);
    expect(await saved('iptables')).toEqual(['-A FORWARD -j DOCKER-USER', ...OURS]);
    expect(await seen(pod, '10.5.9.2')).toBe('10.5.7.2');
  });

  test('of IPv6', async () => {
    await sh('ip6tables -P FORWARD DROP');
    expect(await seen(pod, 'fd00:5:0:9::2')).toBe('lost');
    await firewall().set(FORWARD_ONLY);
    expect(await seen(pod, 'fd00:5:0:9::2')).toBe('fd00:5:0:7::2');
    expect(await saved('ip6tables')).toEqual(OURS.map((r) => r.replace('10.5.0.0/16', 'fd00:5::/48')));
  });

  test('are made when the chain is, and no chain is made for them', async () => {
    const f = firewall();
    await f.set(FORWARD_ONLY);
    expect(await ruleset()).not.toContain('FORWARD');
    await sh('iptables -P FORWARD DROP');
    await until('the rules to be there', async () => (await saved('iptables')).length === 2);
    expect(await seen(pod, '10.5.9.2')).toBe('10.5.7.2');
  });

  test('stand before a final REJECT, also one that comes later', async () => {
    await sh('iptables -A FORWARD -p udp --dport 4000 -j DROP; iptables -A FORWARD -j REJECT');
    const f = firewall();
    await f.set(FORWARD_ONLY);
    const drop = '-A FORWARD -p udp -m udp --dport 4000 -j DROP';
    const reject = '-A FORWARD -j REJECT --reject-with icmp-port-unreachable';
    expect(await saved('iptables')).toEqual([drop, ...OURS, reject]);
    await sh('iptables -I FORWARD -j REJECT');
    await until('the rules to move', () => f.status().repairs.forward === 1);
    expect(await saved('iptables')).toEqual([...OURS, reject, drop, reject]);
    expect(await seen(pod, '10.5.9.2')).toBe('10.5.7.2');
  });

  test('go with the option, and with a network that changed', async () => {
    await sh('iptables -P FORWARD DROP; iptables -A FORWARD -s 10.5.0.0/16 -j DROP');
    const before = await ruleset();
    const f = firewall();
    await f.set({ masquerade: new Map(), forward: new Map([[4 as Family, prefix('10.4.0.0/16')]]) });
    await f.set(FORWARD_ONLY);
    expect(await saved('iptables')).toEqual(['-A FORWARD -s 10.5.0.0/16 -j DROP', ...OURS]);
    await f.set(NOTHING);
    expect(await ruleset()).toBe(before);
  });

  test('cannot help against a native nft firewall, and that is told until the operator helps', async () => {
    await host.nft(`table inet site { chain fw {
      type filter hook forward priority filter; policy drop; ct state established accept
      }
    }`);
    const f = firewall();
    const { problems } = await f.set(FORWARD_ONLY);
    expect(problems).toEqual([
      expect.stringContaining('nft chain inet site fw refuses'),
      expect.stringContaining('ip6 saddr'),
    ]);
    expect(await seen(pod, '10.5.9.2')).toBe('lost');
    // The commands that the problem names.
    for (const problem of problems) {
      for (const [command] of problem.matchAll(/nft insert rule [^;(]*/g)) await sh(command);
    }
    await until('the problem to be solved', () => f.status().problems.length === 0);
    expect(await seen(pod, '10.5.9.2')).toBe('10.5.7.2');
  });

  test('are not put into a table that iptables cannot read, and that is told', async () => {
    await host.nft(`table ip filter { chain FORWARD {
      type filter hook forward priority filter; policy drop; ct state established,related accept
      }
    }`);
    const before = await ruleset();
    const status = await firewall().set(FORWARD_ONLY);
    expect(status).toMatchObject({
      inSync: true,
      problems: [expect.stringContaining('nft chain ip filter FORWARD')],
    });
    expect(await ruleset()).toBe(before);
    const { removed, problems } = await Firewall.cleanup(commandsIn(host.path));
    expect(removed).toEqual([]);
    expect(problems).toEqual([expect.stringContaining('cannot read its table filter')]);
  });
});

/** What flanneld makes with iptables, among rules of others. */
const FLANNELD = `iptables -t nat -N FLANNEL-POSTRTG
    iptables -t nat -A POSTROUTING -s 172.30.0.0/16 -j MASQUERADE
    iptables -t nat -A POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG
    iptables -t nat -A FLANNEL-POSTRTG -s 10.5.0.0/16 ! -d 224.0.0.0/4 -m comment --comment "flanneld masq" -j MASQUERADE --random-fully
    iptables -P FORWARD DROP; iptables -N FLANNEL-FWD; iptables -A FORWARD -p icmp -j ACCEPT
    iptables -A FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD
    iptables -A FLANNEL-FWD -s 10.5.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT`;

describe('what flanneld left', () => {
  test('goes once ours is in: tables and chains, both families', async () => {
    await sh(FLANNELD);
    await sh(
      FLANNELD.replaceAll('10.5.0.0/16', 'fd00:5::/48')
        .replaceAll('172.30.0.0/16', 'fd09::/48')
        .replaceAll('224.0.0.0/4', 'ff00::/8')
        .replaceAll('-p icmp', '-p tcp')
        .replaceAll('iptables', 'ip6tables'),
    );
    await host.nft(`table ip flannel-ipv4 { chain postrtg { type nat hook postrouting priority srcnat; masquerade; }
      }
      table ip6 flannel-ipv6 {
      }
      table ip flannel-other {
      }`);
    await firewall().set(DESIRED);
    const left = await ruleset();
    expect(left).not.toMatch(/FLANNEL|flanneld|flannel-ipv/);
    for (const others of [
      '172.30.0.0/16',
      'fd09::/48',
      'flannel-other',
      'inet foreign',
      'meta l4proto icmp',
    ]) {
      expect(left).toContain(others);
    }
    expect(await seen(pod, '192.0.2.1')).toBe('192.0.2.254');
  });

  test('is not fought over when it comes back', async () => {
    const f = firewall();
    await f.set(DESIRED);
    await host.nft('table ip flannel-ipv4 { }');
    await until('it to be told', () => f.status().problems.length > 0);
    expect(f.status().problems[0]).toContain('ip flannel-ipv4 is there again');
    expect(await ruleset()).toContain('flannel-ipv4');
  });
});

describe('cleanup', () => {
  test('leaves the rules of others as they were, and nothing of ours', async () => {
    await sh(DOCKER);
    await sh('ip6tables -A FORWARD -j REJECT');
    const before = await ruleset();
    const f = firewall();
    await f.set(DESIRED);
    expect(await ruleset()).toContain('table ip loden');
    await f.stop();
    const { removed } = await Firewall.cleanup(commandsIn(host.path));
    expect(removed).toEqual([
      'table ip loden',
      'table ip6 loden',
      'iptables-nft FORWARD',
      'ip6tables-nft FORWARD',
    ]);
    expect(await ruleset()).toBe(before);
    expect((await Firewall.cleanup(commandsIn(host.path))).removed).toEqual([]);
  });
});

// Last, for its tables stay until the namespace goes.
describe('legacy iptables', () => {
  test('gets the forward rules and keeps them, though it notifies nobody', async () => {
    await sh(
      'iptables-legacy -P FORWARD DROP; ip6tables-legacy -P FORWARD DROP; iptables-legacy -A FORWARD -j REJECT',
    );
    const f = firewall({ resyncMs: 200 });
    await f.set(FORWARD_ONLY);
    expect(await saved('iptables-legacy')).toEqual([
      ...OURS,
      '-A FORWARD -j REJECT --reject-with icmp-port-unreachable',
    ]);
    expect(await seen(pod, 'fd00:5:0:9::2')).toBe('fd00:5:0:7::2');
    await sh('iptables-legacy -F FORWARD');
    await until('the rules to be put again', () => f.status().repairs.forward === 1);
    expect(await seen(pod, '10.5.9.2')).toBe('10.5.7.2');
    await f.stop();
    expect((await Firewall.cleanup(commandsIn(host.path))).removed).toEqual([
      'iptables-legacy FORWARD',
      'ip6tables-legacy FORWARD',
    ]);
    expect(await saved('iptables-legacy')).toEqual([]);
  });

  test('loses what flanneld left', async () => {
    await sh(FLANNELD.replaceAll('iptables', 'iptables-legacy'));
    await firewall().set(DESIRED);
    const left = await host.run(['iptables-legacy-save']);
    expect(left).not.toMatch(/FLANNEL|flanneld/);
    expect(left).toContain('-A POSTROUTING -s 172.30.0.0/16 -j MASQUERADE');
    expect(left).toContain(`-A FORWARD -p icmp -j ACCEPT\n${OURS.join('\n')}\n`);
  });
});
