import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { runDelegate } from '../../src/cni/delegates.ts';
import { CODE } from '../../src/cni/errors.ts';
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

test('a queued DEL runs the delegate by the daemon itself, and holds nobody up', async () => {
  await host.open();
  await play(callOf('ADD', 'c1'));
  await play(callOf('ADD', 'c2'));
  await host.close();
  calls();
  writeFileSync(fail('DEL', 'c2'), '');
  const queue = join(host.stateDir, 'cni', 'del');
  const queued = (n: number) => join(queue, `${BigInt(Date.now() + n) * 1_000_000n}-7.json`);
  writeFileSync(queued(1), JSON.stringify(callOf('DEL', 'c1')));
  writeFileSync(queued(2), JSON.stringify(callOf('DEL', 'c2')));
  await host.open();
  await until('the queue to be drained', () => host.service.json().queued === 1);
  expect(calls()).toEqual(['DEL c1 eth0', 'DEL c2 eth0']);
  expect([kept().length, readdirSync(queue).length]).toEqual([1, 1]);
  await host.close();
  // One that never ends is ended with the daemon, and stays in the queue.
  rmSync(fail('DEL', 'c2'));
  writeFileSync(join(host.dir, 'hang'), '');
  const opening = host.open();
  await until('the delegate to run', () => existsSync(join(host.dir, 'calls')));
  expect(await host.ask('STATUS')).toEqual({ kind: 'done' });
  await host.close();
  await opening;
  expect(readdirSync(queue)).toHaveLength(1);
});
