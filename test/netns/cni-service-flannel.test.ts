import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { runDelegate } from '../../src/cni/delegates.ts';
import { CODE } from '../../src/cni/errors.ts';
import { saveScratch } from '../../src/cni/flannel/scratch.ts';
import type { DelegateOutcome, NodeState, PluginAnswer, PluginCall } from '../../src/cni/types.ts';
import { nodeOf, ServiceHost } from '../support/cniService.ts';
import { Netns } from '../support/netns.ts';
import { thisProcess } from '../support/owner.ts';
import { until } from '../support/proc.ts';

/** Type flannel, the binary's part played by the test: delegates are scripts that note what they get. */

let stack: AsyncDisposableStack;
let host: ServiceHost;
let bin: string;
beforeEach(async () => {
  stack = new AsyncDisposableStack();
  const netns = stack.use(await Netns.create(thisProcess(), 'node'));
  host = new ServiceHost(netns, thisProcess().tempDir('flannel'));
  stack.defer(() => host.close());
  bin = join(host.dir, 'bin');
  mkdirSync(bin);
  const script = `#!/bin/sh
dir=${host.dir}
config=$(cat)
echo "$CNI_COMMAND $CNI_CONTAINERID $CNI_IFNAME" >>"$dir/calls"
[ ! -e "$dir/fail-$CNI_COMMAND-$CNI_CONTAINERID" ] || { echo '{"cniVersion":"1.0.0","code":42,"msg":"no luck"}'; exit 1; }
[ ! -e "$dir/hang" ] || exec sleep 60
[ ! -e "$dir/says" ] || [ $CNI_COMMAND != ADD ] || { cat "$dir/says"; exit 0; }
case $CNI_COMMAND in ADD) echo '{"cniVersion":"1.1.0","ips":[],"mine":1}' ;; esac
`;
  writeFileSync(join(bin, 'bridge'), script);
  chmodSync(join(bin, 'bridge'), 0o755);
});
afterEach(() => stack.disposeAsync());

const config = () => ({
  type: 'flannel',
  dataDir: join(host.dir, 'flannel'),
  ipam: { dataDir: host.dataDir },
  delegate: { isDefaultGateway: true },
});
const callOf = (command: string, id?: string, more: object = {}): PluginCall => {
  const call = host.call(command, id === undefined ? {} : { id, netns: '/proc/self/ns/net' }, {
    ...config(),
    ...more,
  });
  return { ...call, env: { ...call.env, CNI_PATH: bin } };
};
/** As the binary does: run what is named, stop at the first that fails, ask again. */
async function play(call: PluginCall, rounds = 8): Promise<PluginAnswer> {
  const delegated: DelegateOutcome[] = [];
  for (let round = 0; round < rounds; round++) {
    const answer = await host.service.handle(delegated.length > 0 ? { ...call, delegated } : call);
    if (answer.kind !== 'delegates') return answer;
    for (const delegate of answer.delegates) {
      const outcome = await runDelegate(call, delegate, AbortSignal.timeout(10_000));
      delegated.push(outcome);
      if (outcome.exit !== 0) break;
    }
    // The plugin's own limit (cni/delegates.h).
    expect(delegated.length).toBeLessThanOrEqual(64);
  }
  throw new Error('no end');
}
const calls = () => {
  const file = join(host.dir, 'calls');
  const lines = existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n') : [];
  rmSync(file, { force: true });
  return lines;
};
const kept = () => {
  const dir = join(host.dir, 'flannel');
  return existsSync(dir) ? readdirSync(dir) : [];
};
const fail = (command: string, id: string) => join(host.dir, `fail-${command}-${id}`);

test("an ADD's result is the delegate's, its configuration is kept for the DEL, which is done once", async () => {
  await host.open();
  expect(await play(callOf('ADD', 'c1'))).toEqual({
    kind: 'done',
    result: { cniVersion: '1.1.0', ips: [], mine: 1 },
  });
  expect(kept()).toHaveLength(1);
  expect(await play(callOf('CHECK', 'c1', { prevResult: { cniVersion: '1.1.0', ips: [] } }))).toEqual({
    kind: 'done',
  });
  expect(await play(callOf('DEL', 'c1'))).toEqual({ kind: 'done' });
  expect(await play(callOf('DEL', 'c1'))).toEqual({ kind: 'done' });
  expect(calls()).toEqual(['ADD c1 eth0', 'CHECK c1 eth0', 'DEL c1 eth0']);
  expect(kept()).toEqual([]);
});

test('a delegate that fails is taken back by its DEL, and its own error is the answer; what its DEL leaves is kept', async () => {
  await host.open();
  writeFileSync(fail('ADD', 'c1'), '');
  expect(await play(callOf('ADD', 'c1'))).toMatchObject({
    error: { code: 42, msg: expect.stringContaining('no luck') },
  });
  expect(calls()).toEqual(['ADD c1 eth0', 'DEL c1 eth0']);
  expect(kept()).toEqual([]);
  writeFileSync(fail('DEL', 'c1'), '');
  expect(await play(callOf('ADD', 'c1'))).toMatchObject({ error: { code: 42 } });
  expect(kept()).toHaveLength(1);
  rmSync(fail('DEL', 'c1'));
  expect(await play(callOf('DEL', 'c1'))).toEqual({ kind: 'done' });
  expect(kept()).toEqual([]);
});

test('without a lease, or without the file that is named, nothing is run', async () => {
  const node: NodeState = { ready: false, reason: 'etcd is away' };
  await host.open({ node: () => node });
  expect(await play(callOf('ADD', 'c1'))).toMatchObject({
    error: { code: CODE.tryAgainLater, msg: expect.stringContaining('etcd is away') },
  });
  expect(await play(callOf('ADD', 'c1', { subnetFile: '/nonexistent/subnet.env' }))).toMatchObject({
    error: { msg: expect.stringContaining('/nonexistent/subnet.env') },
  });
  expect(calls()).toEqual([]);
});

test('GC deletes what is not valid, and goes on past what fails', async () => {
  await host.open({ node: () => nodeOf('10.42.1.0/24') });
  for (const id of ['a', 'b', 'c', 'd']) await play(callOf('ADD', id));
  calls();
  writeFileSync(fail('DEL', 'b'), '');
  const valid = { 'cni.dev/valid-attachments': [{ containerID: 'c', ifname: 'eth0' }] };
  expect(await play(callOf('GC', undefined, valid))).toMatchObject({ error: { code: 42 } });
  expect(calls().sort()).toEqual(['DEL a eth0', 'DEL b eth0', 'DEL d eth0']);
  expect(kept()).toHaveLength(2);
  rmSync(fail('DEL', 'b'));
  expect(await play(callOf('GC', undefined, valid))).toEqual({ kind: 'done' });
  expect(calls()).toEqual(['DEL b eth0']);
  expect(await play(callOf('GC', undefined, valid))).toEqual({ kind: 'done' });
  expect([calls(), kept().length]).toEqual([[], 1]);
});

const queue = () => join(host.stateDir, 'cni', 'del');
/** A DEL that was asked for so many milliseconds from now. */
const enqueue = (ms: number, call: PluginCall) => {
  mkdirSync(queue(), { recursive: true, mode: 0o700 });
  writeFileSync(join(queue(), `${BigInt(Date.now() + ms) * 1_000_000n}-7.json`), JSON.stringify(call));
};

test.each(['garbage', 'null', '[]', '{"code":7,"msg":"it broke"}', ''])(
  'a delegate that succeeds with %j has failed, and is taken back',
  async (said) => {
    await host.open();
    writeFileSync(join(host.dir, 'says'), said);
    expect(await play(callOf('ADD', 'c1'))).toMatchObject({ error: { code: CODE.decodingFailure } });
    expect([calls(), kept()]).toEqual([['ADD c1 eth0', 'DEL c1 eth0'], []]);
    rmSync(join(host.dir, 'says'));
    expect(await play(callOf('ADD', 'c1'))).toMatchObject({ kind: 'done' });
  },
);

test('a second ADD of an interface is refused, and leaves the first alone; after a reboot it is the first', async () => {
  await host.open();
  await play(callOf('ADD', 'c1'));
  calls();
  expect(await play(callOf('ADD', 'c1'))).toMatchObject({
    error: { code: CODE.invalidEnvironment, msg: expect.stringContaining('delete it first') },
  });
  expect([calls(), kept().length]).toEqual([[], 1]);
  // One that is under way, too: nobody knows what its delegate has done so far.
  expect(await host.service.handle(callOf('ADD', 'c2'))).toMatchObject({ kind: 'delegates' });
  expect(await play(callOf('ADD', 'c2'))).toMatchObject({ error: { code: CODE.tryAgainLater } });
  expect(calls()).toEqual([]);
  await host.close();
  await host.open({ boot: { id: 'boot-2', since: 0 } });
  for (const id of ['c1', 'c2']) expect(await play(callOf('ADD', id))).toMatchObject({ kind: 'done' });
  expect(calls()).toEqual(['ADD c1 eth0', 'ADD c2 eth0']);
});

test('an ADD that could not be undone may be tried again', async () => {
  await host.open();
  for (const command of ['ADD', 'DEL']) writeFileSync(fail(command, 'c1'), '');
  expect(await play(callOf('ADD', 'c1'))).toMatchObject({ error: { code: 42 } });
  for (const command of ['ADD', 'DEL']) rmSync(fail(command, 'c1'));
  expect(await play(callOf('ADD', 'c1'))).toMatchObject({ kind: 'done' });
});

test('a DEL between the rounds of an ADD ends it, and a GC passes it over', async () => {
  await host.open();
  const add = callOf('ADD', 'c1');
  expect(await host.service.handle(add)).toMatchObject({ kind: 'delegates' });
  const gc = callOf('GC', undefined, { 'cni.dev/valid-attachments': [] });
  expect(await play(gc)).toEqual({ kind: 'done' });
  expect([calls(), kept().length]).toEqual([[], 1]);
  await play(callOf('DEL', 'c1'));
  expect(kept()).toEqual([]);
  calls();
  const added = { exit: 0, stdout: '{"cniVersion":"1.0.0","ips":[]}' };
  const undo = await host.service.handle({ ...add, delegated: [added] });
  expect(undo).toMatchObject({ delegates: [{ plugin: 'bridge', env: { CNI_COMMAND: 'DEL' } }] });
  const end = await host.service.handle({ ...add, delegated: [added, { exit: 0, stdout: '' }] });
  expect(end).toMatchObject({ error: { code: CODE.tryAgainLater, msg: expect.stringContaining('deleted') } });
});

test('a queued DEL does not end what was added after it', async () => {
  await host.open();
  await play(callOf('ADD', 'c1'));
  calls();
  enqueue(-10_000, callOf('DEL', 'c1'));
  await until('the queue to be drained', () => readdirSync(queue()).length === 0);
  expect([calls(), kept().length]).toEqual([[], 1]);
  enqueue(10_000, callOf('DEL', 'c1'));
  await until('the later one to be done', () => readdirSync(queue()).length === 0);
  expect([calls(), kept()]).toEqual([['DEL c1 eth0'], []]);
});

test('nor what flannel has added after it, of which only host-local knows', async () => {
  await host.open();
  const store = join(host.dataDir, 'pods');
  mkdirSync(store, { recursive: true });
  writeFileSync(join(store, '10.42.1.9'), 'c1\r\neth0');
  enqueue(-10_000, callOf('DEL', 'c1'));
  await until('the queue to be drained', () => readdirSync(queue()).length === 0);
  expect([calls(), existsSync(join(store, '10.42.1.9'))]).toEqual([[], true]);
  enqueue(10_000, callOf('DEL', 'c1'));
  await until('the later one to be done', () => readdirSync(queue()).length === 0);
  expect(calls()).toEqual(['DEL c1 eth0']);
});

test('GC takes as many as the plugin may run, and goes on the next time, also past what always fails', async () => {
  await host.open();
  const dir = join(host.dir, 'flannel');
  mkdirSync(dir);
  const ids = Array.from({ length: 70 }, (_, i) => `g${String(i).padStart(2, '0')}`);
  for (const id of ids)
    await saveScratch(dir, { containerId: id, ifname: 'eth0' }, { type: 'bridge', name: 'pods' });
  const gc = callOf('GC', undefined, { 'cni.dev/valid-attachments': [] });
  expect(await play(gc)).toMatchObject({
    error: { code: CODE.tryAgainLater, msg: expect.stringContaining('6 more') },
  });
  expect([calls().length, kept().length]).toEqual([64, 6]);
  expect(await play(gc)).toEqual({ kind: 'done' });
  expect([calls().length, kept()]).toEqual([6, []]);
  for (const id of ids.slice(0, 8))
    await saveScratch(dir, { containerId: id, ifname: 'eth0' }, { type: 'bridge', name: 'pods' });
  // Whatever the order of the directory, the seventh comes to its turn in the second run.
  const listed = readdirSync(dir);
  for (const id of listed.slice(0, 6)) writeFileSync(fail('DEL', id), '');
  expect(await play(gc)).toMatchObject({ error: { code: CODE.tryAgainLater } });
  expect(kept()).toHaveLength(8);
  expect(await play(gc)).toMatchObject({ error: { code: 42 } });
  expect(kept().sort()).toEqual(listed.slice(0, 6).sort());
});

test('two GCs of the same words take nothing from each other, and one that is forgotten says so', async () => {
  await host.open();
  for (const id of ['a', 'b']) await play(callOf('ADD', id));
  calls();
  const gc = callOf('GC', undefined, { 'cni.dev/valid-attachments': [] });
  const first = await host.service.handle(gc);
  if (first.kind !== 'delegates') throw new Error('nothing to do');
  await play(callOf('ADD', 'A'));
  const second = await host.service.handle(gc);
  expect(second).toEqual(first);
  const outcome = { exit: 0, stdout: '' };
  expect(await host.service.handle({ ...gc, delegated: [outcome, outcome] })).toEqual({ kind: 'done' });
  expect(kept()).toEqual(['A']);
  expect(await host.service.handle({ ...gc, delegated: [outcome, outcome] })).toMatchObject({
    error: { code: CODE.tryAgainLater },
  });
  expect(kept()).toEqual(['A']);
});

test('a DEL without a kept configuration gives back what host-local has of it, and ends what type loden attached', async () => {
  await host.open();
  const store = join(host.dataDir, 'pods');
  const noted = () => readdirSync(store).filter((n) => n.startsWith('10.'));
  mkdirSync(store, { recursive: true });
  writeFileSync(join(store, '10.42.1.9'), 'c1\r\neth0');
  writeFileSync(join(store, '10.42.1.8'), 'c1\r\neth1');
  expect(await play(callOf('DEL', 'c1'))).toEqual({ kind: 'done' });
  expect(calls()).toEqual(['DEL c1 eth0']);
  // The delegate was a script; without subnet.env there is none.
  expect(await play(callOf('DEL', 'c1', { subnetFile: '/nonexistent' }))).toEqual({ kind: 'done' });
  expect([calls(), noted()]).toEqual([[], ['10.42.1.8']]);
  const pod = stack.use(await Netns.create(thisProcess(), 'pod'));
  expect(await host.ask('ADD', { id: 'c2', netns: pod.path })).toMatchObject({ kind: 'done' });
  expect(noted()).toHaveLength(2);
  expect(await play(callOf('DEL', 'c2'))).toEqual({ kind: 'done' });
  expect([noted(), host.service.json().attachments]).toEqual([['10.42.1.8'], 0]);
});

test('a GC names the namespace of the ADD, as long as the path is the same one', async () => {
  await host.open();
  const [stays, other] = [join(host.dir, 'stays'), join(host.dir, 'other')];
  for (const file of [stays, other]) writeFileSync(file, '');
  const add = (id: string, netns: string) => {
    const call = callOf('ADD', id);
    return play({ ...call, env: { ...call.env, CNI_NETNS: netns } });
  };
  await add('a', stays);
  await add('b', other);
  // Not the one it was.
  writeFileSync(`${other}.new`, '');
  renameSync(`${other}.new`, other);
  const answer = await host.service.handle(callOf('GC', undefined, { 'cni.dev/valid-attachments': [] }));
  const asked = answer.kind === 'delegates' ? answer.delegates.map((d) => d.env) : [];
  expect(asked.toSorted((x, y) => (x.CNI_CONTAINERID! < y.CNI_CONTAINERID! ? -1 : 1))).toEqual([
    { CNI_COMMAND: 'DEL', CNI_CONTAINERID: 'a', CNI_IFNAME: 'eth0', CNI_NETNS: stays },
    { CNI_COMMAND: 'DEL', CNI_CONTAINERID: 'b', CNI_IFNAME: 'eth0' },
  ]);
});

test('an ADD of a delegate that is not there leaves nothing', async () => {
  await host.open();
  const missing = { delegate: { type: 'missing' } };
  expect(await play(callOf('ADD', 'c1', missing))).toMatchObject({ kind: 'error' });
  expect(kept()).toEqual([]);
  expect(await play(callOf('DEL', 'c1', missing))).toEqual({ kind: 'done' });
});

test('a queued DEL runs the delegate by the daemon itself, and holds nobody up', async () => {
  await host.open();
  await play(callOf('ADD', 'c1'));
  await play(callOf('ADD', 'c2'));
  await host.close();
  calls();
  writeFileSync(fail('DEL', 'c2'), '');
  enqueue(1, callOf('DEL', 'c1'));
  enqueue(2, callOf('DEL', 'c2'));
  await host.open();
  await until('the queue to be drained', () => host.service.json().queued === 1);
  expect(calls().sort()).toEqual(['DEL c1 eth0', 'DEL c2 eth0']);
  expect([kept().length, readdirSync(queue()).length]).toEqual([1, 1]);
  await host.close();
  // One that never ends is ended with the daemon, and stays in the queue.
  rmSync(fail('DEL', 'c2'));
  writeFileSync(join(host.dir, 'hang'), '');
  const opening = host.open();
  await until('the delegate to run', () => existsSync(join(host.dir, 'calls')));
  expect(await host.ask('STATUS')).toEqual({ kind: 'done' });
  await host.close();
  await opening;
  expect(readdirSync(queue())).toHaveLength(1);
});
