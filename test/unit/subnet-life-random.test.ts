import fc from 'fast-check';
import { expect, it } from 'vitest';
import { overlaps } from '../../src/net/prefix.ts';
import { allocate, sameHost } from '../../src/subnet/allocate.ts';
import type { NetworkConfig } from '../../src/subnet/types.ts';
import { decodeValue, encodeValue } from '../../src/subnet/value.ts';
import { FakeEtcd, type Fault } from '../fake/etcd.ts';
import { FakeNode, flannelStarts, PREFIX, randomId, request } from '../fake/leaseWorld.ts';
import { networkConfig } from '../support/storeNode.ts';

const NETWORKS: readonly NetworkConfig[] = [
  networkConfig(['10.5.0.0/16', 20]),
  networkConfig(['10.5.0.0/16', 20], ['fd00:5::/56', 60]),
  networkConfig(['10.5.64.0/18', 22]),
  networkConfig(['fd00:5::/56', 60]),
];
const NODES = 3;
/** Numbers for {@link World.happen}; the highest ones let everybody get on. */
const HAPPENINGS = 28;

/** A reproducible source of chance (mulberry32). */
function seeded(seed: number): () => number {
  let a = seed;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

class World {
  readonly etcd = new FakeEtcd();
  readonly nodes: FakeNode[];
  readonly random: () => number;
  network: NetworkConfig;
  #addresses = 0;
  #backup: (() => void) | undefined;

  constructor(seed: number, network: number) {
    this.random = seeded(seed);
    this.network = NETWORKS[network]!;
    this.nodes = Array.from(
      { length: NODES },
      (_, i) =>
        new FakeNode(
          this.etcd,
          `${i}`,
          randomId(this.random),
          request(this.#address(), this.network),
          this.random,
        ),
    );
  }

  #address(): string {
    const n = ++this.#addresses;
    return this.network.families.has(4) ? `192.0.2.${n % 250}` : `2001:db8::${n}`;
  }

  #keys = () => [...this.etcd.keys.keys()].filter((k) => k.startsWith(`${PREFIX}/subnets/`));

  /** One thing that can happen, by number; `x` decides its details. */
  async happen(what: number, x: number): Promise<void> {
    const { etcd, nodes } = this;
    const node = nodes[x % NODES]!;
    const y = Math.floor(x / NODES);
    const key = this.#keys()[y % Math.max(this.#keys().length, 1)];
    switch (what) {
      case 0:
        etcd.advance([50, 500, 5_000, 25_000, 100_000][y % 5]!);
        for (const n of nodes) n.tell({ type: 'tick' });
        break;
      case 1:
      case 2:
      case 3:
        await node.look(1 + (y % 4));
        break;
      case 4:
      case 5:
      case 6:
      case 7: {
        const faults: Fault[] = ['none', 'none', 'none', 'none', 'none', 'before', 'after', 'late'];
        node.faults = [faults[y % 8]!, faults[(y >> 3) % 8]!, faults[(y >> 6) % 8]!];
        await node.perform();
        node.faults = [];
        break;
      }
      case 8:
        etcd.finishLate();
        break;
      case 9:
        if (key) etcd.delete(key);
        break;
      case 10:
        if (!key) break;
        // Garbage, or what it said at some time: without an etcd lease, as people do it.
        etcd.put(
          key,
          y % 3 === 0
            ? 'bar'
            : (etcd.log.filter((e) => e.kv.key === key && e.type === 'Put').at(-(1 + (y % 5)))?.kv.value ??
                etcd.keys.get(key)!.value),
        );
        break;
      case 11:
        etcd.put(
          `${PREFIX}/subnets/${['foo', '10.5.16.7-20', '10.5.32.0-20&junk', '10.5.0.0-18'][y % 4]}`,
          'bar',
        );
        break;
      case 12: {
        const endpoints = y % 2 ? node.endpoints : request(this.#address(), this.network).attrs.endpoints;
        const free = allocate(this.network, [], [], this.random);
        if ('subnets' in free) flannelStarts(etcd, endpoints, free.subnets);
        break;
      }
      case 13:
        if (y % 2) this.#backup = etcd.backup();
        else this.#backup?.();
        break;
      case 14:
        node.restart();
        break;
      case 15: {
        const { attrs } = request(this.#address(), this.network);
        if (y % 3 === 0) node.update({ attrs });
        else if (y % 3 === 1) node.update({ ttl: 30 + (y % 4) * 30 });
        else
          node.update({ attrs: { ...node.want.attrs, data: new Map([[4, { VNI: 1, VtepMAC: `${y}` }]]) } });
        break;
      }
      case 16:
        if (y % 4 === 0) {
          this.network = NETWORKS[(y >> 2) % NETWORKS.length]!;
          for (const n of nodes) n.update({ network: this.network });
        }
        break;
      case 17: {
        // The state directory of one is copied to another, which starts with it.
        const from = nodes[(x + 1 + (y % (NODES - 1))) % NODES]!;
        node.node = from.node;
        node.restart();
        break;
      }
      case 18:
        node.cutOff = !node.cutOff;
        break;
      case 19:
        // Somebody else gets a lease that ran out or was deleted.
        if (!key) break;
        etcd.delete(key);
        etcd.put(key, encodeValue(request(this.#address(), this.network).attrs), etcd.grant(86_400));
        break;
      default:
        for (let round = 0; round <= y % 6; round++) await this.#round();
    }
  }

  /** All is well from now on. */
  async calm(): Promise<void> {
    this.etcd.finishLate();
    for (const n of this.nodes) {
      n.cutOff = false;
      n.faults = [];
    }
    for (let round = 0; round < 200; round++) await this.#round();
  }

  /** Everybody sees what there is and does what it has to. */
  async #round(): Promise<void> {
    for (const n of this.nodes) {
      await n.look(1_000);
      await n.perform();
      n.tell({ type: 'tick' });
    }
    this.etcd.advance(500);
  }

  check(): void {
    const held = this.nodes.map((n) => {
      const { state } = n;
      if (state.state !== 'held')
        throw new Error(
          `${n.name}: ${JSON.stringify(state, (_, v) => (typeof v === 'bigint' ? `${v}` : v))}`,
        );
      return { n, lease: state.lease };
    });
    expect(new Set(this.nodes.map((n) => n.node)).size).toBe(NODES);
    for (const { n, lease } of held) {
      const kv = this.etcd.keys.get(`${PREFIX}/subnets/${lease.key}`)!;
      const value = decodeValue(kv.value);
      expect(value).toEqual({ attrs: { ...n.want.attrs, node: n.node, instance: n.life.instance } });
      expect(kv.modRevision).toBe(lease.modRevision);
      if (lease.etcdLease === 'reservation') expect(kv.lease).toBe(0n);
      else expect(this.etcd.leases.get(kv.lease)!.ttl).toBe(n.want.ttl);
      for (const other of held) {
        if (other.n === n) continue;
        expect(lease.subnets.some((s) => other.lease.subnets.some((o) => overlaps(s, o)))).toBe(false);
      }
      // What a former holder of this node id left behind at another address is nobody's: it runs out.
      const mine = [...this.etcd.keys.values()].filter((k) => {
        if (k.lease === 0n || k.key === kv.key || !k.key.startsWith(`${PREFIX}/subnets/`)) return false;
        const v = decodeValue(k.value);
        return 'attrs' in v && v.attrs.node === n.node && sameHost(v.attrs.endpoints, n.endpoints);
      });
      expect(mine.map((k) => k.key)).toEqual([]);
    }
  }
}

it('keeps its promises whatever happens, and settles when it stops', { timeout: 120_000 }, async () => {
  const happening = fc.tuple(fc.nat(HAPPENINGS), fc.nat(100_000));
  await fc.assert(
    fc.asyncProperty(
      fc.integer(),
      fc.nat(NETWORKS.length - 1),
      fc.array(happening, { maxLength: 120, minLength: 20 }),
      async (seed, network, happenings) => {
        const world = new World(seed, network);
        for (const [what, x] of happenings) await world.happen(what, x);
        await world.calm();
        world.check();
      },
    ),
    { numRuns: Number(process.env.LIFE_RUNS ?? 200) },
  );
});

it('knows that time went back though a value put by hand has the revision its own had', async () => {
  const world = new World(0, 0);
  const [, node] = world.nodes;
  const everybody = 20;
  await world.happen(everybody, 0);
  node!.restart();
  const restore = world.etcd.backup();
  await world.happen(everybody, 39);
  restore();
  const kv = [...world.etcd.keys.values()].find(({ value }) => value.includes(node!.node))!;
  world.etcd.put(kv.key, kv.value);
  await world.calm();
  world.check();
});

it('meets every kind of trouble in these worlds', async () => {
  const met = new Set<string>();
  const random = seeded(1);
  for (let i = 0; i < 120; i++) {
    const world = new World(i, i % NETWORKS.length);
    for (let n = 0; n < 150; n++)
      await world.happen(Math.floor(random() * (HAPPENINGS + 1)), Math.floor(random() * 100_000));
    for (const node of world.nodes) for (const r of node.reports) met.add(`${r.event} ${r.level}`);
  }
  expect([...met].sort()).toEqual([
    'acquired info',
    'adopted info',
    'cloned error',
    'conflict error',
    'conflict warn',
    'fenced error',
    'lost error',
    'lost info',
    'lost warn',
    'moved error',
    'moved info',
    'retry warn',
    'rewritten warn',
  ]);
});

it('is the same function of the same events', async () => {
  const run = async () => {
    const world = new World(7, 1);
    const random = seeded(9);
    for (let i = 0; i < 200; i++)
      await world.happen(Math.floor(random() * (HAPPENINGS + 1)), Math.floor(random() * 100_000));
    return world.nodes.map((n) => n.reports);
  };
  expect(await run()).toEqual(await run());
});
