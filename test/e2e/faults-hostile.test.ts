import { expect, test } from 'vitest';
import { Cluster } from '../support/cluster.ts';
import { bothWays, lossless } from '../support/flow.ts';
import type { Host } from '../support/host.ts';
import { dump, foreignText, overlayText } from '../support/kernelText.ts';
import {
  BESIDE_GHOSTS,
  caughtUp,
  flannelValue,
  ghost,
  inStep,
  keyOf,
  leases,
  peersInKernel,
  status,
  subnetOf,
} from '../support/leases.ts';

/** What is under `<prefix>/subnets/`, by name. */
type Values = Readonly<Record<string, string>>;

const VALUE = ghost(50).value;
const value = (changes: object): string => JSON.stringify({ ...JSON.parse(VALUE), ...changes });

/** Keys and values that cannot be read. */
const UNREADABLE: Values = {
  foo: 'bar',
  '': VALUE,
  '../config': '{}',
  '10.42.150.0': VALUE,
  '10.42.300.0-24': VALUE,
  '10.42.150.0-24hi': VALUE,
  '10.42.150.1-24': VALUE,
  '0.0.0.0-0': VALUE,
  '0.0.0.0-33': VALUE,
  '&2001::-56': VALUE,
  'fd00:42::-64': VALUE,
  '10.42.151.0-24': 'not JSON',
  '10.42.152.0-24': '[]',
  '10.42.153.0-24': 'null',
  '10.42.154.0-24': value({ PublicIP: 3_221_225_985 }),
  '10.42.155.0-24': value({ PublicIP: ['192.0.2.155'] }),
  '10.42.156.0-24': value({ BackendType: { vxlan: true } }),
  '10.42.157.0-24': value({ Loden: { node: '../../etc/passwd' } }),
  '10.42.158.0-24': value({ padding: 'x'.repeat(1_000_000) }),
  '10.42.159.0-24': `{"PublicIP":"192.0.2.159","BackendData":${'['.repeat(20_000)}${']'.repeat(20_000)}}`,
  '10.42.160.0-24': value({ PublicIP: '0.0.0.0' }),
};

/** Leases that can be read and must not be believed, in a cluster where `own` and `peer` are hosts' subnets. */
function unbelievable(own: string, peer: string, peerMac: string): Values {
  const at = (PublicIP: string) => value({ PublicIP });
  const data = (BackendData: unknown) => value({ BackendData });
  const mac = '0e:00:00:00:02:01';
  return {
    '128.0.0.0-1': VALUE,
    '192.0.2.0-24': VALUE,
    '10.42.0.0-16': VALUE,
    [own.replace('.0/24', '.128-25')]: VALUE,
    [peer.replace('.0/24', '.0-25')]: VALUE,
    '0.0.0.0-0&fd00:42::-64': VALUE,
    '10.42.170.0-24': at(peer.replace('.0/24', '.2')),
    '10.42.171.0-24': at('10.42.171.1'),
    '10.42.172.0-24': at('127.0.0.1'),
    '10.42.173.0-24': at('224.0.0.1'),
    '10.42.174.0-24': at('255.255.255.255'),
    '10.42.175.0-24': data({ VNI: 1, VtepMAC: '01:00:5e:00:00:01' }),
    '10.42.176.0-24': data({ VNI: 1, VtepMAC: '00:00:00:00:00:00' }),
    '10.42.177.0-24': data({ VNI: 1, VtepMAC: peerMac }),
    '10.42.178.0-24': data({ VNI: 'one', VtepMAC: mac }),
    '10.42.179.0-24': data({ VNI: 1, VtepMAC: 7 }),
    '10.42.180.0-24': data(mac),
    '10.42.181.0-24': data(null),
    '10.42.182.0-24': value({ BackendType: 'host-gw' }),
  };
}

const kernel = async (host: Host): Promise<string> => {
  const now = await dump(host.netns);
  return overlayText(now) + foreignText(now);
};

/** How often the daemon has logged something about each name. */
function told(host: Host, names: readonly string[]): Record<string, number> {
  const about = host.logs().map((line) => {
    if (line.event === 'set-aside') return line.key;
    return /^peer (\S*):/.exec(String(line.problem))?.[1];
  });
  return Object.fromEntries(names.map((name) => [name, about.filter((a) => a === name).length]));
}

test('keys, values and leases that are wrong touch nobody, are counted and told once', async () => {
  await using cluster = await Cluster.start(2, { config: BESIDE_GHOSTS });
  const { etcd, hosts } = cluster;
  const [one, two] = hosts as [Host, Host];
  const pods = [await one.workload(), await two.workload()] as const;
  await etcd.put(ghost(1).key, ghost(1).value);
  await inStep(cluster);
  const [own, peer] = [await subnetOf(one), await subnetOf(two)];
  const { VtepMAC } = JSON.parse((await leases(etcd)).get(peer)!.value).BackendData;
  const wrong = unbelievable(own, peer, VtepMAC);
  const names = [...Object.keys(UNREADABLE), ...Object.keys(wrong)];
  const once = Object.fromEntries(names.map((name) => [name, 1]));
  const before = [await kernel(one), await kernel(two)];

  const expectUntouched = async () => {
    await caughtUp(cluster);
    for (const [i, host] of hosts.entries()) {
      expect(await kernel(host)).toBe(before[i]);
      const { setAside, problems, ready, reason, lease } = await status(host);
      expect({ setAside, ready, reason, state: lease.state }).toEqual({
        setAside: Object.keys(UNREADABLE).length,
        ready: true,
        reason: null,
        state: 'held',
      });
      const refused = problems.map((problem) => /^peer (\S+):/.exec(problem)?.[1]);
      expect(refused.sort()).toEqual(Object.keys(wrong).sort());
    }
  };

  await lossless(bothWays(...pods), async () => {
    // Some of it is long: one transaction for each.
    for (const [name, text] of Object.entries({ ...UNREADABLE, ...wrong }))
      await etcd.put(keyOf('') + name, text);
    await expectUntouched();

    // All of it is read again.
    await etcd.stop();
    await etcd.start();
    await expectUntouched();
    expect(told(two, names)).toEqual(once);
    // By a daemon that knows no better, too.
    await one.restart();
    await expectUntouched();

    // Whoever is right is served meanwhile.
    await etcd.put(ghost(2).key, ghost(2).value);
    await caughtUp(cluster);
    for (const host of hosts) expect(await peersInKernel(host)).toHaveProperty([ghost(2).subnet]);
    await etcd.delete(ghost(2).key);
    await expectUntouched();

    for (const name of names) await etcd.delete(keyOf('') + name);
    await inStep(cluster);
    for (const [i, host] of hosts.entries()) {
      expect(await status(host)).toMatchObject({ setAside: 0, problems: [] });
      expect(await kernel(host)).toBe(before[i]);
    }
  });
  expect(told(two, names)).toEqual(once);
});

test('a network in which every subnet is taken by nonsense: who has a lease keeps it, who has none waits and says so', async () => {
  await using cluster = await Cluster.start(2);
  const [one, two] = cluster.hosts as [Host, Host];
  const pods = [await one.workload(), await two.workload()] as const;
  await lossless(bothWays(...pods), async () => {
    await cluster.etcd.put(keyOf('10.42.0.0/16'), flannelValue('192.0.2.150', '0e:00:00:00:02:01'));
    const late = await cluster.addHost();
    await late.start({ wait: false });
    await late.logged('that nothing is free', (line) => line.event === 'exhausted' && line.level === 'error');
    expect((await status(late)).reason).toContain('no free IPv4 subnet');
    await cluster.etcd.delete(keyOf('10.42.0.0/16'));
    await late.ready();
    await inStep(cluster);
  });
});
