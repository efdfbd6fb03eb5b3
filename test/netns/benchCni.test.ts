import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { VARIANTS, type VariantName } from '../../bench/cniFigures.ts';
import { measure } from '../../bench/cniTests.ts';
import { makeVariant, type Variant } from '../../bench/cniVariants.ts';
import { type Call, meter } from '../../bench/spawnmeter.ts';
import { Cluster } from '../support/cluster.ts';
import { Netns } from '../support/netns.ts';
import { thisProcess } from '../support/owner.ts';
import { Plugin, PluginError } from '../support/plugin.ts';

test('tests run a plugin as a runtime does, and throw what it prints when it fails', async () => {
  const dir = thisProcess().tempDir('plugin');
  const script = `#!/bin/dash
read config
case $CNI_COMMAND in
  ADD) echo "{\\"env\\":\\"$CNI_CONTAINERID $CNI_NETNS $CNI_IFNAME $CNI_ARGS $CNI_PATH\\",\\"config\\":$config}"; echo well >&2;;
  DEL) echo '{"code":11,"msg":"later","details":"much"}'; exit 1;;
  GC) echo no JSON; exit 3;;
esac
`;
  writeFileSync(join(dir, 'mine'), script, { mode: 0o755 });
  const plugin = new Plugin(scratch, { name: 'n', type: 'mine' }, `/nowhere:${dir}`);
  const container = { id: 'c1', netns: '/x', ifname: 'eth7', args: 'A=1' };
  const done = await plugin.call('ADD', container, { name: 'm', prevResult: {} });
  expect(JSON.parse(done.stdout)).toEqual({
    env: `c1 /x eth7 A=1 /nowhere:${dir}`,
    config: { name: 'm', type: 'mine', prevResult: {} },
  });
  expect(done.stderr).toBe('well\n');
  const error = await plugin.del({ id: 'c1' }).catch((e: unknown) => e);
  expect(error).toBeInstanceOf(PluginError);
  expect(error).toMatchObject({ code: 11, msg: 'later', details: 'much', run: { status: 1 } });
  await expect(plugin.call('GC')).rejects.toThrow('GC by mine: status 3, code undefined: no JSON');
  const missing = new Plugin(scratch, { type: 'none' }, dir);
  expect(() => missing.run({}, '')).toThrow(`there is no plugin none in ${dir}`);
});

let cluster: Cluster;
let pods: Netns[];
let scratch: Netns;
beforeAll(async () => {
  cluster = await Cluster.create();
  pods = [];
  for (let i = 0; i < 10; i++) pods.push(await Netns.create(cluster.owner, `pod${i}`));
  scratch = await Netns.create(cluster.owner, 'scratch');
});
afterAll(async () => {
  for (const netns of [...(pods ?? []), scratch]) await netns?.[Symbol.asyncDispose]();
  await cluster?.[Symbol.asyncDispose]();
});

describe('the meter', () => {
  const sh = (script: string, env: Record<string, string> = {}): Call => ({
    path: '/bin/dash',
    env: { ...env, ENV: '' },
    input: script,
  });

  test('runs each with its environment and its input, and says how it ended', async () => {
    const { outcomes } = await meter(scratch, [
      { path: '/usr/bin/env', env: { A: 'a=b', B: '' }, input: '' },
      { path: '/bin/cat', env: {}, input: 'x\n"ü\\\u0001' },
      sh('exit 3'),
      sh('kill -9 $$'),
      { path: '/bin/cat', env: {}, input: 'y'.repeat(64 << 10) },
    ]);
    expect(outcomes.map(({ status, stdout }) => [status, stdout])).toEqual([
      [0, 'A=a=b\nB=\n'],
      [0, 'x\n"ü\\\u0001'],
      [3, ''],
      [137, ''],
      [0, 'y'.repeat(64 << 10)],
    ]);
  });

  test('counts from before the process until it has ended, also those that have closed their output', async () => {
    const { outcomes, wallMs } = await meter(scratch, [
      sh('sleep 0.2'),
      sh('exec >&-; sleep 0.1'),
      sh('i=0; while [ $i -lt 50000 ]; do i=$((i+1)); done'),
    ]);
    const [slept, closed, worked] = outcomes as [
      (typeof outcomes)[0],
      (typeof outcomes)[0],
      (typeof outcomes)[0],
    ];
    expect(slept.ms).toBeGreaterThanOrEqual(200);
    expect(closed.ms).toBeGreaterThanOrEqual(100);
    expect(wallMs).toBeGreaterThanOrEqual(slept.ms + closed.ms + worked.ms);
    expect(worked.cpuMs).toBeGreaterThan(slept.cpuMs);
    expect(worked.cpuMs).toBeLessThan(worked.ms * 2);
  });

  test('runs many at once, and no more than that', async () => {
    const calls = Array.from({ length: 8 }, () => sh('sleep 0.3'));
    const all = await meter(scratch, calls, 8);
    const sum = all.outcomes.reduce((total, { ms }) => total + ms, 0);
    expect(all.wallMs).toBeGreaterThanOrEqual(300);
    expect(all.wallMs).toBeLessThan(sum);
    // Four one after the other in each of two.
    expect((await meter(scratch, calls, 2)).wallMs).toBeGreaterThanOrEqual(1200);
  });

  test('says what it cannot run or read', async () => {
    await expect(meter(scratch, [{ path: '/nowhere', env: {}, input: '' }])).rejects.toThrow(
      /\/nowhere: No such file/,
    );
    await expect(
      meter(scratch, [{ path: '/bin/cat', env: {}, input: 'z'.repeat((64 << 10) + 1) }]),
    ).rejects.toThrow(/input: more than 65536/);
    await expect(meter(scratch, [{ path: '/bin/cat', env: { A: 'a\nb' }, input: '' }])).rejects.toThrow(
      /not a line of a call: b/,
    );
    await expect(meter(scratch, [sh('')], 1001)).rejects.toThrow(/--at-once: more than 1000/);
  });
});

test.for(VARIANTS.map((name, i) => [name, i] as const))(
  '%s is measured in all that is asked for',
  async ([name, index]) => {
    const variant = await makeVariant(cluster, name, index);
    const figures = await measure(variant, pods, scratch);
    for (const which of ['addP50', 'addP99', 'delP50', 'delP99', 'againP50', 'add10', 'del10']) {
      expect(figures[which], which).toBeGreaterThan(0);
    }
    expect(figures.addP99).toBeGreaterThanOrEqual(figures.addP50!);
    // Masquerading by the daemon is the same table for any number of pods.
    if (name === 'debian-masq') expect(figures.rules).toBeGreaterThanOrEqual(1);
    else expect(figures.rules).toBe(0);
    // Ten are not a hundred.
    expect(figures).not.toHaveProperty('add100');
  },
);

describe('a plugin of our own making', () => {
  /** Debian's chain, but `script` goes before it. */
  async function crooked(script: string, index: number): Promise<Variant> {
    const variant = await makeVariant(cluster, 'debian' satisfies VariantName, index);
    const file = join(variant.host.dir, 'crooked');
    writeFileSync(file, `#!/bin/dash\n${script}\nexec ${variant.plugin}\n`);
    chmodSync(file, 0o755);
    return { ...variant, plugin: file };
  }

  test('is measured by command: a DEL that takes its time makes no ADD slower', async () => {
    const variant = await crooked('[ $CNI_COMMAND = ADD ] || sleep 0.1', 19);
    const { addP50, againP50, add10, delP50, del10 } = await measure(variant, pods, scratch);
    expect(delP50).toBeGreaterThanOrEqual(100);
    expect(del10).toBeGreaterThanOrEqual(100);
    for (const ms of [addP50, againP50]) expect(ms! + 50).toBeLessThan(delP50!);
    expect(add10).toBeLessThan(10 * delP50!);
  });

  test.for([
    [
      'a failed ADD',
      `[ $CNI_COMMAND = DEL ] || { echo '{"code":11,"msg":"later"}'; exit 1; }`,
      /ADD by .*crooked: status 1: .*later/,
    ],
    [
      'a failed DEL',
      `[ $CNI_COMMAND = ADD ] || { echo '{"code":11,"msg":"later"}'; exit 1; }`,
      /DEL by .*crooked: status 1: .*later/,
    ],
    ['a DEL of nothing', '[ $CNI_COMMAND = ADD ] || exit 0', /after DEL there are veth.*, 10\.43\./],
    [
      'a DEL of addresses alone',
      `[ $CNI_COMMAND = ADD ] || { rm -f "\${0%/*}"/networks/bench/10.*; exit 0; }`,
      /after DEL there are veth[^.]*$/,
    ],
    [
      'a DEL of devices alone',
      '[ $CNI_COMMAND = ADD ] || { nsenter --net=$CNI_NETNS ip link del eth0; exit 0; }',
      /after DEL there are 10\.43\./,
    ],
    [
      'an address twice',
      `[ $CNI_COMMAND = DEL ] || { echo '{"ips":[{"address":"10.43.0.2/24"}]}'; exit 0; }`,
      /10 pods have 1 addresses/,
    ],
    [
      'an address that nobody has',
      `[ $CNI_COMMAND = DEL ] || { echo >>"$0.n"; echo "{\\"ips\\":[{\\"address\\":\\"10.43.0.$(wc -l <"$0.n")/24\\"}]}"; exit 0; }`,
      /10\.43\.0\.\d+ does not reach 10\.43\.0\.\d+/,
    ],
  ] as const)('that does less than it says is found out: %s', async ([, script, words], { task }) => {
    const variant = await crooked(script, 20 + task.name.length);
    await expect(measure(variant, pods, scratch)).rejects.toThrow(words);
    for (const pod of pods) await pod.ip('link del eth0').catch(() => {});
  });
});
