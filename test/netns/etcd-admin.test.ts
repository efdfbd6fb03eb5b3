import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { releaseSubnet, reserveSubnet, setNetwork } from '../../src/admin/operations.ts';
import { StoreError } from '../../src/errors.ts';
import { prefix } from '../../src/net/prefix.ts';
import { release, reserve } from '../../src/subnet/admin.ts';
import { Refusal } from '../../src/subnet/adminNode.ts';
import { AdminOps } from '../../src/subnet/etcd/adminOps.ts';
import type { PrefixView } from '../../src/subnet/view.ts';
import { LocalEtcd } from '../support/etcd.ts';
import { until } from '../support/proc.ts';
import { type NodeOptions, networkConfig, StoreNode } from '../support/storeNode.ts';

/** What operators change in a real etcd, beside nodes that live. */

const PREFIX = '/coreos.com/network';
const SUBNETS = `${PREFIX}/subnets/`;
const CONFIG = '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}';
const NETWORK = networkConfig(['10.5.0.0/16', 24]);
/** Odd, and still flannel's: members that nobody knows, and blanks. */
const FLANNEL =
  '{"PublicIP": "192.0.2.9","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"},"Foo":[1]}';

let etcd: LocalEtcd;
let stack: AsyncDisposableStack;
beforeAll(async () => {
  etcd = await LocalEtcd.create();
});
afterAll(() => etcd?.[Symbol.asyncDispose]());
beforeEach(async () => {
  stack = new AsyncDisposableStack();
  await etcd.put(`${PREFIX}/config`, CONFIG);
});
afterEach(async () => {
  await stack.disposeAsync();
  await etcd.ctl('del', '--prefix', '/coreos.com/');
});

const start = (options: NodeOptions) => stack.use(new StoreNode(etcd.endpoint, options));
const store = () => ({ endpoints: [etcd.endpoint], prefix: PREFIX });
const value = async (key: string) => (await etcd.get(SUBNETS + key))!;
const subnetOf = (key: string) => key.replace('-', '/');
const ttlOf = async (lease: bigint | string): Promise<string> =>
  etcd.ctl('lease', 'timetolive', BigInt(lease).toString(16));

async function refusal(work: Promise<unknown>): Promise<string> {
  const error = await work.then(
    () => undefined,
    (e: unknown) => e,
  );
  expect(error).toBeInstanceOf(Refusal);
  return (error as Refusal).message;
}

describe('a lease that is alive', () => {
  it('becomes a reservation and a lease again, and is held all the time', async () => {
    const node = start({ ip: '192.0.2.1', ttl: 3 });
    const { key } = await node.held();
    const subnet = subnetOf(key);
    const before = await value(key);

    const reserved = await reserveSubnet(store(), { subnet, node: node.node.slice(0, 8) });
    expect(reserved).toMatchObject({ done: 'reserved', lease: { key, reservation: true, etcdLease: null } });
    expect(await value(key)).toMatchObject({ value: before.value, lease: '0' });
    await node.held((l) => l.etcdLease === 'reservation');
    // Its etcd lease is left alone, and runs out without taking the key along.
    await until(
      'the old etcd lease to be gone',
      async () => /already expired/.test(await ttlOf(before.lease)),
      15_000,
    );
    expect(await value(key)).toMatchObject({ value: before.value, lease: '0' });
    expect(await reserveSubnet(store(), { subnet, node: node.node })).toMatchObject({ done: 'nothing' });

    const released = await releaseSubnet(store(), { subnet, ttl: 600 });
    expect(released).toMatchObject({ done: 'released', lease: { key, reservation: false } });
    // The node brings it to the TTL that it wants, and keeps it.
    await until('the lease on 3 s', async () =>
      /granted with TTL\(3s\)/.test(await ttlOf((await value(key)).lease)),
    );
    expect(await ttlOf(released.lease!.etcdLease!)).toMatch(/already expired/);
    const { modRevision } = await value(key);
    const expiry = () => (node.state?.state === 'held' ? (node.state.expiresAt ?? 0) : 0);
    const first = expiry();
    await until('it to be renewed beyond its TTL', () => expiry() > first + 3_000);
    expect((await value(key)).modRevision).toBe(modRevision);
    const lost = node.states.filter(({ state }) => state === 'fenced');
    expect([lost, node.reports.map((r) => r.event)]).toEqual([[], ['acquired']]);
  });

  it('is not deleted but by force, and then got back, the same subnet', async () => {
    const node = start({ ip: '192.0.2.1', ttl: 5 });
    const { key } = await node.held();
    expect(await refusal(releaseSubnet(store(), { subnet: key }))).toMatch(
      /is no reservation but the lease of node/,
    );
    const gone = await releaseSubnet(store(), { subnet: key, force: true });
    expect(gone).toMatchObject({ done: 'deleted', key, lease: null });
    await node.reported('lost');
    const again = await node.held((l) => l.createRevision > BigInt(gone.revision));
    expect(again.key).toBe(key);
  });
});

describe('a reservation', () => {
  it('of flannel keeps its value byte for byte, and its node id is none', async () => {
    const lease = await etcd.grant(3_600);
    await etcd.put(`${SUBNETS}10.5.9.0-24`, FLANNEL, lease);
    const { notes } = await reserveSubnet(store(), { subnet: '10.5.9.0/24', node: '192.0.2.9' });
    expect(notes).toEqual([expect.stringMatching(/flanneld .* ends the reservation .*: stop it before$/)]);
    expect(await value('10.5.9.0-24')).toMatchObject({ value: FLANNEL, lease: '0' });
    await releaseSubnet(store(), { subnet: '10.5.9.0/24', ttl: 3_600 });
    const kv = await value('10.5.9.0-24');
    expect(kv.value).toBe(FLANNEL);
    expect(await ttlOf(kv.lease)).toMatch(/granted with TTL\(3600s\)/);
  });

  it('for a node yet to come is taken by it', async () => {
    expect(await reserveSubnet(store(), { subnet: '10.5.77.0/24', node: '192.0.2.77' })).toMatchObject({
      done: 'created',
    });
    const node = start({ ip: '192.0.2.77' });
    expect(await node.held()).toMatchObject({ key: '10.5.77.0-24', etcdLease: 'reservation' });
    expect((await value('10.5.77.0-24')).value).toContain(node.node);
  });

  it('that nobody took is deleted; what cannot be read by force', async () => {
    await reserveSubnet(store(), { subnet: '10.5.77.0/24', node: '192.0.2.77' });
    expect(await releaseSubnet(store(), { subnet: '10.5.77.0/24' })).toMatchObject({
      done: 'deleted',
      key: '10.5.77.0-24',
    });
    await etcd.put(`${SUBNETS}foo`, 'bar');
    expect(await refusal(releaseSubnet(store(), { subnet: 'foo' }))).toMatch(/--force deletes it/);
    await releaseSubnet(store(), { subnet: 'foo', force: true });
    expect(await etcd.list(SUBNETS)).toEqual([]);
  });

  it('is made for one of several who ask at once, and never over a lease', async () => {
    const asked = Array.from({ length: 8 }, (_, i) =>
      reserveSubnet(store(), { subnet: '10.5.50.0/24', node: `192.0.2.${10 + i}` }).catch((e: unknown) => e),
    );
    const answers = await Promise.all(asked);
    const made = answers.filter((a) => !(a instanceof Error));
    expect(made).toHaveLength(1);
    expect(answers.filter((a) => a instanceof Refusal)).toHaveLength(7);
    expect((await etcd.list(SUBNETS)).map((kv) => kv.key)).toEqual([`${SUBNETS}10.5.50.0-24`]);
  });

  it('needs a network config that can be read', async () => {
    await etcd.delete(`${PREFIX}/config`);
    expect(await refusal(reserveSubnet(store(), { subnet: '10.5.50.0/24', node: '192.0.2.1' }))).toMatch(
      /there is no network config/,
    );
  });
});

describe('whatever was written since it was looked at', () => {
  /** Somebody is quicker, once: between the look and the transaction. */
  class Late extends AdminOps {
    #once: (() => Promise<void>) | undefined;
    constructor(once: () => Promise<void>) {
      super(store());
      this.#once = once;
    }
    override async view(): Promise<PrefixView> {
      const view = await super.view();
      const once = this.#once;
      this.#once = undefined;
      await once?.();
      return view;
    }
  }
  const plan = (view: PrefixView) =>
    reserve(view, NETWORK, { subnets: [prefix('10.5.50.0/24')], node: '192.0.2.1' });

  it('is looked at again, and what was planned is planned anew', async () => {
    using ops = new Late(() => etcd.put(`${SUBNETS}10.5.50.0-24`, FLANNEL));
    expect(await refusal(ops.change(plan))).toMatch(/is taken by the node at 192\.0\.2\.9/);
    expect((await value('10.5.50.0-24')).value).toBe(FLANNEL);
  });

  it('is no reason to give up when it is in nobody’s way', async () => {
    using ops = new Late(() => etcd.put(`${SUBNETS}10.5.60.0-24`, FLANNEL));
    let planned = 0;
    const change = ops.change((view) => {
      planned++;
      return plan(view);
    });
    expect(await change).toMatchObject({ lease: { key: '10.5.50.0-24' } });
    expect(planned).toBe(2);
  });

  it('is gone: nothing is done, that is said, and no etcd lease is left', async () => {
    const key = '10.5.9.0-24';
    const etcdLeases = async (): Promise<string[]> =>
      (await etcd.ctl('lease', 'list')).match(/^\w{10,}$/gm) ?? [];
    const before = await etcdLeases();
    const subnet = '10.5.9.0/24';
    const plans = [
      (view: PrefixView) => release(view, NETWORK, { subnet, force: false, ttl: 600 }),
      (view: PrefixView) => release(view, NETWORK, { subnet, force: true, ttl: 600 }),
    ];
    for (const plan of plans) {
      await etcd.put(SUBNETS + key, FLANNEL);
      using ops = new Late(() => etcd.delete(SUBNETS + key));
      expect(await refusal(ops.change(plan))).toBe(`nobody has ${subnet}`);
    }
    // What is to be reserved is a reservation of a key that is there no more.
    await etcd.put(SUBNETS + key, FLANNEL, await etcd.grant(600));
    using ops = new Late(() => etcd.delete(SUBNETS + key));
    let planned = 0;
    const made = await ops.change((view) => {
      planned++;
      return reserve(view, NETWORK, { subnets: [prefix(subnet)], node: '192.0.2.9' });
    });
    expect([planned, made.plan.step.do]).toEqual([2, 'create']);
    expect((await etcdLeases()).filter((id) => !before.includes(id))).toHaveLength(1);
  });

  it('is not overwritten: a network config least of all', async () => {
    const next = '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan","VNI":7}}';
    const dry = await setNetwork(store(), { config: next, dryRun: true });
    expect(dry).toMatchObject({
      done: 'dry-run',
      changes: [{ path: 'Backend.VNI', to: 7 }],
      orphans: [],
      restart: [],
    });
    await etcd.put(`${PREFIX}/config`, CONFIG.replace('vxlan', 'udp'));
    const late = setNetwork(store(), { config: next, revision: dry.revision });
    await expect(late).rejects.toThrow(StoreError);
    await expect(late).rejects.toThrow(/was changed meanwhile, at revision \d+/);
    expect((await etcd.get(`${PREFIX}/config`))!.value).toContain('udp');
    // Leases may have changed since: they are no reason.
    const again = await setNetwork(store(), { config: next, dryRun: true });
    await etcd.put(`${SUBNETS}10.5.9.0-24`, FLANNEL);
    expect(await setNetwork(store(), { config: `${next}\n`, revision: again.revision })).toMatchObject({
      done: 'set',
    });
    expect((await etcd.get(`${PREFIX}/config`))!.value).toBe(next);
    expect(await setNetwork(store(), { config: next })).toMatchObject({ done: 'nothing', changes: [] });
  });

  it('counts as a lease that would be orphaned, also when it came after the dry run', async () => {
    const narrow = '{"Network":"10.5.0.0/17","Backend":{"Type":"vxlan"}}';
    const dry = await setNetwork(store(), { config: narrow, dryRun: true });
    expect(dry.orphans).toEqual([]);
    await etcd.put(`${SUBNETS}10.5.200.0-24`, FLANNEL);
    expect(await refusal(setNetwork(store(), { config: narrow, revision: dry.revision }))).toMatch(
      /no place for 1 lease, .*--force .*\n {2}10\.5\.200\.0\/24 of 192\.0\.2\.9: 10\.5\.200\.0\/24 is not in the network 10\.5\.0\.0\/17/s,
    );
    expect((await etcd.get(`${PREFIX}/config`))!.value).toBe(CONFIG);
    expect(await setNetwork(store(), { config: narrow, force: true })).toMatchObject({
      done: 'set',
      orphans: [{ key: '10.5.200.0-24' }],
    });
  });
});

it('a config is put where there is none, or none that can be used', async () => {
  await etcd.put(`${PREFIX}/config`, '{"Network":"nonsense","Backend":{"Type":"vxlan","PSK":"hunter2"}}');
  const fixed = await setNetwork(store(), { config: CONFIG });
  expect(fixed).toMatchObject({
    done: 'set',
    problem: expect.stringMatching(/Network: expected an IPv4 prefix/),
  });
  expect(JSON.stringify(fixed)).not.toContain('hunter2');
  await etcd.delete(`${PREFIX}/config`);
  expect(await setNetwork(store(), { config: CONFIG })).toMatchObject({ done: 'set', problem: null });
});

it('nothing is changed for somebody who waits no more', async () => {
  const gone = AbortSignal.abort();
  await etcd.put(`${SUBNETS}10.5.9.0-24`, FLANNEL);
  const before = await etcd.ctl('get', '--prefix', PREFIX, '-w', 'json');
  const works = [
    reserveSubnet(store(), { subnet: '10.5.7.0/24', node: '192.0.2.7' }, gone),
    releaseSubnet(store(), { subnet: '10.5.9.0/24', force: true }, gone),
    setNetwork(store(), { config: '{"Network":"10.5.0.0/16"}', force: true }, gone),
  ];
  for (const words of await Promise.all(works.map(refusal))) expect(words).toMatch(/nobody waits/);
  expect(await etcd.ctl('get', '--prefix', PREFIX, '-w', 'json')).toBe(before);
});
