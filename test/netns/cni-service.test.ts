import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { CODE } from '../../src/cni/errors.ts';
import type { NodeState, PluginAnswer } from '../../src/cni/types.ts';
import { nodeOf, ServiceHost } from '../support/cniService.ts';
import { Netns } from '../support/netns.ts';
import { thisProcess } from '../support/owner.ts';
import { Proc, until } from '../support/proc.ts';

const owner = thisProcess();
let host: ServiceHost;
let pod: Netns;
let stack: AsyncDisposableStack;

beforeEach(async () => {
  stack = new AsyncDisposableStack();
  const netns = stack.use(await Netns.create(owner, 'node'));
  pod = stack.use(await Netns.create(owner, 'pod'));
  host = new ServiceHost(netns, owner.tempDir('svc'));
  stack.defer(() => host.close());
});
afterEach(() => stack.disposeAsync());

const c1 = () => ({ id: 'c1', netns: pod.path });
const store = (network = 'pods'): string[] => {
  const dir = join(host.dataDir, network);
  return existsSync(dir) ? readdirSync(dir).filter((n) => /^[\d.]+$|::/.test(n)) : [];
};
const records = () =>
  readdirSync(join(host.stateDir, 'cni', 'attachments')).filter((n) => !n.startsWith('spare-'));
const veths = async () =>
  (await host.netns.ipJson<{ ifname: string }[]>('link show type veth')).map((l) => l.ifname);
const podLinks = async (netns = pod) =>
  (await netns.ipJson<{ ifname: string }[]>('link show')).map((l) => l.ifname).filter((n) => n !== 'lo');
interface Result {
  readonly ips: readonly { readonly address: string }[];
}
const resultOf = (answer: PluginAnswer): Result => {
  if (answer.kind !== 'done') throw new Error(JSON.stringify(answer));
  return answer.result as Result;
};
const addressOf = (answer: PluginAnswer) => resultOf(answer).ips.map((ip) => ip.address.split('/')[0]);
/** Nothing is left of anything. */
const nothing = async () => {
  expect(store()).toEqual([]);
  expect(records()).toEqual([]);
  expect(await veths()).toEqual([]);
  expect(await podLinks()).toEqual([]);
};

describe('an attachment', () => {
  test('is made once, is as it was made, and goes without a trace, twice', async () => {
    await host.open();
    const added = await host.ask('ADD', c1());
    expect(addressOf(added)).toEqual(['10.42.1.2']);
    expect(store()).toEqual(['10.42.1.2']);
    const again = await host.ask('ADD', c1());
    expect(again).toMatchObject({
      kind: 'error',
      error: {
        code: CODE.invalidEnvironment,
        msg: expect.stringContaining('attached already, to network pods with 10.42.1.2/24'),
      },
    });
    // The refusal has taken nothing from it.
    const prevResult = resultOf(added);
    expect(await host.ask('CHECK', c1(), { prevResult })).toEqual({ kind: 'done' });
    expect(await host.ask('DEL', c1())).toEqual({ kind: 'done' });
    await nothing();
    expect(await host.ask('DEL', c1())).toEqual({ kind: 'done' });
    expect(await host.ask('CHECK', c1(), { prevResult })).toMatchObject({
      error: { code: CODE.unknownContainer },
    });
  });

  test('is told with what its interfaces are, the bridge as others may have made it', async () => {
    const link = async (name: string, netns = host.netns) =>
      (await netns.ipJson<{ address: string }[]>(`link show ${name}`))[0]!.address;
    type Interfaces = { readonly interfaces: readonly { readonly name: string; readonly mac: string }[] };
    const told = async (more: object) => {
      try {
        const { interfaces } = resultOf(await host.ask('ADD', c1(), { ...more })) as unknown as Interfaces;
        for (const { name, mac } of interfaces)
          expect([name, mac]).toEqual([name, await link(name, name === 'eth0' ? pod : host.netns)]);
        return interfaces.length;
      } finally {
        await host.ask('DEL', c1());
      }
    };
    await host.open();
    expect(await told({})).toBe(3);
    // Changed behind our back, it is told as it is, a moment later.
    await host.netns.ip('link set cni0 address 02:00:00:00:00:77');
    await until('the change to be known', async () => (await told({}).catch(() => 0)) === 3);
    expect(await link('cni0')).toBe('02:00:00:00:00:77');
    expect(await told({ mode: 'ptp' })).toBe(2);
  });

  test('CHECK tells what is missing, in store and kernel', async () => {
    await host.open();
    const prevResult = resultOf(await host.ask('ADD', c1()));
    await pod.ip('addr flush dev eth0');
    writeFileSync(join(host.dataDir, 'pods', '10.42.1.2'), 'other\r\neth0');
    expect(await host.ask('CHECK', c1(), { prevResult })).toMatchObject({
      error: {
        code: CODE.differs,
        msg: expect.stringMatching(/10\.42\.1\.2\/24.*10\.42\.1\.2 is not reserved for it/),
      },
    });
  });

  test('that fails leaves nothing: no address, a namespace that is none, an interface that is there, an address out of place', async () => {
    await host.open();
    for (const [container, more, code] of [
      [{ id: 'a', netns: '/nonexistent' }, {}, CODE.invalidEnvironment],
      [{ id: 'b', netns: '/dev/null' }, {}, CODE.invalidNetns],
      [{ id: 'c', netns: pod.path, ifname: 'lo' }, {}, CODE.invalidEnvironment],
      [{ id: 'd', netns: pod.path, args: 'IP=10.99.1.1' }, {}, CODE.invalidConfig],
    ] as const) {
      expect(await host.ask('ADD', container, more)).toMatchObject({ kind: 'error', error: { code } });
      await nothing();
    }
    expect(await host.service.handle({ ...host.call('ADD', c1()), netns: await nsOf(pod) })).toMatchObject({
      error: { code: CODE.invalidNetns },
    });
    await nothing();
  });

  test.each(['begun', 'reserved', 'attached', 'recorded'])(
    'that fails when it is %s leaves nothing',
    async (at) => {
      await host.open({
        step: (name) => {
          if (name === at) throw new Error('the disk is full');
        },
      });
      expect(await host.ask('ADD', c1())).toMatchObject({
        error: { msg: expect.stringContaining('the disk is full') },
      });
      await nothing();
    },
  );

  test('needs a lease: without one ADD says why and STATUS too, DEL and CHECK work', async () => {
    let node: NodeState = nodeOf('10.42.1.0/24');
    await host.open({ node: () => node });
    const prevResult = resultOf(await host.ask('ADD', c1()));
    node = { ready: false, reason: 'the lease has run out' };
    expect(await host.ask('ADD', { id: 'c2', netns: pod.path })).toMatchObject({
      error: { code: CODE.tryAgainLater, msg: expect.stringContaining('the lease has run out') },
    });
    expect(await host.ask('STATUS')).toMatchObject({
      error: { code: CODE.notAvailable, msg: expect.stringContaining('the lease has run out') },
    });
    expect(await host.ask('CHECK', c1(), { prevResult })).toEqual({ kind: 'done' });
    expect(await host.ask('DEL', c1())).toEqual({ kind: 'done' });
    await nothing();
  });

  test('of two families, in two networks, in a hundred pods at once', async () => {
    await host.open({ node: () => nodeOf('10.42.1.0/24', 'fd00:42:0:1::/64') });
    const pods = await Promise.all(Array.from({ length: 50 }, (_, i) => Netns.create(owner, `p${i}`)));
    for (const p of pods) stack.use(p);
    const ask = (command: string) =>
      Promise.all(
        pods.flatMap((p, i) => [
          host.ask(command, { id: `c${i}`, netns: p.path }, { mode: i % 2 ? 'ptp' : 'bridge' }),
          host.ask(
            command,
            { id: `c${i}`, netns: p.path, ifname: 'eth1' },
            { name: 'second', mode: 'bridge' },
          ),
        ]),
      );
    const addresses = (await ask('ADD')).flatMap(addressOf);
    expect(new Set(addresses).size).toBe(200);
    expect([store().length, store('second').length]).toEqual([100, 100]);
    expect(await ask('DEL')).toEqual(Array(100).fill({ kind: 'done' }));
    await nothing();
    expect(store('second')).toEqual([]);
  });

  test('of one pod asked for many times at once is made once', async () => {
    await host.open();
    const answers = await Promise.all(Array.from({ length: 10 }, () => host.ask('ADD', c1())));
    expect(answers.filter((a) => a.kind === 'done')).toHaveLength(1);
    expect(store()).toHaveLength(1);
    await Promise.all(Array.from({ length: 10 }, () => host.ask('DEL', c1())));
    await nothing();
  });

  test('whose pod ended behind our back gives its address to who has none else', async () => {
    await host.open({ node: () => nodeOf('10.42.1.0/30') });
    await host.ask('ADD', c1());
    const other = stack.use(await Netns.create(owner, 'other'));
    expect(await host.ask('ADD', { id: 'c2', netns: other.path })).toMatchObject({
      error: { code: CODE.usedUp, msg: expect.stringContaining('all 1 are taken') },
    });
    await pod.ip('link del eth0');
    expect(addressOf(await host.ask('ADD', { id: 'c2', netns: other.path }))).toEqual(['10.42.1.2']);
    expect(records()).toHaveLength(1);
  });

  test('so do all of them, to all who ask at once', async () => {
    await host.open({ node: () => nodeOf('10.42.1.0/29') });
    const pods = await Promise.all(Array.from({ length: 10 }, (_, i) => Netns.create(owner, `m${i}`)));
    for (const p of pods) stack.use(p);
    const ask = (list: Netns[]) =>
      Promise.all(list.map((p) => host.ask('ADD', { id: p.path.slice(-8), netns: p.path })));
    expect((await ask(pods.slice(0, 5))).map((a) => a.kind)).toEqual(Array(5).fill('done'));
    await Promise.all(pods.slice(0, 5).map((p) => p.ip('link del eth0')));
    expect((await ask(pods.slice(5))).map((a) => a.kind)).toEqual(Array(5).fill('done'));
  });
});

describe('an ADD for a living pod that the records do not know', () => {
  test('attached by another plugin: is refused, and its address stays its own, whenever we are killed', async () => {
    await host.open();
    await host.ask('ADD', { id: 'c0', netns: pod.path, ifname: 'eth9' });
    const file = join(host.dataDir, 'pods', '10.42.1.77');
    writeFileSync(file, 'c1\r\neth0');
    utimesSync(file, new Date(Date.now() - 10_000), new Date(Date.now() - 10_000));
    expect(await host.ask('ADD', c1())).toMatchObject({ error: { code: CODE.addressTaken } });
    expect([store().sort(), records().length]).toEqual([['10.42.1.2', '10.42.1.77'], 1]);
    await host.close();
    const begun = Promise.withResolvers<void>();
    const step = (name: string, killed: Promise<never>) => {
      if (name !== 'begun') return undefined;
      begun.resolve();
      return killed;
    };
    await host.open({ step });
    void host.ask('ADD', c1());
    await begun.promise;
    stack.defer(host.abandon());
    await host.open();
    expect([store().sort(), records().length]).toEqual([['10.42.1.2', '10.42.1.77'], 1]);
    await host.ask('DEL', c1());
    expect(store()).toEqual(['10.42.1.2']);
  });

  test.each([
    ['with its file', CODE.addressTaken],
    ['without its file', CODE.invalidEnvironment],
  ])(
    'attached by a daemon whose state is lost, %s: is refused, and keeps its interface',
    async (which, code) => {
      await host.open();
      await host.ask('ADD', c1());
      await host.close();
      rmSync(host.stateDir, { recursive: true });
      if (which === 'without its file') rmSync(host.dataDir, { recursive: true });
      await host.open();
      const before = [store(), await veths()];
      expect(await host.ask('ADD', c1())).toMatchObject({ error: { code } });
      expect([store(), await veths()]).toEqual(before);
      expect([await podLinks(), records()]).toEqual([['eth0'], []]);
    },
  );
});

const nsOf = async (netns: Netns) => {
  const { statSync } = await import('node:fs');
  const { dev, ino } = statSync(netns.path, { bigint: true });
  return `${dev}:${ino}`;
};

describe('killed', () => {
  const ADD = ['begun', 'reserved', 'attached'] as const;
  const DEL = ['detached', 'released'] as const;

  /** Ask, and have the process stand still for ever at a step. */
  const standStill = (at: string) => {
    let reached = () => {};
    const there = new Promise<void>((resolve) => {
      reached = resolve;
    });
    const step = (name: string, killed: Promise<never>) => {
      if (name !== at) return undefined;
      reached();
      return killed;
    };
    return { there, step };
  };

  test.each(ADD)('in an ADD that is %s: nothing is left after the next start', async (at) => {
    const { there, step } = standStill(at);
    await host.open({ step });
    void host.ask('ADD', c1());
    await there;
    expect(records()).toEqual([expect.stringMatching(/\.adding$/)]);
    stack.defer(host.abandon());
    await host.open();
    await nothing();
    expect(addressOf(await host.ask('ADD', c1()))).toHaveLength(1);
  });

  test('in an ADD that is noted as done: it stays, for the runtime deletes what it got no answer to', async () => {
    const { there, step } = standStill('recorded');
    await host.open({ step });
    void host.ask('ADD', c1());
    await there;
    stack.defer(host.abandon());
    await host.open();
    expect(store()).toEqual(['10.42.1.2']);
    await host.ask('DEL', c1());
    await nothing();
  });

  test.each(DEL)('in a DEL that has %s: the next start, or the next DEL, does the rest', async (at) => {
    const { there, step } = standStill(at);
    await host.open({ step });
    await host.ask('ADD', c1());
    void host.ask('DEL', c1());
    await there;
    stack.defer(host.abandon());
    await host.open();
    await host.ask('DEL', c1());
    await nothing();
  });

  test('by SIGKILL, a real process, at every step: no address is lost or given twice', async () => {
    for (const at of [...ADD, 'recorded', ...DEL]) {
      const child = await Proc.start(
        [
          process.execPath,
          join(import.meta.dirname, '../support/cniVictim.ts'),
          host.netns.path,
          host.dir,
          at,
          pod.path,
        ],
        { log: join(host.dir, `${at}.log`) },
      );
      expect(await child.exited, child.tail()).toBe('SIGKILL');
      await host.open();
      expect(records().filter((n) => n.endsWith('.adding'))).toEqual([]);
      expect(store()).toHaveLength(records().length);
      await host.ask('DEL', c1());
      await nothing();
      await host.close();
    }
  });

  test('and a record was cut short: it is set aside, and the next DEL cleans up', async () => {
    await host.open();
    await host.ask('ADD', c1());
    await host.close();
    const [name] = records();
    writeFileSync(join(host.stateDir, 'cni', 'attachments', name!), '{"containerId":"c1","ifna');
    writeFileSync(join(host.stateDir, 'cni', 'attachments', 'foreign.json'), '[]\n');
    writeFileSync(join(host.stateDir, 'cni', 'attachments', 'note'), 'kept');
    await host.open();
    expect(records().sort()).toEqual([`${name}.bad`, 'foreign.json.bad', 'note'].sort());
    expect(host.logs.filter((l) => l.level === 'error')).toHaveLength(2);
    // Its address is not given to another.
    const other = stack.use(await Netns.create(owner, 'other'));
    expect(addressOf(await host.ask('ADD', { id: 'c2', netns: other.path }))).toEqual(['10.42.1.3']);
    await host.ask('DEL', c1());
    expect(store()).toEqual(['10.42.1.3']);
    expect(await podLinks()).toEqual([]);
  });
});

describe('a start', () => {
  test('keeps living pods, and frees the dead', async () => {
    await host.open();
    await host.ask('ADD', c1());
    const dead = await Netns.create(owner, 'dead');
    await host.ask('ADD', { id: 'c2', netns: dead.path });
    await host.close();
    await dead[Symbol.asyncDispose]();
    await until('the veth to go', async () => (await veths()).length === 1);
    await host.open();
    expect(store()).toEqual(['10.42.1.2']);
    expect(await podLinks()).toEqual(['eth0']);
    expect(host.logs.filter((l) => l.level !== 'info')).toEqual([]);
  });

  test('knows the addresses of living pods, whatever has become of their files', async () => {
    await host.open();
    await host.ask('ADD', c1());
    await host.close();
    rmSync(host.dataDir, { recursive: true });
    await host.open();
    const other = stack.use(await Netns.create(owner, 'other'));
    expect(addressOf(await host.ask('ADD', { id: 'c2', netns: other.path }))).toEqual(['10.42.1.3']);
    await host.ask('DEL', c1());
    expect(records()).toHaveLength(1);
  });

  test('after a reboot frees what others noted before it, and after none nothing', async () => {
    await host.open({ boot: { id: 'one', since: 1e12 - 1000 } });
    await host.ask('ADD', c1());
    await host.close();
    const old = (name: string, text: string) => {
      const file = join(host.dataDir, name);
      mkdirSync(join(file, '..'), { recursive: true });
      writeFileSync(file, text);
      utimesSync(file, new Date(1e12), new Date(1e12));
    };
    old('pods/10.42.1.77', 'chain\r\neth0');
    old('cbr0/10.42.9.9', 'chain\r\neth0');
    old('cbr0/172.16.0.9', 'nobody of ours\r\neth0');
    writeFileSync(join(host.dataDir, 'cbr0/10.42.9.10'), 'of this boot\r\neth0');

    await host.open({ boot: { id: 'one', since: 1e12 - 1000 } });
    expect([store(), store('cbr0').length]).toEqual([['10.42.1.2', '10.42.1.77'], 3]);
    await host.close();
    // The pod's veth is gone with the boot.
    await pod.ip('link del eth0');
    await host.open({ boot: { id: 'two', since: Date.now() } });
    await until(
      'the stores to be swept',
      () => !store().includes('10.42.1.77') && store('cbr0').length === 2,
    );
    expect(store()).toEqual([]);
    expect(store('cbr0').sort()).toEqual(['10.42.9.10', '172.16.0.9']);
    expect(records()).toEqual([]);
    await host.close();
    // Once a boot.
    old('pods/10.42.1.78', 'chain\r\neth0');
    await host.open({ boot: { id: 'two', since: Date.now() } });
    expect(store()).toEqual(['10.42.1.78']);
  });

  test('carries out the DELs that were asked for meanwhile; what can never be done is set aside', async () => {
    await host.open();
    await host.ask('ADD', c1());
    await host.close();
    const queue = join(host.stateDir, 'cni', 'del');
    const later = (ms: number) => `${BigInt(Date.now() + ms) * 1_000_000n}-1.json`;
    const [good, broken, wrong] = [later(1), later(2), later(3)];
    writeFileSync(join(queue, good), JSON.stringify(host.call('DEL', { id: 'c1' })));
    writeFileSync(join(queue, broken), '{"env":');
    writeFileSync(join(queue, wrong), JSON.stringify(host.call('DEL', { id: 'bad id!' })));
    writeFileSync(join(queue, 'README'), 'not ours');
    await host.open();
    await until('the queue to be drained', () => host.service.json().queued === 0);
    expect(readdirSync(queue).sort()).toEqual([`${broken}.bad`, `${wrong}.bad`, 'README'].sort());
    await nothing();
    // One that comes while we run is found too: its plugin saw no socket yet.
    await host.ask('ADD', c1());
    writeFileSync(join(queue, 'temporary'), JSON.stringify(host.call('DEL', { id: 'c1' })));
    const { renameSync } = await import('node:fs');
    renameSync(join(queue, 'temporary'), join(queue, later(1000)));
    await until('the late one to be done', () => store().length === 0);
    await nothing();
  });

  test('does not let an old DEL end what was added after it', async () => {
    await host.open();
    await host.ask('ADD', c1());
    await host.close();
    const queue = join(host.stateDir, 'cni', 'del');
    writeFileSync(
      join(queue, `${BigInt(Date.now() - 10_000) * 1_000_000n}-1.json`),
      JSON.stringify(host.call('DEL', c1())),
    );
    await host.open();
    await until('the queue to be drained', () => readdirSync(queue).length === 0);
    expect([store(), await podLinks()]).toEqual([['10.42.1.2'], ['eth0']]);
  });
});

describe('a DEL of what another plugin has attached', () => {
  const foreign = async (address = '10.42.1.9') => {
    await host.netns.ip(`link add vethabcd type veth peer name eth0 netns ${pod.name}`);
    await pod.ip(`addr add ${address}/24 dev eth0`);
    mkdirSync(join(host.dataDir, 'pods'), { recursive: true });
    writeFileSync(join(host.dataDir, 'pods', '10.42.1.9'), 'c1\r\neth0');
  };
  const queued = async (container: { readonly id: string; readonly netns: string }) => {
    const file = join(host.stateDir, 'cni', 'del', `${BigInt(Date.now()) * 1_000_000n}-1.json`);
    writeFileSync(`${file}.tmp`, JSON.stringify(host.call('DEL', container)));
    renameSync(`${file}.tmp`, file);
    await until('the DEL to be done', () => !existsSync(file) && store().length === 0);
  };

  test('removes its interface before its address is free, once', async () => {
    await host.open();
    await foreign();
    expect(await host.ask('DEL', c1())).toEqual({ kind: 'done' });
    await nothing();
    expect(await host.ask('DEL', c1())).toEqual({ kind: 'done' });
  });

  test('removes nothing but a veth, nothing of another network, and nothing where the namespace is gone', async () => {
    await host.open();
    await pod.ip('link add eth0 type bridge');
    expect(await host.ask('DEL', c1())).toEqual({ kind: 'done' });
    expect(await podLinks()).toEqual(['eth0']);
    await pod.ip('link del eth0');
    await host.ask('ADD', c1(), { name: 'second' });
    expect(await host.ask('DEL', c1())).toEqual({ kind: 'done' });
    expect(await podLinks()).toEqual(['eth0']);
    expect(await host.ask('DEL', c1(), { name: 'second' })).toEqual({ kind: 'done' });
    for (const netns of ['/nonexistent', '/dev/null', '']) {
      await foreign();
      expect(await host.ask('DEL', { id: 'c1', netns })).toEqual({ kind: 'done' });
      expect([store(), await podLinks()]).toEqual([[], ['eth0']]);
      await pod.ip('link del eth0');
    }
  });

  test('that has waited takes the interface with the address that is noted, and no other: the path may be another’s', async () => {
    await host.open();
    await foreign();
    await queued(c1());
    await nothing();
    await foreign('10.42.1.10');
    await queued(c1());
    expect(await podLinks()).toEqual(['eth0']);
  });

  test('touches nothing of the host, whose interface may be a veth too, even where the plugin may be in the same namespace', async () => {
    await host.open();
    await host.netns.ip('link add eth0 type veth peer name other');
    const call = host.call('DEL', { id: 'c1', netns: host.netns.path });
    for (const env of [{}, { CNI_NETNS_OVERRIDE: '1' }])
      expect(await host.service.handle({ ...call, env: { ...call.env, ...env } })).toEqual({ kind: 'done' });
    expect(await veths()).toContain('eth0');
  });

  test('leaves the namespace of the plugin alone', async () => {
    await host.open();
    await foreign();
    const call = { ...host.call('DEL', c1()), netns: await nsOf(pod) };
    expect(await host.service.handle(call)).toMatchObject({ error: { code: CODE.invalidNetns } });
    expect([store(), await podLinks()]).toEqual([['10.42.1.9'], ['eth0']]);
  });
});

describe('a start that is not ready yet', () => {
  const notYet: NodeState = { ready: false, reason: 'looking for the uplink' };

  test('holds ADD and STATUS until it is, and nothing else', async () => {
    let node: NodeState = notYet;
    await host.open({ node: () => node, hold: 60_000 });
    const asked = [host.ask('ADD', c1()), host.ask('STATUS')];
    expect(await host.ask('DEL', { id: 'c9' })).toEqual({ kind: 'done' });
    expect(records()).toEqual([]);
    node = nodeOf('10.42.1.0/24');
    host.service.nodeChanged();
    expect(addressOf((await asked[0])!)).toEqual(['10.42.1.2']);
    expect(await asked[1]).toEqual({ kind: 'done' });
    // Once it was ready it is no start any more.
    node = notYet;
    const why = { error: { msg: expect.stringContaining('looking for the uplink') } };
    expect(await host.ask('ADD', { id: 'c2', netns: pod.path })).toMatchObject(why);
  });

  test('says why in the end', async () => {
    await host.open({ node: () => notYet, hold: 100 });
    for (const command of ['ADD', 'STATUS'])
      expect(await host.ask(command, c1())).toMatchObject({
        error: {
          code: command === 'ADD' ? CODE.tryAgainLater : CODE.notAvailable,
          msg: expect.stringContaining('uplink'),
        },
      });
  });

  test('that ends lets go whom it holds', async () => {
    await host.open({ node: () => notYet, hold: 60_000 });
    const held = host.ask('ADD', c1());
    await host.close();
    expect(await held).toMatchObject({
      error: { code: CODE.tryAgainLater, msg: expect.stringContaining('stopping') },
    });
  });
});

describe('an ADD whose own DEL waits in the queue', () => {
  test('has it carried out first, while nothing else has yet looked at the queue', async () => {
    await host.open();
    await host.ask('ADD', c1());
    const queue = join(host.stateDir, 'cni', 'del');
    // Not used as it is, so that nobody is faster.
    chmodSync(queue, 0o777);
    writeFileSync(
      join(queue, `${BigInt(Date.now() + 1) * 1_000_000n}-1.json`),
      JSON.stringify(host.call('DEL', c1())),
    );
    chmodSync(queue, 0o700);
    expect(addressOf(await host.ask('ADD', c1()))).toHaveLength(1);
    expect([store().length, await podLinks(), readdirSync(queue)]).toEqual([1, ['eth0'], []]);
  });

  test('has it carried out first, and is not ended by it', async () => {
    await host.open();
    await host.ask('ADD', c1());
    await host.close();
    const queue = join(host.stateDir, 'cni', 'del');
    writeFileSync(
      join(queue, `${BigInt(Date.now()) * 1_000_000n}-1.json`),
      JSON.stringify(host.call('DEL', c1())),
    );
    const opening = host.open();
    await until('the service', () => host.isOpen);
    expect(addressOf(await host.ask('ADD', c1()))).toHaveLength(1);
    await opening;
    expect([store().length, await podLinks(), readdirSync(queue)]).toEqual([1, ['eth0'], []]);
  });
});

describe('GC', () => {
  test('removes what is not valid, of this network alone', async () => {
    await host.open();
    const other = stack.use(await Netns.create(owner, 'other'));
    await host.ask('ADD', c1());
    await host.ask('ADD', { id: 'c2', netns: other.path });
    await host.ask('ADD', { id: 'c2', netns: other.path, ifname: 'eth1' }, { name: 'second' });
    writeFileSync(join(host.dataDir, 'pods', '10.42.1.50'), 'leaked\r\neth0');
    writeFileSync(join(host.dataDir, 'pods', '10.42.1.51'), 'c1');
    writeFileSync(join(host.dataDir, 'pods', '10.42.1.52'), 'c1\r\neth7');
    const valid = { 'cni.dev/valid-attachments': [{ containerID: 'c1', ifname: 'eth0' }] };
    expect(await host.ask('GC', {}, valid)).toEqual({ kind: 'done' });
    expect(store().sort()).toEqual(['10.42.1.2', '10.42.1.51']);
    expect(await podLinks(other)).toEqual(['eth1']);
    expect(await podLinks()).toEqual(['eth0']);
    expect(store('second')).toHaveLength(1);
  });

  test('leaves what is being added', async () => {
    let go = () => {};
    let reached = () => {};
    const there = new Promise<void>((r) => {
      reached = r;
    });
    await host.open({
      step: (name) => {
        if (name !== 'reserved') return undefined;
        reached();
        return new Promise<void>((r) => {
          go = r;
        });
      },
    });
    const adding = host.ask('ADD', c1());
    await there;
    expect(await host.ask('GC', {}, { 'cni.dev/valid-attachments': [] })).toEqual({ kind: 'done' });
    go();
    expect(addressOf(await adding)).toEqual(['10.42.1.2']);
    expect([store(), await podLinks()]).toEqual([['10.42.1.2'], ['eth0']]);
  });
});

describe("when the node's subnet changes", () => {
  test('old pods keep theirs and are named, new ones get the new, until the old are gone', async () => {
    let node = nodeOf('10.42.1.0/24');
    await host.open({ node: () => node });
    await host.ask('ADD', c1());
    expect(await host.ask('STATUS')).toEqual({ kind: 'done' });
    node = nodeOf('10.42.9.0/24');
    host.service.nodeChanged();
    host.service.nodeChanged();
    const other = stack.use(await Netns.create(owner, 'other'));
    expect(addressOf(await host.ask('ADD', { id: 'c2', netns: other.path }))).toEqual(['10.42.9.2']);
    const words = expect.stringMatching(/1 pod has an address .*recreate c1\/eth0 \(10\.42\.1\.2\/24\)/);
    expect(await host.ask('STATUS')).toEqual({ kind: 'done', warning: words });
    expect(host.service.json()).toMatchObject({ attachments: 2, stale: ['c1/eth0 (10.42.1.2/24)'] });
    expect(host.service.problems()).toEqual([words]);
    expect(host.logs.filter((l) => l.level === 'warn').map((l) => l.msg)).toEqual([words]);
    const addresses = async () =>
      (await host.netns.ip('-o -4 addr show dev cni0'))
        .match(/inet \S+/g)
        ?.map((t) => t.slice(5))
        .sort();
    expect(await addresses()).toEqual(['10.42.1.1/24', '10.42.9.1/24']);
    await pod.run(['busybox', 'ping', '-c1', '-W2', '10.42.9.2']);
    await host.ask('DEL', c1());
    host.service.nodeChanged();
    expect(host.service.problems()).toEqual([]);
    await until('the old gateway to go', async () => (await addresses())?.join() === '10.42.9.1/24');
  });

  test('the old gateway stays for what another chain has noted, until a GC frees that', async () => {
    let node = nodeOf('10.42.1.0/24');
    await host.open({ node: () => node });
    await host.ask('ADD', c1());
    writeFileSync(join(host.dataDir, 'pods', '10.42.1.50'), 'chain\r\neth0');
    node = nodeOf('10.42.9.0/24');
    host.service.nodeChanged();
    const other = stack.use(await Netns.create(owner, 'other'));
    await host.ask('ADD', { id: 'c2', netns: other.path });
    await host.ask('DEL', c1());
    const gateways = async () => await host.netns.ip('-o -4 addr show dev cni0');
    expect(await gateways()).toContain('10.42.1.1/24');
    const valid = [{ containerID: 'c2', ifname: 'eth0' }];
    expect(await host.ask('GC', {}, { 'cni.dev/valid-attachments': valid })).toEqual({ kind: 'done' });
    expect(store()).toEqual(['10.42.9.2']);
    await until('the old gateway to go', async () => !(await gateways()).includes('10.42.1.1/24'));
  });

  test('only those are told of that are new, and the end of it; the bridge has the new gateway at once', async () => {
    let node = nodeOf('10.42.1.0/24');
    await host.open({ node: () => node });
    const other = stack.use(await Netns.create(owner, 'other'));
    await host.ask('ADD', c1());
    await host.ask('ADD', { id: 'c2', netns: other.path });
    const told = () =>
      host.logs.filter((l) => /former subnet|is another node's now/.test(l.msg)).map((l) => l.msg);
    node = nodeOf('10.42.9.0/24');
    host.service.nodeChanged();
    expect(told()).toEqual([expect.stringContaining('2 pods')]);
    const gateways = async () => await host.netns.ip('-o -4 addr show dev cni0');
    await until('the gateway to be there', async () => (await gateways()).includes('10.42.9.1/24'));
    expect(await gateways()).toContain('10.42.1.1/24');
    await host.ask('DEL', c1());
    host.service.nodeChanged();
    expect(told()).toHaveLength(1);
    await host.ask('DEL', { id: 'c2', netns: other.path });
    host.service.nodeChanged();
    host.service.nodeChanged();
    expect(told().slice(1)).toEqual([expect.stringContaining('no pod')]);
  });
});

describe('the end', () => {
  test('refuses new calls, and lets those under way end', async () => {
    let go = () => {};
    let reached = () => {};
    const there = new Promise<void>((r) => {
      reached = r;
    });
    const service = await host.open({
      step: (name) => {
        if (name !== 'reserved') return undefined;
        reached();
        return new Promise<void>((r) => {
          go = r;
        });
      },
    });
    const adding = host.ask('ADD', c1());
    await there;
    service.end();
    // Whoever has found the socket before it went is answered.
    expect(await host.ask('STATUS')).toEqual({ kind: 'done' });
    const closing = host.close();
    expect(await service.handle(host.call('ADD', { id: 'c2', netns: pod.path }))).toMatchObject({
      error: { code: CODE.tryAgainLater, msg: expect.stringContaining('stopping') },
    });
    go();
    expect(addressOf(await adding)).toEqual(['10.42.1.2']);
    await closing;
    expect(readFileSync(join(host.dataDir, 'pods', '10.42.1.2'), 'utf8')).toBe('c1\r\neth0');
  });
});
