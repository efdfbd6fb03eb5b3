import { execFileSync } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Addr, addr, addrFromBytes } from '../../src/net/addr.ts';
import { macFromBytes } from '../../src/net/mac.ts';
import type { Request } from '../../src/netlink/message.ts';
import { type Change, watchNftables, watchRoutes } from '../../src/netlink/monitor.ts';
import * as rtnl from '../../src/netlink/rtnl.ts';
import { NetlinkSocket } from '../../src/netlink/socket.ts';
import { ifindexOf, netlinkIn, withNetnsFd } from '../support/netlinkIn.ts';
import { Netns } from '../support/netns.ts';
import { thisProcess } from '../support/owner.ts';
import { run, until } from '../support/proc.ts';

let netns: Netns;
let nl: NetlinkSocket;

beforeAll(async () => {
  netns = await Netns.create(thisProcess(), 'nlsocket');
  nl = netlinkIn(netns);
});
afterAll(async () => {
  nl?.close();
  await netns?.[Symbol.asyncDispose]();
});

const bytesOf = (n: number) => [(n >> 8) & 255, n & 255] as const;
const v4 = (a: number, b: number, n: number): Addr => addrFromBytes([a, b, ...bytesOf(n)]);
const macOf = (n: number) => macFromBytes([2, 0, 0, 0, ...bytesOf(n)]);

/** What a peer costs: a neighbour, an FDB entry and an onlink route. */
function* peers(dev: number, count: number): Generator<Request> {
  const own = { ndm_ifindex: dev, ndm_state: rtnl.NUD_PERMANENT };
  for (let n = 0; n < count; n++) {
    const attributes = { NDA_DST: addrFromBytes([10, ...bytesOf(n), 0]), NDA_LLADDR: macOf(n) };
    yield rtnl.neigh.put({ ...own, ndm_family: rtnl.AF_INET }, attributes);
  }
  for (let n = 0; n < count; n++) {
    const attributes = { NDA_DST: v4(192, 168, n), NDA_LLADDR: macOf(n) };
    const header = { ...own, ndm_family: rtnl.AF_BRIDGE, ndm_flags: rtnl.NTF_SELF };
    yield rtnl.neigh.put(header, attributes);
  }
  for (let n = 0; n < count; n++) {
    const subnet = addrFromBytes([10, ...bytesOf(n), 0]);
    yield rtnl.route.create(
      {
        rtm_family: rtnl.AF_INET,
        rtm_dst_len: 24,
        rtm_table: rtnl.RT_TABLE_MAIN,
        rtm_protocol: 76,
        rtm_type: rtnl.RTN_UNICAST,
        rtm_flags: rtnl.RTNH_F_ONLINK,
      },
      { RTA_DST: subnet, RTA_GATEWAY: subnet, RTA_OIF: dev },
    );
  }
}

test('5,000 peers, 15,000 messages: all are there, and go again', async () => {
  await netns.ip('link add vx type vxlan id 1 dstport 8472 nolearning');
  await netns.ip('link set vx up');
  const dev = await ifindexOf(nl, 'vx');
  const before = { ...nl.counters };
  const outcomes = await nl.transact(peers(dev, 5000));
  expect(outcomes.length).toBe(15_000);
  expect(outcomes.filter(Boolean)).toEqual([]);
  expect(nl.counters).toMatchObject({
    messages: before.messages + 15_000,
    refused: before.refused,
    overruns: 0,
  });

  const fdb = rtnl.neigh.dump({ ndm_family: rtnl.AF_BRIDGE, ndm_ifindex: dev });
  const routes = rtnl.route.dump({ rtm_family: rtnl.AF_INET, rtm_protocol: 76 });
  expect((await nl.dump(rtnl.neigh.dump({ ndm_family: rtnl.AF_INET }, { NDA_IFINDEX: dev }))).length).toBe(
    5000,
  );
  expect(new Set(await nl.dump(fdb, (m) => m.attributes.NDA_DST!.value)).size).toBe(5000);
  expect(new Set(await nl.dump(routes, (m) => m.attributes.RTA_DST!.value)).size).toBe(5000);
  expect((await netns.ipJson('route show proto 76')).length).toBe(5000);

  const gone = await nl.transact(
    await nl.dump(fdb, (m) =>
      rtnl.neigh.remove(
        { ndm_family: rtnl.AF_BRIDGE, ndm_ifindex: dev, ndm_flags: rtnl.NTF_SELF },
        { NDA_LLADDR: m.attributes.NDA_LLADDR },
      ),
    ),
  );
  expect(gone.filter(Boolean)).toEqual([]);
  expect(await nl.dump(fdb)).toEqual([]);
});

test('exchanges of several callers do not mix', async () => {
  const wrong = Array.from({ length: 200 }, (_, n) => rtnl.link.remove({ ifi_index: 10_000 + n }, {}));
  const [links, refused, lo, more] = await Promise.all([
    nl.dump(rtnl.link.dump({})),
    nl.transact(wrong),
    nl.get(rtnl.link.get({ ifi_index: 1 }, {})),
    nl.transact(wrong.slice(0, 3)),
  ]);
  expect(links.some((l) => l.attributes.IFLA_IFNAME === 'lo')).toBe(true);
  expect(refused.map((o) => o?.code)).toEqual(wrong.map(() => 'ENODEV'));
  expect(lo!.attributes.IFLA_IFNAME).toBe('lo');
  expect(more.map((o) => o?.code)).toEqual(['ENODEV', 'ENODEV', 'ENODEV']);
});

test('sockets are in the namespace they were opened for, whatever becomes of its name', async () => {
  await using other = await Netns.create(thisProcess(), 'nlother');
  await other.ip('link add only-here type bridge');
  using there = netlinkIn(other);
  expect(await ifindexOf(there, 'only-here')).toBeGreaterThan(1);
  expect(await nl.get(rtnl.link.get({}, { IFLA_IFNAME: 'only-here' }))).toBeUndefined();
});

test('a descriptor that is no namespace is refused with the reason', () => {
  expect(() => netlinkIn({ path: '/dev/null' } as Netns)).toThrow(/setns: EINVAL/);
});

describe('refusals', () => {
  test('carry the kernel’s words and the attribute', async () => {
    const outcomes = await nl.transact([
      rtnl.link.create(
        {},
        { IFLA_IFNAME: 'bad', IFLA_LINKINFO: { kind: 'vxlan', vxlan: { IFLA_VXLAN_ID: 1 << 24 } } },
      ),
      rtnl.route.create(
        {
          rtm_family: rtnl.AF_INET,
          rtm_dst_len: 8,
          rtm_table: rtnl.RT_TABLE_MAIN,
          rtm_type: rtnl.RTN_UNICAST,
        },
        { RTA_DST: addr('10.0.0.1'), RTA_OIF: 1 },
      ),
      rtnl.neigh.put({ ndm_family: rtnl.AF_INET, ndm_ifindex: 1 }, {}),
    ]);
    expect(outcomes).toEqual([
      expect.objectContaining({ code: 'ERANGE', extack: expect.stringMatching(/VXLAN ID.*IFLA_LINKINFO/) }),
      expect.objectContaining({ code: 'EINVAL', extack: expect.stringMatching(/prefix/) }),
      expect.objectContaining({
        code: 'EINVAL',
        extack: expect.stringMatching(/Network address not specified/),
      }),
    ]);
  });

  test('of a dump are a KernelError', async () => {
    await expect(nl.dump(rtnl.neigh.dump({ ndm_family: rtnl.AF_INET, ndm_state: 1 }))).rejects.toMatchObject({
      name: 'KernelError',
      code: 'EINVAL',
      extack: expect.stringContaining('header'),
    });
  });
});

test('an overrun is a value; the next exchange is whole again', async () => {
  // The smallest receive buffer there is cannot hold 64 refusals.
  using tight = netlinkIn(netns, { rcvbuf: 1 });
  const wrong = Array.from({ length: 64 }, (_, n) => rtnl.link.remove({ ifi_index: 20_000 + n }, {}));
  const outcomes = await tight.transact(wrong);
  expect(outcomes.length).toBe(64);
  expect(new Set(outcomes.map((o) => o?.outcome))).toEqual(new Set(['refused', 'unknown']));
  expect(tight.counters.overruns).toBe(1);
  expect((await tight.transact(wrong.slice(0, 1)))[0]).toMatchObject({ outcome: 'refused', code: 'ENODEV' });
  expect((await tight.dump(rtnl.link.dump({}))).length).toBeGreaterThan(0);
});

test('a dump that changes interrupted is done again, and is whole', async () => {
  using writer = netlinkIn(netns);
  await netns.ip('link add churn type bridge');
  const dev = await ifindexOf(nl, 'churn');
  const address = (verb: 'put' | 'remove', n: number) =>
    rtnl.address[verb](
      { ifa_family: rtnl.AF_INET, ifa_prefixlen: 32, ifa_index: dev },
      { IFA_LOCAL: v4(10, 99, n), IFA_ADDRESS: v4(10, 99, n) },
    );
  await nl.transact(Array.from({ length: 1500 }, (_, n) => address('put', n)));
  let churning = true;
  const churn = (async () => {
    // In bursts: a dump beside one is disturbed, its repetition is not.
    const burst = Array.from({ length: 64 }, (_, n) => address(n % 2 ? 'remove' : 'put', 2000));
    while (churning) {
      expect((await writer.transact(burst)).filter(Boolean)).toEqual([]);
      await sleep(15);
    }
  })();
  try {
    const all = rtnl.address.dump({ ifa_family: rtnl.AF_INET });
    const before = nl.counters.retries;
    for (let round = 0; round < 500 && nl.counters.retries === before; round++) {
      const seen = new Set(await nl.dump(all, (m) => m.attributes.IFA_LOCAL!.value));
      expect(Array.from({ length: 1500 }, (_, n) => v4(10, 99, n).value).filter((a) => !seen.has(a))).toEqual(
        [],
      );
    }
    expect(nl.counters.retries).toBeGreaterThan(before);
  } finally {
    churning = false;
    await churn;
  }
});

describe('monitors', () => {
  /** All changes since it was opened. */
  function watching(groups: Parameters<typeof watchRoutes>[0], quietMs = 10) {
    const batches: { changes: readonly Change[]; overrun: boolean }[] = [];
    const monitor = withNetnsFd(netns, (netnsFd) =>
      watchRoutes(groups, (changes, overrun) => batches.push({ changes, overrun }), { netnsFd, quietMs }),
    );
    return {
      batches,
      seen: () => batches.flatMap((b) => b.changes),
      [Symbol.dispose]: () => monitor.close(),
    };
  }

  test('tell of links, addresses, neighbours, FDB entries and routes, by device', async () => {
    using all = watching(['link', 'address', 'neigh', 'route']);
    await netns.ip('link add m-vx type vxlan id 41 dstport 8441 nolearning');
    await netns.ip('link set m-vx up');
    const ifindex = await ifindexOf(nl, 'm-vx');
    const seen = (kind: Change['kind'], family: number) =>
      until(`${kind} ${family}`, () =>
        all.seen().some((c) => c.kind === kind && c.ifindex === ifindex && c.family === family),
      );
    await seen('link', rtnl.AF_UNSPEC);
    await netns.ip('addr add 10.41.0.0/32 dev m-vx');
    await seen('address', rtnl.AF_INET);
    await netns.ip('neigh add 10.41.1.0 lladdr 02:00:00:00:41:01 dev m-vx nud permanent');
    await seen('neigh', rtnl.AF_INET);
    await netns.run(['bridge', 'fdb', 'add', '02:00:00:00:41:01', 'dev', 'm-vx', 'dst', '192.0.2.1']);
    await seen('fdb', rtnl.AF_BRIDGE);
    await netns.ip('route add 10.41.1.0/24 via 10.41.1.0 dev m-vx onlink');
    await seen('route', rtnl.AF_INET);
    await netns.ip('route add blackhole 10.42.0.0/16');
    await until('a route without a device', () =>
      all.seen().some((c) => c.kind === 'route' && c.ifindex === 0),
    );
  });

  test('tell a burst once', async () => {
    await netns.ip('link add m-burst type vxlan id 42 dstport 8442 nolearning');
    const dev = await ifindexOf(nl, 'm-burst');
    using fdb = watching(['neigh'], 400);
    const header = {
      ndm_family: rtnl.AF_BRIDGE,
      ndm_ifindex: dev,
      ndm_state: rtnl.NUD_PERMANENT,
      ndm_flags: rtnl.NTF_SELF,
    };
    await nl.transact(
      Array.from({ length: 1000 }, (_, n) =>
        rtnl.neigh.put(header, { NDA_LLADDR: macOf(n), NDA_DST: v4(192, 168, n) }),
      ),
    );
    await until('the burst to be told', () => fdb.batches.length > 0);
    expect(fdb.batches[0]).toEqual({
      changes: [{ kind: 'fdb', ifindex: dev, family: rtnl.AF_BRIDGE }],
      overrun: false,
    });
    // 1,000 changes, and no more tellings than quiet periods they can have taken.
    expect(fdb.batches.length).toBeLessThan(20);
  });

  test('tell an overrun when there are too many different changes', async () => {
    using links = watching(['link', 'address', 'neigh', 'route']);
    const pairs = Array.from({ length: 240 }, (_, n) => [
      `link add mo${n} type veth peer name mp${n}`,
      `link set mo${n} up`,
      `link set mp${n} up`,
    ]);
    // Synchronous: while JavaScript does not listen, changes gather on the monitor's own thread.
    execFileSync('ip', ['-n', netns.name, '-batch', '-'], { input: pairs.flat().join('\n') });
    await until('an overrun', () => links.batches.some((b) => b.overrun));
    // It says it all: nothing else is told with it.
    expect(links.batches.find((b) => b.overrun)!.changes).toEqual([]);
  });

  test('tell nothing once closed', async () => {
    const links = watching(['link'], 0);
    await netns.ip('link add m-open type bridge');
    await until('a change', () => links.batches.length > 0);
    links[Symbol.dispose]();
    links[Symbol.dispose]();
    const told = links.batches.length;
    using after = watching(['link'], 0);
    await netns.ip('link add m-closed type bridge');
    await until('the other to tell', () => after.batches.length > 0);
    expect(links.batches.length).toBe(told);
  });

  test('tell of nftables', async () => {
    let changes = 0;
    const monitor = withNetnsFd(netns, (netnsFd) => watchNftables(() => changes++, { netnsFd, quietMs: 10 }));
    try {
      await netns.nft('add table ip watched\nadd chain ip watched c');
      await until('the new table', () => changes > 0);
      const before = changes;
      await netns.nft('flush ruleset');
      await until('the flush', () => changes > before);
    } finally {
      monitor.close();
    }
  });
});

test.each([rtnl.AF_INET, rtnl.AF_INET6])(
  'a host that never had a route of family %i has an empty table',
  async (family) => {
    // Netns.create would bring lo up, and with its addresses come tables.
    const name = thisProcess().netnsName('bare');
    await run(['ip', 'netns', 'add', name]);
    await using stack = new AsyncDisposableStack();
    stack.defer(async () => void (await run(['ip', 'netns', 'del', name])));
    const fd = stack.adopt(openSync(`/run/netns/${name}`, 'r'), closeSync);
    const socket = stack.adopt(NetlinkSocket.open({ netnsFd: fd }), (s) => s.close());
    const request = rtnl.route.dump({ rtm_family: family, rtm_table: rtnl.RT_TABLE_MAIN });
    expect(await socket.dump(request)).toEqual([]);
  },
);
