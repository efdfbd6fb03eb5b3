import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DEFAULTS, EXIT } from '../../src/contract.ts';
import { Cluster } from '../support/cluster.ts';
import { FlannelHost } from '../support/flannel.ts';
import { bothWays, lossless } from '../support/flow.ts';
import { type Host, LODEN } from '../support/host.ts';
import { dump, foreignText, overlayText } from '../support/kernelText.ts';
import { Monitor } from '../support/monitor.ts';
import { pin, pinnedCluster } from '../support/pinned.ts';
import { CommandError, until } from '../support/proc.ts';
import type { Workload } from '../support/workload.ts';

const SUBNETS = `${DEFAULTS.etcdPrefix}/subnets/`;

const state = async (host: Host): Promise<string> => {
  const d = await dump(host.netns);
  return overlayText(d) + foreignText(d);
};

describe('a daemon that is started again', () => {
  let cluster: Cluster;
  let pods: readonly [Workload, Workload];
  let host: Host;
  beforeAll(async () => {
    cluster = await pinnedCluster([0, 0], { families: [4, 6], args: ['--ip-masq'] });
    host = cluster.hosts[0]!;
    pods = [await host.workload(), await cluster.hosts[1]!.workload()];
  });
  afterAll(() => cluster?.[Symbol.asyncDispose]());

  /** Nothing is lost, and nothing in the kernel and of the lease is touched. */
  async function expectNothingHappens(during: () => Promise<unknown>): Promise<void> {
    const before = await state(host);
    const leases = await cluster.etcd.list(SUBNETS);
    await using here = await Monitor.start(host);
    await using there = await Monitor.start(cluster.hosts[1]!);
    await lossless(bothWays(...pods, cluster.families), during);
    expect(here.overlay()).toEqual([]);
    expect(there.overlay()).toEqual([]);
    expect(await state(host)).toBe(before);
    const kept = ({ key, lease }: { key: string; lease: string }) => ({ key, lease });
    expect((await cluster.etcd.list(SUBNETS)).map(kept)).toEqual(leases.map(kept));
  }

  test('20 times in order', { timeout: 300_000 }, async () => {
    await expectNothingHappens(async () => {
      for (let i = 0; i < 20; i++) {
        expect(await host.stop()).toBe('status 0');
        await host.start();
      }
    });
  });

  test('20 times after being killed, at any moment of its start and life', { timeout: 300_000 }, async () => {
    await expectNothingHappens(async () => {
      for (let i = 0; i < 20; i++) {
        expect(await host.stop('SIGKILL')).toBe('SIGKILL');
        await host.start({ wait: false });
        await sleep(i * 50);
      }
      await host.ready();
    });
  });

  test('what the monitor sees is what happens', async () => {
    const before = await state(host);
    await using monitor = await Monitor.start(host);
    await host.netns.ip('route del 10.42.2.0/24');
    await expect
      .poll(() => monitor.overlay())
      .toContainEqual(expect.stringMatching(/^Deleted 10\.42\.2\.0\/24 /));
    await until('it to be told', () => monitor.overlay().some((l) => /^Deleted 10\.42\.2\.0\/24 /.test(l)));
    await until('the route to be back', async () => (await state(host)) === before);
  });

  /** `loden run` beside the running one; resolves to what it says before it ends with the status for that. */
  async function second(shared?: 'run' | 'state'): Promise<string> {
    const other = join(host.dir, 'other');
    const files = [
      ...['--run-dir', shared === 'run' ? host.runDir : join(other, 'run')],
      ...['--state-dir', shared === 'state' ? host.stateDir : join(other, 'state')],
      ...['--subnet-file', join(other, 'subnet.env')],
    ];
    const argv = [LODEN, 'run', '--etcd-endpoints', cluster.etcd.endpoint(), ...files];
    const error = await host.netns.run(argv).then(
      () => undefined,
      (e: unknown) => e,
    );
    rmSync(other, { recursive: true, force: true });
    if (!(error instanceof CommandError)) throw new Error('a second daemon ends well');
    expect(error.status).toBe(EXIT.busy);
    return error.stderr.split('\n').findLast((line) => line.startsWith('loden: '))!;
  }

  test('a second one ends and disturbs nothing', async () => {
    await expectNothingHappens(async () => {
      expect(await second('state')).toMatch(
        /another loden daemon uses the state directory .*\/state .*stop it or pass another --state-dir/,
      );
      expect(await second('run')).toMatch(
        /another loden daemon listens on .*\.sock; stop it, or choose another --run-dir/,
      );
      expect(await second()).toMatch(
        /another loden daemon already serves \/coreos\.com\/network by vxlan on this host .*; stop it first/,
      );
    });
    expect((await host.request('/readyz')).status).toBe(200);
  });
});

describe.each(['iptables', 'nft'] as const)('a flannel node with rules by %s', (masq) => {
  test('is taken over, given back and taken over again', async () => {
    await using cluster = await Cluster.create({ families: [4, 6] });
    const [loden, host] = [await cluster.addHost(), await cluster.addHost({ args: ['--ip-masq'] })];
    pin(loden, 1, cluster.families);
    await loden.start();
    const flannel = await FlannelHost.make(cluster, host, { n: 7, masq });
    // As Docker leaves it: without flanneld's rules, or ours, nothing passes.
    if (masq === 'iptables') {
      await host.netns.run(['iptables', '-P', 'FORWARD', 'DROP']);
      await host.netns.run(['ip6tables', '-P', 'FORWARD', 'DROP']);
    }
    const pods = [await loden.workload(), await host.workload()] as const;
    const flannelRules = async () => {
      const text = await host.netns.run(['nft', 'list', 'ruleset']);
      return text.split('\n').filter((line) => /flannel/i.test(line));
    };
    const overlay = async () => overlayText(await dump(host.netns));
    const made = await overlay();
    expect(await flannelRules()).not.toEqual([]);

    // What differs under Loden: the mark, who wrote the routes, the MTU that IPv6's longer header leaves.
    const adopted = made
      .replace(/^(link flannel\S+ .*?address \S+) /gm, '$1 ifalias loden ')
      .replace(/^(link flannel-v6.1 up mtu) 1450/m, '$1 1430');
    const takeOver = async () => {
      await using monitor = await Monitor.start(host);
      await lossless(bothWays(...pods, cluster.families), () => host.start());
      expect(await overlay()).toBe(adopted);
      expect(monitor.overlay().filter((line) => line.startsWith('Deleted'))).toEqual([]);
      expect(await flannelRules()).toEqual([]);
      expect(await host.netns.run(['nft', 'list', 'tables'])).toContain('table ip6 loden');
      const lease = (await cluster.etcd.list(SUBNETS)).find((kv) => kv.key === flannel.key);
      expect(JSON.parse(lease!.value)).toEqual({
        ...flannel.value,
        Loden: { node: expect.any(String), instance: expect.any(String) },
      });
      expect(host.subnetEnv()).toEqual({ ...flannel.subnetEnv, FLANNEL_MTU: '1430' });
    };
    await takeOver();

    // flanneld finds its lease by its address, its devices by their options, and puts everything over what there is.
    await lossless(bothWays(...pods, cluster.families), async () => {
      await host.stop();
      expect(await overlay()).toBe(adopted);
      expect(await cluster.etcd.list(SUBNETS)).toHaveLength(2);
      await flannel.writeLease();
      await flannel.sync();
      await flannel.writeRules();
    });
    await takeOver();
  });
});

test('of two daemons that start at once, one serves', async () => {
  await using cluster = await Cluster.create();
  const host = await cluster.addHost();
  await host.start({ wait: false });
  const other = join(host.dir, 'other');
  const argv = [LODEN, 'run', '--etcd-endpoints', cluster.etcd.endpoint(), '--run-dir', `${other}/run`];
  const files = ['--state-dir', `${other}/state`, '--subnet-file', `${other}/subnet.env`];
  await using rival = await host.netns.start([...argv, ...files], { log: `${host.dir}/rival.log` });
  const lost = await Promise.race([host.daemon.exited, rival.exited]);
  expect(lost).toBe(`status ${EXIT.busy}`);
  const ready = host.daemon.ended === undefined ? host.ready() : rival.saying(/"msg":"ready"/);
  await ready;
  expect(await cluster.etcd.list(SUBNETS)).toHaveLength(1);
});
