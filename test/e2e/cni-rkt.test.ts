import { afterAll, beforeAll, expect, test } from 'vitest';
import { Cluster } from '../support/cluster.ts';
import { hostEnds } from '../support/cniTraces.ts';
import { until } from '../support/proc.ts';
import { RktHost, type RktPod } from '../support/rkt.ts';

let cluster: Cluster;
let rkts: readonly [RktHost, RktHost];
const stack = new AsyncDisposableStack();
beforeAll(async () => {
  cluster = stack.use(await Cluster.create());
  const hosts = [await cluster.addHost(), await cluster.addHost()];
  const booted = await Promise.all(hosts.map((host) => RktHost.boot(host, cluster.etcd.endpoint())));
  for (const rkt of booted) stack.use(rkt);
  rkts = booted as unknown as typeof rkts;
});
afterAll(() => stack.disposeAsync());

/** The smallest configuration of flannel, and two networks of ours: pods get what a file says, in the order of the files. */
const FLANNEL = { '10-containers.conf': { name: 'containers', type: 'flannel' } } as const;
const OURS = {
  '10-side.conf': { name: 'side', type: 'loden' },
  '20-routed.conf': { name: 'routed', type: 'loden', mode: 'ptp' },
} as const;

const inPod = (rkt: RktHost, pod: RktPod, ...command: string[]) =>
  rkt.run(['nsenter', `--net=${pod.netns}`, '--', ...command]);

const pings = (rkt: RktHost, pod: RktPod, ip: string, ...options: string[]) =>
  inPod(rkt, pod, 'busybox', 'ping', '-n', '-c', '1', '-W', '5', ...options, ip);

async function expectNothingLeft(rkt: RktHost): Promise<void> {
  expect(rkt.stored()).toEqual([]);
  expect(rkt.leftFiles()).toEqual([]);
  expect(await hostEnds(rkt.host.netns)).toEqual([]);
}

test('flannel’s smallest configuration: pods on two hosts, and results of version 0.1.0', async () => {
  for (const rkt of rkts) rkt.configure(FLANNEL);
  const [here, there] = (await Promise.all(rkts.map((rkt) => rkt.runPod()))) as [RktPod, RktPod];
  expect(here.networks).toHaveLength(1);
  await pings(rkts[0], here, there.networks[0]!.ip);

  const { result } = here.networks[0]!;
  expect(Object.keys(result).toSorted()).toEqual(['cniVersion', 'dns', 'ip4']);
  expect(result).toMatchObject({
    cniVersion: '0.1.0',
    ip4: {
      ip: expect.stringMatching(/^10\.42\.\d+\.\d+\/24$/),
      gateway: expect.stringMatching(/^10\.42\.\d+\.1$/),
      routes: [{ dst: '10.42.0.0/16' }],
    },
  });
  expect(await rkts[0].gc(here)).toEqual([]);
  expect(await rkts[1].gc(there)).toEqual([]);
  for (const rkt of rkts) await expectNothingLeft(rkt);
});

test('two networks in one pod: one container id, an address in each, none twice on the node', async () => {
  // What has another name is not rkt's.
  for (const rkt of rkts) rkt.configure({ ...OURS, '30-other.conflist': { name: 'other', plugins: [] } });
  const [rkt, far] = rkts;
  const pods = [await rkt.runPod(), await rkt.runPod()] as const;
  const distant = await far.runPod();
  for (const pod of pods) {
    expect(pod.networks.map((n) => n.ifname)).toEqual(['eth0', 'eth1']);
    for (const { ifname, ip, result } of pod.networks) {
      expect(await inPod(rkt, pod, 'ip', '-4', 'addr', 'show', ifname)).toContain(` ${ip}/`);
      expect(Object.keys(result).toSorted()).toEqual(['cniVersion', 'dns', 'ip4']);
    }
  }
  const stores = (...of: RktPod[]) =>
    of.flatMap((pod) => pod.networks.map((n) => `${n.name}/${n.ip}`)).toSorted();
  const all = pods.flatMap((pod) => pod.networks.map((n) => n.ip));
  expect(new Set(all).size, all.join()).toBe(4);
  expect(rkt.stored()).toEqual(stores(...pods));
  // From whichever of its addresses.
  for (const { ip } of pods[0].networks) await pings(rkt, pods[0], distant.networks[0]!.ip, '-I', ip);
  for (const { ip } of pods[1].networks) await pings(far, distant, ip);

  expect(await rkt.gc(pods[0])).toEqual([]);
  expect(rkt.stored()).toEqual(stores(pods[1]));
  for (const { ip } of pods[1].networks) await pings(far, distant, ip);
  // This one's namespace goes first, as when its processes end.
  await rkt.exit(pods[1]);
  expect(await rkt.gc(pods[1])).toEqual([]);
  expect(await far.gc(distant)).toEqual([]);
  for (const each of rkts) await expectNothingLeft(each);
});

test('an address can be asked for', async () => {
  const [rkt] = rkts;
  rkt.configure(OURS);
  const subnet = /FLANNEL_SUBNET=(.*)\.1\//.exec(await rkt.run(['cat', '/run/flannel/subnet.env']))![1];
  const pod = await rkt.runPod({ side: `IP=${subnet}.77` });
  expect(pod.networks[0]!.ip).toBe(`${subnet}.77`);
  expect(await rkt.gc(pod)).toEqual([]);
  await expectNothingLeft(rkt);
});

test.each([
  ['flannel', 'before', FLANNEL],
  ['flannel', 'after', FLANNEL],
  ['ours', 'before', OURS],
  ['ours', 'after', OURS],
  ['ours', 'never, but', OURS],
] as const)(
  'reboot, networks of %s: gc comes %s the daemon, once, with no namespace, and nothing is left',
  async (_, when, networks) => {
    const [rkt, far] = rkts;
    for (const each of rkts) each.configure(networks);
    const pods = [await rkt.runPod(), await rkt.runPod()];
    await rkt.reboot();
    const gc = async () => {
      for (const pod of pods) expect(await rkt.gc(pod)).toEqual([]);
    };
    if (when === 'before') await gc();
    await rkt.startDaemon();
    if (when === 'after') await gc();
    await until('nothing to be left', () => rkt.stored().length + rkt.leftFiles().length === 0).catch(
      () => {},
    );
    await expectNothingLeft(rkt);

    const [pod, distant] = [await rkt.runPod(), await far.runPod()];
    await pings(rkt, pod, distant.networks[0]!.ip);
    await Promise.all([rkt.gc(pod), far.gc(distant)]);
  },
);
