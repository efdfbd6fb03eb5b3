import { once } from 'node:events';
import { readdirSync, watch } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { CNI } from '../../src/contract.ts';
import { type Traces, traces } from '../support/cniTraces.ts';
import type { Containerd } from '../support/containerd.ts';
import { CriCluster, lossesBetween } from '../support/criCluster.ts';
import type { Pod } from '../support/criPod.ts';
import { ping } from '../support/ping.ts';
import { until } from '../support/proc.ts';

/** Milliseconds in which a restarted daemon must have settled what its predecessor left. */
const SETTLED = 10_000;

/** What an ADD fails with whose daemon was killed in the middle of it. */
const KILLED = /ended the connection before it had answered/;

describe.each([{ Type: 'vxlan' }, { Type: 'udp' }])('the daemon under running pods, $Type', (backend) => {
  let kubelets: CriCluster;
  let pods: readonly Pod[];
  beforeAll(async () => {
    kubelets = await CriCluster.start(2, { backend });
    const [a, b] = kubelets.nodes as [Containerd, Containerd];
    pods = await Promise.all([a.runPod(), a.runPod(), b.runPod()]);
  });
  afterAll(() => kubelets?.[Symbol.asyncDispose]());

  /** Beside on the host, and across. */
  async function expectKept(during: (node: Containerd) => Promise<void>): Promise<void> {
    const [node] = kubelets.nodes as [Containerd];
    const before = await traces(node.host);
    expect(await lossesBetween(pods, () => during(node))).toEqual([]);
    expect(await traces(node.host)).toEqual(before);
    const more = await node.runPod();
    expect(await ping(await pods[2]!.netns(), more.ip, 5)).toBeDefined();
    await more.remove();
    expect(await traces(node.host)).toEqual(before);
  }

  // By udp the daemon's own process forwards: only who takes over from it loses nothing.
  if (backend.Type === 'vxlan') {
    test('stopped, killed and started again loses no packet', async () => {
      await expectKept(async ({ host }) => {
        for (const signal of ['SIGTERM', 'SIGKILL', 'SIGTERM'] as const) await host.restart(signal);
      });
    });
  }

  test('taken over from loses no packet', async () => {
    await expectKept(async ({ host }) => {
      for (let i = 0; i < 2; i++) await host.takeOver();
    });
  });
});

describe('the daemon while pods are made', () => {
  let kubelets: CriCluster;
  let far: Pod;
  let node: Containerd;
  /** What there was when a test began: nothing, unless an earlier one has failed. */
  let before: Traces;
  beforeEach(async () => {
    for (const id of await node.podIds()) await node.removePod(id);
    before = await traces(node.host);
  });
  beforeAll(async () => {
    kubelets = await CriCluster.start(2);
    node = kubelets.nodes[0]!;
    far = await kubelets.nodes[1]!.runPod();
  });
  afterAll(() => kubelets?.[Symbol.asyncDispose]());

  /** Resolves when the daemon writes down the next attachment: it is in the middle of an ADD. */
  function nextRecord(): Promise<unknown> {
    const watcher = watch(join(node.host.stateDir, CNI.attachments));
    return once(watcher, 'change').finally(() => watcher.close());
  }

  /**
   * Three pods are made in each round, and something happens meanwhile: in every other round in the middle of an ADD, else at a moment
   * that moves through the time it takes. Resolves to the pods, one more made in the end, and to what the others failed with.
   */
  async function makeMeanwhile(rounds: number, happens: () => Promise<void>) {
    const made: Pod[] = [];
    const failed: string[] = [];
    const make = () =>
      node.runPod({ timeout: 60_000 }).then(
        (pod) => made.push(pod),
        (error: Error) => failed.push(error.message),
      );
    const start = performance.now();
    await make();
    const usual = performance.now() - start;
    for (let i = 0; i < rounds; i++) {
      const adding = nextRecord();
      const making = [make(), make(), make()];
      await (i % 2 === 0 ? sleep((usual * i) / rounds) : Promise.race([adding, Promise.all(making)]));
      await happens();
      await Promise.all(making);
    }
    await make();
    return { made, failed };
  }

  /** What was made works, what failed is gone once it is removed, as the kubelet would; and then everything. */
  async function expectRightOrNothing({ made, failed }: { made: Pod[]; failed: string[] }): Promise<void> {
    expect(made.length, failed.join('\n')).toBeGreaterThan(1);
    expect(new Set(made.map((pod) => pod.ip)).size).toBe(made.length);
    const distant = await far.netns();
    const answers = await Promise.all(made.map((pod) => ping(distant, pod.ip, 5)));
    expect(made.filter((_, i) => answers[i] === undefined).map((pod) => pod.ip)).toEqual([]);

    const ids = new Set(made.map((pod) => pod.id));
    const halves = (await node.podIds()).filter((id) => !ids.has(id));
    for (const id of halves) await node.removePod(id);
    const settled = async () => {
      const now = await traces(node.host);
      const ips = [...before.addresses, ...made.map((pod) => pod.ip)].toSorted();
      return (
        JSON.stringify(now.addresses) === JSON.stringify(ips) &&
        now.veths.length === before.veths.length + made.length &&
        now.records.length === before.records.length + made.length &&
        now.queued.length === 0
      );
    };
    await until('nothing but what was made', settled, SETTLED).catch(async (error: Error) => {
      const left = { made: made.map((p) => p.ip), failed, ...(await traces(node.host)) };
      throw new Error(`${error.message}: ${JSON.stringify(left, null, 1)}`);
    });

    await Promise.all(made.map((pod) => pod.remove()));
    expect(await traces(node.host)).toEqual(before);
    expect(readdirSync(node.netnsDir)).toEqual([]);
    expect(await node.podIds()).toEqual([]);
  }

  test.each(['SIGTERM', 'SIGKILL'] as const)('is ended by %s and started again and again', async (signal) => {
    const outcome = await makeMeanwhile(6, () => node.host.restart(signal));
    // A runtime sees nothing of a restart; of a daemon that is killed only what it was just being asked.
    expect(outcome.failed.filter((why) => signal === 'SIGTERM' || !KILLED.test(why))).toEqual([]);
    await expectRightOrNothing(outcome);
  });

  test('is taken over from again and again', async () => {
    const outcome = await makeMeanwhile(4, () => node.host.takeOver());
    // A runtime sees nothing of it.
    expect(outcome.failed).toEqual([]);
    await expectRightOrNothing(outcome);
  });

  test('is away for long: pods fail with the reason, and what they leave is cleared by the next daemon', async () => {
    const pod = await node.runPod();
    await node.host.stop('SIGKILL');
    const socket = `${node.host.runDir}/loden.sock`;
    await expect(node.runPod()).rejects.toThrow(socket);
    await pod.remove();
    await node.host.start();
    for (const id of await node.podIds()) await node.removePod(id);
    const cleared = async () => JSON.stringify(await traces(node.host)) === JSON.stringify(before);
    await until('nothing to be left', cleared, SETTLED);
    const after = await node.runPod();
    expect(await ping(await far.netns(), after.ip, 5)).toBeDefined();
    await after.remove();
  });
});
