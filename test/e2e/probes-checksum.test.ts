import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { ProbesJson } from '../../src/api/shapes.ts';
import { FILES } from '../../src/contract.ts';
import { breakChecksums, brokenPackets } from '../support/checksums.ts';
import type { Cluster } from '../support/cluster.ts';
import { flow, lossless } from '../support/flow.ts';
import type { Host } from '../support/host.ts';
import { nthSubnet, pinnedCluster } from '../support/pinned.ts';
import { until } from '../support/proc.ts';
import type { Workload } from '../support/workload.ts';

/** What lasts ten minutes for daemons that probe every ten seconds lasts six seconds here. */
const INTERVAL = '100ms';
/** Of UDP header and payload: of the prober's datagrams, and of the loss meter's. */
const LENGTHS = { probe: 40, meter: 72 } as const;

let cluster: Cluster;
let hosts: readonly [Host, Host];
let pods: readonly [Workload, Workload];

beforeAll(async () => {
  cluster = await pinnedCluster([0, 0], { env: { FLANNELD_PROBE_INTERVAL: INTERVAL } });
  hosts = cluster.hosts as unknown as [Host, Host];
  await Promise.all(hosts.map(({ at }) => cluster.underlay.wire(at)));
  // One error a second to each host would be enough for a round in ten seconds.
  await Promise.all(hosts.map(({ netns }) => netns.sysctl({ 'net/ipv4/icmp_ratelimit': 0 })));
  pods = (await Promise.all(hosts.map((host) => host.workload()))) as unknown as [Workload, Workload];
});
afterAll(() => cluster?.[Symbol.asyncDispose]());

/** What `ethtool` says the device does about checksums. */
async function offload({ netns }: Host): Promise<string> {
  const text = await netns.run(['ethtool', '-k', 'flannel.1']);
  return /tx-checksum-ip-generic: (\w+)/.exec(text)![1]!;
}

const told = async (host: Host) => (await host.get<ProbesJson>('/v1/probes')).checksumOffload;

const turned = (host: Host, state: 'on' | 'off') =>
  until(`the offload of ${host.name} to be ${state}`, async () => {
    const of = await told(host);
    return (
      of?.state === state && (state === 'on') === (of.reason === null) && (await offload(host)) === state
    );
  });

test('a device whose checksums are corrupted is told to leave them alone, until they would be right again', async () => {
  const [a, b] = hosts;
  const [podA, podB] = pods;
  const end = (n: number) => nthSubnet(4, n).replace(/\/.*/, '');
  // What a device that was just made does is known after another look at the kernel.
  await turned(a, 'on');
  expect(await told(a)).toEqual({ device: 'flannel.1', state: 'on', reason: null });

  // Datagrams of the pod arrive no more, nor those of the prober.
  let mend = async () => {};
  const broken = await flow([podA, podB], async () => {
    mend = await breakChecksums(
      a.netns,
      [
        { from: end(1), to: end(2), lengths: [LENGTHS.probe] },
        { from: podA.addr(4), to: podB.addr(4), lengths: [LENGTHS.meter] },
      ],
      { netns: cluster.underlay.netns, dev: b.at.port },
    );
    await turned(a, 'off');
  });
  expect(broken.lost).toBeGreaterThan(0);
  expect(broken.received).toBeGreaterThan(0);
  expect(await offload(b)).toBe('on');
  expect(await a.get('/v1/status')).toMatchObject({
    problems: [expect.stringMatching(/^flannel.1: it corrupts the checksums/)],
  });
  await a.logged('it', (l) => l.level === 'warn' && /offload of the device is off now/.test(String(l.msg)));
  await lossless([[podA, podB]], async () => {
    // Another daemon knows that it is to be turned on again some day, and a device made anew is like the old one.
    await a.restart();
    expect(await offload(a)).toBe('off');
    expect(await told(a)).toMatchObject({ state: 'off', reason: expect.stringMatching(/corrupts/) });
  });
  const before = await brokenPackets(a.netns);
  await a.netns.ip('link del flannel.1');
  await until('the device to be back', () =>
    offload(a).then(
      (state) => state === 'off',
      () => false,
    ),
  );

  // Its time is over: it is tried, and would still be wrong.
  await a.logged('a trial', (l) => /would still corrupt/.test(String(l.msg)), 20_000);
  expect(await brokenPackets(a.netns)).toBeGreaterThan(before);
  await turned(a, 'off');

  await mend();
  await cluster.underlay.setMtu(a.at, 1490);
  await turned(a, 'on');
  await a.logged('it', (l) => l.level === 'info' && /offload of the device is on again/.test(String(l.msg)));
  await lossless([[podA, podB]], () => turned(a, 'on'));

  const file = join(a.runDir, FILES.offload);
  expect(existsSync(file)).toBe(true);
  await a.stop();

  // Off since a daemon that has ended; the next one does not probe: it is on again, and forgotten.
  await a.netns.run(['ethtool', '-K', 'flannel.1', 'tx-checksum-ip-generic', 'off']);
  writeFileSync(file, JSON.stringify([{ device: 'flannel.1', suspects: [], delay: 6_000 }]));
  await a.start({ env: { FLANNELD_PROBE_INTERVAL: '0' } });
  await until('the offload to be on', async () => (await offload(a)) === 'on');
  await until('it to be forgotten', () => readFileSync(file, 'utf8').trim() === '[]');
  await a.stop();
  await a.loden('cleanup', ...a.dirs.slice(0, 4));
  expect(existsSync(file)).toBe(false);
});
