import { afterAll, beforeAll, expect, test } from 'vitest';
import type { ProbesJson } from '../../src/api/shapes.ts';
import { breakChecksums } from '../support/checksums.ts';
import type { Cluster } from '../support/cluster.ts';
import { doctor, optionsFor, trouble, type Verdict, verdicts } from '../support/doctor.ts';
import type { Host } from '../support/host.ts';
import { nthSubnet, pinnedCluster } from '../support/pinned.ts';
import { until } from '../support/proc.ts';

/** What only the daemon's probes can tell. */

let cluster: Cluster;
let hosts: readonly Host[];
let healthy: Record<string, Verdict>;

beforeAll(async () => {
  cluster = await pinnedCluster([0, 0, 0], { args: ['--probe-interval', '200ms'] });
  hosts = cluster.hosts;
  await Promise.all(hosts.map(({ at }) => cluster.underlay.wire(at)));
  // One error a second to each host would be enough for a round in ten seconds.
  await Promise.all(hosts.map(({ netns }) => netns.sysctl({ 'net/ipv4/icmp_ratelimit': 0 })));
});
afterAll(() => cluster?.[Symbol.asyncDispose]());

const look = (host: Host) => doctor(host.netns, optionsFor(host, cluster.etcd));

/** Wait for what the probes of a host say of its paths. */
const probes = (host: Host, what: string, test: (paths: ProbesJson) => boolean) =>
  until(`${host.name} to know ${what}`, async () => test(await host.get<ProbesJson>('/v1/probes')), 30_000);

const allWell = ({ paths }: ProbesJson): boolean =>
  paths.length === 2 &&
  paths.every(
    (p) =>
      p.health === 'reachable' && p.fullSize === 'passes' && p.checksum === 'good' && p.routeMtu === null,
  );

test('a healthy cluster has nothing to say', async () => {
  for (const host of hosts) {
    await probes(host, 'all paths', allWell);
    const { status, report } = await look(host);
    expect(report.findings.filter((f) => !['ok', 'info'].includes(f.level))).toEqual([]);
    expect(status).toBe(0);
    healthy = verdicts(report);
  }
});

test('a path that takes less than the hosts believe', async () => {
  const [a, b] = hosts as [Host, Host, Host];
  const mend = await cluster.underlay.narrow(a.at, b.at, 1400);
  await probes(a, 'the hole', ({ paths }) => paths.some((p) => p.pathMtu === 1350));
  const { status, report } = await look(a);
  expect({ status, now: verdicts(report) }).toEqual({ status: 0, now: { ...healthy, mtu: 'warning' } });
  expect(trouble(report, 'mtu')).toMatchObject([
    {
      cause: expect.stringMatching(
        /large packets do not pass to 10\.42\.2\.0-24 \(1350 bytes\), small ones do/,
      ),
      fix: expect.stringContaining('"MTU" of Backend'),
    },
  ]);
  await mend();
  await probes(a, 'that it is gone', allWell);
});

test('a peer that does not answer', async () => {
  const [a, b] = hosts as [Host, Host, Host];
  const heal = await cluster.underlay.cut(a.at, b.at);
  const dead = ({ paths }: ProbesJson) => paths.some((p) => p.health === 'unreachable');
  await probes(a, 'the silence', dead);
  const { status, report } = await look(a);
  expect({ status, now: verdicts(report) }).toEqual({ status: 1, now: { ...healthy, peers: 'failure' } });
  expect(trouble(report, 'peers')).toMatchObject([
    {
      cause: '1 of 2 probed peers do not answer: 10.42.2.0-24',
      fix: expect.stringContaining('loden why 10.42.2.0'),
    },
  ]);
  await heal();
  await probes(a, 'that it is back', allWell);
});

test('a device that corrupts checksums', async () => {
  const [a, b] = hosts as [Host, Host, Host];
  const end = (n: number) => nthSubnet(4, n).replace(/\/.*/, '');
  await breakChecksums(a.netns, [{ from: end(1), to: end(2), lengths: [40] }], {
    netns: cluster.underlay.netns,
    dev: b.at.port,
  });
  await probes(a, 'the device', ({ checksumOffload }) => checksumOffload?.state === 'off');
  const { status, report } = await look(a);
  expect({ status, now: verdicts(report) }).toEqual({ status: 0, now: { ...healthy, checksum: 'warning' } });
  expect(trouble(report, 'checksum')).toMatchObject([
    { subject: 'flannel.1', fix: expect.stringContaining('ethtool -K flannel.1 tx-checksum-ip-generic off') },
  ]);
});
