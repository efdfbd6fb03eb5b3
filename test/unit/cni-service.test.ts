import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { BOUNDS, Counters } from '../../src/cni/counters.ts';
import { runDelegate } from '../../src/cni/delegates.ts';
import { KeyedMutex } from '../../src/cni/mutex.ts';
import type { AttachmentRecord } from '../../src/cni/records.ts';
import { formatRecord, parseRecord } from '../../src/cni/recordText.ts';
import { type NodeFacts, nodeState } from '../../src/daemon/nodeState.ts';
import { addr } from '../../src/net/addr.ts';
import { mac } from '../../src/net/mac.ts';
import { prefix } from '../../src/net/prefix.ts';
import { until } from '../support/proc.ts';

const record: AttachmentRecord = {
  state: 'attached',
  since: 1_700_000_000_123,
  attachment: {
    containerId: 'c1',
    ifname: 'eth0',
    network: 'pods',
    netns: '/run/netns/x y\n',
    mode: 'bridge',
    bridge: 'cni0',
    hostIf: 'veth01234567890',
    hostMac: mac('02:00:00:00:00:01'),
    mac: mac('0a:58:0a:2a:01:02'),
    mtu: 1450,
    hairpin: true,
    addresses: [
      { address: prefix('10.42.1.2/24'), gateway: addr('10.42.1.1') },
      { address: prefix('fd00:42:0:1::2/64'), gateway: addr('fd00:42:0:1::1') },
    ],
    routes: [prefix('10.43.0.0/16')],
    dataDir: '/var/lib/cni/networks',
  },
};

describe('a record', () => {
  test('reads as it was written, whichever line counts', () => {
    const begun = {
      ...record,
      state: 'adding' as const,
      attachment: { ...record.attachment, addresses: [] },
    };
    const text = formatRecord(begun) + formatRecord(record);
    expect(parseRecord(text, 'attached')).toEqual(record);
    expect(parseRecord(text, 'adding')).toEqual(begun);
    expect(() => parseRecord(formatRecord(begun), 'attached')).toThrow('no address');
  });

  test('cut anywhere in its second line is still one that was begun', () => {
    const first = formatRecord({ ...record, attachment: { ...record.attachment, addresses: [] } });
    const whole = first + formatRecord(record);
    for (let n = first.length; n < whole.length; n++)
      expect(parseRecord(whole.slice(0, n), 'adding').attachment.containerId).toBe('c1');
    for (let n = 0; n < first.length; n++) expect(() => parseRecord(whole.slice(0, n), 'adding')).toThrow();
  });

  test('of anything else is refused with an Error', () => {
    fc.assert(
      fc.property(fc.json(), (text) => {
        expect(() => parseRecord(`${text}\n`, 'attached')).toThrow(Error);
      }),
    );
    const value = JSON.parse(formatRecord(record)) as Record<string, unknown>;
    for (const name of Object.keys(value).filter((n) => n !== 'bridge' && n !== 'hairpin')) {
      for (const wrong of [undefined, null, 7.5, {}, [{}], '']) {
        if (name === 'mtu' || name === 'since') if (wrong === 7.5) continue;
        const text = `${JSON.stringify({ ...value, [name]: wrong })}\n`;
        expect(() => parseRecord(text, 'attached'), `${name} ${JSON.stringify(wrong)}`).toThrow(Error);
      }
    }
  });
});

describe('the node for pods', () => {
  const families = new Map([[4, { network: prefix('10.42.0.0/16') }]]);
  const backend = { mtu: () => 1450 };
  const held = { key: '10.42.7.0-24', subnets: [prefix('10.42.7.0/24')] };
  const good = {
    network: { network: { families }, backend, config: {} },
    host: {},
    lease: { state: 'held', lease: held },
    held,
    ipMasq: true,
    waitingFor: () => 'etcd is away',
  } as unknown as NodeFacts;

  test('a held lease is enough, whatever else the daemon waits for', () => {
    expect(nodeState(good)).toEqual({
      ready: true,
      network: {
        subnets: [{ subnet: prefix('10.42.7.0/24'), network: prefix('10.42.0.0/16') }],
        mtu: 1450,
        ipMasq: true,
      },
    });
  });

  test.each([
    [{ lease: undefined, held: undefined }, 'this node has no subnet yet: etcd is away'],
    [{ lease: { state: 'waiting', reason: 'x' } }, 'this node has no subnet yet: etcd is away'],
    [{ host: undefined }, 'this node has no subnet yet: etcd is away'],
    [{ network: undefined }, 'this node has no subnet yet: etcd is away'],
    [
      { lease: { state: 'fenced', reason: 'etcd for an hour' } },
      'the subnet lease has run out and cannot be renewed: etcd for an hour',
    ],
  ])('%j: %s', (change, reason) => {
    expect(nodeState({ ...good, ...change } as unknown as NodeFacts)).toEqual({ ready: false, reason });
  });
});

test('calls are counted by command, duration and error', () => {
  const counters = new Counters();
  counters.note('ADD', 0.4, undefined);
  counters.note('ADD', 1.5, 11);
  counters.note('ADD', 9_999, 11);
  const { ADD } = counters.snapshot();
  expect(ADD).toMatchObject({ count: 3, max: 9_999, errors: { 11: 2 } });
  expect([ADD!.buckets[0], ADD!.buckets[2], ADD!.buckets[BOUNDS.length]]).toEqual([1, 1, 1]);
  expect(ADD!.buckets.reduce((a, b) => a + b)).toBe(3);
});

test('one at a time for a key, in order, whatever fails; others are not held up', async () => {
  const mutex = new KeyedMutex();
  const seen: string[] = [];
  const gate = Promise.withResolvers<void>();
  const first = mutex.run('a', async () => {
    await gate.promise;
    seen.push('first');
    throw new Error('x');
  });
  const second = mutex.run('a', async () => void seen.push('second'));
  await mutex.run('b', async () => void seen.push('other'));
  expect(mutex.busy('a')).toBe(true);
  gate.resolve();
  await expect(first).rejects.toThrow('x');
  await second;
  expect(seen).toEqual(['other', 'first', 'second']);
  expect(mutex.busy('a')).toBe(false);
});

describe('a delegate', () => {
  const call = { env: { CNI_COMMAND: 'DEL', CNI_PATH: 'relative:/bin:/usr/bin' }, stdin: '' };
  const go = (plugin: string, config: unknown = {}) =>
    runDelegate(call, { plugin, env: { CNI_IFNAME: 'eth9' }, config }, AbortSignal.timeout(10_000));

  test('is run in the environment of the call, with its configuration', async () => {
    expect(await go('cat', { a: 'ü' })).toEqual({ exit: 0, stdout: '{"a":"ü"}' });
    expect((await go('env')).stdout).toMatch(/CNI_COMMAND=DEL[\s\S]*CNI_IFNAME=eth9/);
    expect(await go('false')).toEqual({ exit: 1, stdout: '' });
  });

  test.each(['../bin/cat', '..', 'no-such-plugin', ''])('%j is none', async (plugin) => {
    const { exit, stdout } = await go(plugin);
    expect([exit, JSON.parse(stdout)]).toEqual([127, expect.objectContaining({ code: 4 })]);
  });

  describe('that is a script', () => {
    let dir: string;
    beforeEach(() => {
      dir = mkdtempSync(join(tmpdir(), 'loden-delegate-'));
    });
    afterEach(() => rmSync(dir, { recursive: true }));
    const script = (text: string) =>
      writeFileSync(join(dir, 'plugin'), `#!/bin/sh\n${text}\n`, { mode: 0o755 });
    const run = (signal = AbortSignal.timeout(50_000), path = dir) =>
      runDelegate({ env: { CNI_PATH: path }, stdin: '' }, { plugin: 'plugin', env: {}, config: {} }, signal);
    const alive = (pid: number) => existsSync(`/proc/${pid}/stat`) && !isZombie(pid);
    const isZombie = (pid: number) => / Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
    const started = () => Number(readFileSync(join(dir, 'pid'), 'utf8'));

    test('has ended when it has, whoever else holds its output, and all it said counts', async () => {
      script(`sleep 60 & echo $! >${dir}/pid; head -c 60000 /dev/zero | tr '\\0' x; echo oops >&2; exit 3`);
      const { exit, stdout, stderr } = await run(AbortSignal.timeout(20_000));
      process.kill(started(), 'SIGKILL');
      expect([exit, stdout.length, stderr]).toEqual([3, 60_000, 'oops\n']);
    });

    test('is ended with what it has started', async () => {
      script(`sleep 60 & echo $! >${dir}/pid.new; mv ${dir}/pid.new ${dir}/pid; wait`);
      const stop = new AbortController();
      const running = run(stop.signal);
      await until('it to run', () => existsSync(join(dir, 'pid')));
      stop.abort();
      expect(await running).toMatchObject({ exit: 137, stdout: expect.stringContaining('the daemon stops') });
      await until('its child to be gone', () => !alive(started()));
    });

    test('that says more than 1 MiB has failed; that ends by a signal, too', async () => {
      script('head -c 1048576 /dev/zero');
      expect((await run()).stdout).toHaveLength(1 << 20);
      script('head -c 1048577 /dev/zero');
      expect(await run()).toMatchObject({ exit: 1, stdout: expect.stringContaining('more than') });
      script('head -c 1048577 /dev/zero; exit 7');
      expect((await run()).exit).toBe(7);
      script('kill -TERM $$');
      expect((await run()).exit).toBe(143);
    });

    test('is a regular file, and its error output is kept by its end', async () => {
      mkdirSync(join(dir, 'first', 'plugin'), { recursive: true });
      script("head -c 5000 /dev/zero | tr '\\0' y >&2; echo end >&2");
      const { exit, stderr } = await run(undefined, `${join(dir, 'first')}:${dir}`);
      expect([exit, stderr?.length, stderr?.endsWith('yend\n')]).toEqual([0, 2048, true]);
    });

    test.each(['loden', 'flannel'])('%s would ask us again', async (plugin) => {
      writeFileSync(join(dir, plugin), '#!/bin/sh\n', { mode: 0o755 });
      const call = { env: { CNI_PATH: dir }, stdin: '' };
      expect(
        (await runDelegate(call, { plugin, env: {}, config: {} }, AbortSignal.timeout(10_000))).exit,
      ).toBe(127);
    });
  });
});
