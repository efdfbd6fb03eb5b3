import { chmodSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { Report } from '../../src/inspect/doctor/types.ts';
import { Cluster } from '../support/cluster.ts';
import { doctor, optionsFor, trouble, verdicts } from '../support/doctor.ts';
import { LocalEtcd, makePki } from '../support/etcd.ts';
import { LODEN } from '../support/host.ts';
import { run } from '../support/proc.ts';

/** `loden doctor` where no cluster is needed, or one of its own. */

test('certificates that are about to end are named, alone', async () => {
  await using etcd = await LocalEtcd.create({ tls: true, days: 30 });
  await etcd.put('/coreos.com/network/config', '{"Network":"10.42.0.0/16","Backend":{"Type":"vxlan"}}');
  const dir = join(etcd.dir, 'soon');
  mkdirSync(dir);
  const soon = await makePki(dir);
  const args = [
    ...['--run-dir', etcd.dir, '--state-dir', etcd.dir, '--subnet-file', join(etcd.dir, 'subnet.env')],
    ...['--etcd-endpoints', etcd.endpoint, '--etcd-cafile', etcd.pki!.ca],
  ];
  const healthy = verdicts((await doctor({ run }, args)).report);
  expect(healthy).toMatchObject({ certificates: 'fine', etcd: 'fine', 'network-config': 'fine' });
  const client = ['--etcd-certfile', soon.clientCert, '--etcd-keyfile', soon.clientKey];
  const { report } = await doctor({ run }, [...args, ...client]);
  expect(verdicts(report)).toEqual({ ...healthy, certificates: 'warning' });
  expect(trouble(report, 'certificates')).toMatchObject([
    { cause: expect.stringMatching(/client\.crt \(--etcd-certfile\) expires on 20/) },
  ]);
  // One that somebody else has signed.
  const other = await doctor({ run }, [...args.slice(0, -1), soon.ca]);
  expect(trouble(other.report, 'etcd')).toMatchObject([
    { level: 'failure', cause: expect.stringMatching(/not signed by the CA in --etcd-cafile/) },
  ]);
});

test.each([
  ['udp', [4, 6]],
  ['host-gw', [4, 6]],
] as const)(
  'a healthy host with %s and IPv%s, with a daemon and without, as root and not',
  async (Type, families) => {
    await using other = await Cluster.start(1, {
      backend: { Type },
      families,
      args: ['--ip-masq', '--probe-interval', '0'],
    });
    const host = other.hosts[0]!;
    await host.workload();
    const args = optionsFor(host, other.etcd);
    const wrong = async (argv: readonly string[]) =>
      (JSON.parse(await host.netns.run([...argv, LODEN, 'doctor', '--json', ...args])) as Report).findings
        .filter((f) => f.level === 'failure' || f.level === 'warning')
        .map((f) => f.check);
    expect(await wrong([])).toEqual([]);
    chmodSync(host.dir, 0o755);
    expect(await wrong(['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'])).toEqual([]);
    await host.stop();
    expect(await wrong([])).toEqual(['daemon']);
    if (Type !== 'udp') return;
    // Who does not answer is waited for a moment, and is named.
    other.etcd.signal('SIGSTOP');
    const { report } = await doctor(host.netns, args);
    expect(trouble(report, 'etcd')).toMatchObject([
      { level: 'failure', cause: expect.stringContaining('no answer within') },
    ]);
    other.etcd.signal('SIGCONT');
  },
);
