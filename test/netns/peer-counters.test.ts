import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { NFT_COUNTERS } from '../../src/contract.ts';
import { type CountedPeer, KernelTraffic } from '../../src/daemon/traffic.ts';
import { type Commands, commandsIn } from '../../src/kernel/command.ts';
import { Firewall } from '../../src/kernel/firewall.ts';
import { PeerCounters } from '../../src/kernel/peerCounters.ts';
import { prefix } from '../../src/net/prefix.ts';
import type { SubnetKey } from '../../src/subnet/types.ts';
import { measureLoss } from '../support/loss.ts';
import { Netns } from '../support/netns.ts';
import { thisProcess } from '../support/owner.ts';
import { until } from '../support/proc.ts';

/*
 *   node (10.5.7.1) ── flannel.1 ═ veth ═ eth0 ── peer (10.5.9.1, 10.5.11.1, fd00:5:0:9::1)
 *
 * Any device with an Ethernet header will do: the kernel counts where packets enter and leave it.
 */
const owner = thisProcess();
const DEV = 'flannel.1';
const DROP =
  'table ip kube-proxy { chain c { type filter hook forward priority 0; ip saddr 192.0.2.7 drop; }; }';
const key = (text: string) => text as SubnetKey;
const peer = (name: string, subnet: string, dev = DEV): CountedPeer => ({
  key: key(name),
  subnet: prefix(subnet),
  dev,
});
const NINE = peer('nine', '10.5.9.0/24');
const NINE6 = peer('nine', 'fd00:5:0:9::/64');
const ELEVEN = peer('eleven', '10.5.11.0/24');

let node: Netns;
let other: Netns;
let commands: Commands;

async function connect(): Promise<void> {
  const [a, b] = ['02:00:00:00:00:01', '02:00:00:00:00:02'];
  await node.ip(`link add ${DEV} address ${a} type veth peer name eth0 address ${b} netns ${other.name}`);
  await other.ipBatch([
    'link set eth0 up',
    ...['10.5.9.1/16', '10.5.11.1/16', 'fd00:5:0:9::1/48'].map((address) => `addr add ${address} dev eth0`),
    ...['10.5.7.1', 'fd00:5:0:7::1'].map((address) => `neigh replace ${address} lladdr ${a} dev eth0`),
  ]);
  await node.ipBatch([
    `link set ${DEV} up`,
    ...['10.5.7.1/16', 'fd00:5:0:7::1/48'].map((address) => `addr add ${address} dev ${DEV}`),
    ...['10.5.9.1', '10.5.11.1', 'fd00:5:0:9::1'].map((to) => `neigh replace ${to} lladdr ${b} dev ${DEV}`),
  ]);
}

/** IP packets of 128 bytes, there and back. */
const ping = (to: string, count: number) => {
  const data = to.includes(':') ? 80 : 100;
  return node.run(['busybox', 'ping', '-q', '-A', '-W', '2', '-c', `${count}`, '-s', `${data}`, to]);
};
const both = (packets: number) => ({
  outPackets: packets,
  outBytes: packets * 128,
  inPackets: packets,
  inBytes: packets * 128,
});

let now = 0;
/** One that may read at each call. */
function traffic(peers: () => readonly (CountedPeer | undefined)[], linger?: number): KernelTraffic {
  return new KernelTraffic({
    counters: new PeerCounters(commands),
    peers,
    facts: () => ({}),
    header: () => 14,
    now: () => (now += 1_001),
    ...(linger === undefined ? {} : { linger }),
  });
}

const table = () => commands.run(['nft', 'list', 'table', 'netdev', NFT_COUNTERS]);
const isThere = async () => (await table()).status === 0;
const foreign = () => node.run(['nft', 'list', 'table', 'ip', 'kube-proxy']);

beforeAll(async () => {
  node = await Netns.create(owner, 'node');
  other = await Netns.create(owner, 'peer');
  commands = commandsIn(node.path);
  await connect();
  await node.nft(DROP);
});
afterAll(async () => {
  await node?.[Symbol.asyncDispose]();
  await other?.[Symbol.asyncDispose]();
});

describe('packets to and from peers are counted', () => {
  test('to the byte, for both families of a peer together, and not those of others', async () => {
    await using counted = traffic(() => [NINE, NINE6, undefined]);
    expect(counted.of(NINE.key)).toBeNull();
    await counted.refresh();
    expect(counted.problem).toBeNull();
    expect(counted.of(NINE.key)).toEqual(both(0));
    await ping('10.5.9.1', 5);
    await ping('fd00:5:0:9::1', 3);
    await ping('10.5.11.1', 7);
    await counted.refresh();
    expect(counted.of(NINE.key)).toEqual(both(8));
    expect(counted.of(ELEVEN.key)).toBeNull();
  });

  test('on and on while others come and go, by the next daemon too', async () => {
    let peers = [NINE, NINE6];
    await using first = traffic(() => peers);
    await first.refresh();
    expect(first.of(NINE.key)).toEqual(both(8));
    peers = [NINE, ELEVEN];
    await first.refresh();
    await ping('10.5.11.1', 2);
    await ping('10.5.9.1', 1);
    await first.refresh();
    expect([first.of(NINE.key), first.of(ELEVEN.key)]).toEqual([both(6), both(2)]);
    await first[Symbol.asyncDispose]();

    await using second = traffic(() => [ELEVEN]);
    await second.refresh();
    expect([second.of(NINE.key), second.of(ELEVEN.key)]).toEqual([null, both(2)]);
    expect((await table()).stdout).not.toContain('10.5.9.0');
  });

  test('at most once a second, and once for all who ask meanwhile', async () => {
    let [reads, at] = [0, 0];
    const counters = new PeerCounters(commands);
    await using counted = new KernelTraffic({
      counters: {
        read: (wish) => {
          reads++;
          return counters.read(wish);
        },
        remove: () => counters.remove(),
      },
      peers: () => [NINE],
      facts: () => NINE,
      header: () => 14,
      now: () => at,
    });
    await Promise.all([counted.refresh(), counted.refresh()]);
    at = 999;
    await counted.refresh();
    expect(reads).toBe(1);
    at = 1_000;
    await counted.refresh();
    expect(reads).toBe(2);
  });
});

describe('the table', () => {
  test('is put again when somebody removes it, a chain or a set of it', async () => {
    await using counted = traffic(() => [NINE]);
    for (const removal of [
      `delete table netdev ${NFT_COUNTERS}`,
      `delete chain netdev ${NFT_COUNTERS} in-${DEV}`,
      `flush set netdev ${NFT_COUNTERS} out4_24`,
      `flush chain netdev ${NFT_COUNTERS} out-${DEV}`,
    ]) {
      await counted.refresh();
      await node.nft(removal);
      await counted.refresh();
      await counted.refresh();
      const before = counted.of(NINE.key)!;
      await ping('10.5.9.1', 3);
      await counted.refresh();
      const after = counted.of(NINE.key)!;
      expect([after.outPackets - before.outPackets, after.inPackets - before.inPackets], removal).toEqual([
        3, 3,
      ]);
    }
  });

  test('counts on when its device is made anew, and goes with a device that is used no more', async () => {
    let peers = [NINE];
    await using counted = traffic(() => peers);
    await counted.refresh();
    await node.ip(`link del ${DEV}`);
    await connect();
    await counted.refresh();
    await counted.refresh();
    const { inPackets } = counted.of(NINE.key)!;
    await ping('10.5.9.1', 3);
    await counted.refresh();
    expect(counted.of(NINE.key)?.inPackets).toBe(inPackets + 3);
    peers = [peer('nine', '10.5.9.0/24', 'lo')];
    await counted.refresh();
    const { stdout } = await table();
    expect(stdout).toContain('chain out-lo');
    expect(stdout).not.toContain(DEV);
  });

  test('stands from the first question on, goes when nobody asks any more, and comes again', async () => {
    const counters = new PeerCounters(commands);
    await counters.remove();
    const found: boolean[] = [];
    await using counted = new KernelTraffic({
      counters: {
        // Nothing else happens to the table before this has ended.
        read: async (wish) => {
          found.push(await isThere());
          const read = await counters.read(wish);
          found.push(await isThere());
          return read;
        },
        remove: () => counters.remove(),
      },
      peers: () => [NINE],
      facts: () => NINE,
      header: () => 14,
      linger: 1,
    });
    for (let i = 0; i < 2; i++) {
      await counted.refresh();
      await until('the table to go', async () => !(await isThere()));
      expect(counted.of(NINE.key)).toBeNull();
    }
    expect(found).toEqual([false, true, false, true]);
  });

  test('of a daemon before is removed when nobody asks', async () => {
    await using counted = traffic(() => [NINE]);
    await counted.refresh();
    await counted[Symbol.asyncDispose]();
    expect(await isThere()).toBe(true);
    await using _next = traffic(() => [NINE], 1);
    await until('the table to go', async () => !(await isThere()));
  });

  test('is removed by a cleanup, which names it and leaves others alone', async () => {
    const before = await foreign();
    await using counted = traffic(() => [NINE]);
    await counted.refresh();
    expect((await Firewall.cleanup(commands)).removed).toEqual([`table netdev ${NFT_COUNTERS}`]);
    expect(await isThere()).toBe(false);
    expect((await Firewall.cleanup(commands)).removed).toEqual([]);
    expect(await foreign()).toBe(before);
  });

  test('holds thousands, and takes in what has changed alone', async () => {
    const many = (n: number) =>
      Array.from({ length: n }, (_, i) => peer(`p${i}`, `10.${64 + (i >> 8)}.${i & 255}.0/24`));
    let peers = [NINE, ...many(5_000)];
    await using counted = traffic(() => peers);
    await counted.refresh();
    await ping('10.5.9.1', 4);
    peers = [NINE, ...many(5_001).slice(1)];
    await counted.refresh();
    expect(counted.problem).toBeNull();
    expect(counted.of(NINE.key)).toEqual(both(4));
    expect([counted.of(key('p0')), counted.of(key('p5000'))]).toEqual([null, both(0)]);
    const { stdout } = await table();
    expect(stdout.match(/ counter packets/g)).toHaveLength(2 * 5_001);
    await Firewall.cleanup(commands);
  });
});

test('no packet is lost or changed while counting begins and ends', async () => {
  await using counted = traffic(() => [NINE]);
  const counters = new PeerCounters(commands);
  const loss = await measureLoss(node, other, '10.5.9.1', {
    dir: owner.tempDir('counting'),
    rate: 5_000,
    during: async () => {
      for (let i = 0; i < 10; i++) {
        await counted.refresh();
        await counters.remove();
      }
    },
  });
  expect({ lost: loss.lost, doubled: loss.doubled, reordered: loss.reordered, errors: loss.errors }).toEqual({
    lost: 0,
    doubled: 0,
    reordered: 0,
    errors: {},
  });
});

describe('when it cannot be done', () => {
  test('a device without an nft name is left out', async () => {
    await using counted = traffic(() => [peer('nine', '10.5.9.0/24', 'a"b')]);
    await counted.refresh();
    expect(counted.of(NINE.key)).toBeNull();
    expect(await isThere()).toBe(false);
  });

  test('it says why, and is not tried again and again', async () => {
    const calls: string[] = [];
    let at = 0;
    await using counted = new KernelTraffic({
      counters: new PeerCounters({
        run: async (argv) => {
          calls.push(argv.join(' '));
          return { status: 1, stdout: '', stderr: 'Error: Could not process rule: Operation not supported' };
        },
        read: async () => undefined,
      }),
      peers: () => [NINE],
      facts: () => NINE,
      header: () => 14,
      now: () => at,
    });
    await counted.refresh();
    expect(counted.problem).toContain('Operation not supported');
    expect(counted.of(NINE.key)).toBeNull();
    const once = calls.length;
    at = 9_999;
    await counted.refresh();
    expect(calls).toHaveLength(once);
    at = 10_000;
    await counted.refresh();
    expect(calls).toHaveLength(2 * once);
  });
});
