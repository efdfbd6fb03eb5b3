import { describe, expect, test } from 'vitest';
import type { Attachment, Mode } from '../../src/cni/types.ts';
import { KernelError, NativeError } from '../../src/errors.ts';
import type { Kernel, Op } from '../../src/kernel/kernel.ts';
import { NetlinkKernel } from '../../src/kernel/netlinkKernel.ts';
import { AttachHost, attachment, nodeOf } from '../support/cniAttach.ts';
import type { Netns } from '../support/netns.ts';
import { thisProcess } from '../support/owner.ts';

interface Drift {
  readonly what: string;
  readonly mode: Mode;
  /** Commands of `ip`; HOSTIF stands for the host's end. */
  readonly host?: string;
  readonly pod?: string;
  readonly says: RegExp;
}

const PTP_AND_BRIDGE: readonly Omit<Drift, 'mode'>[] = [
  { what: 'default route gone', pod: 'route del default', says: /default.*eth0.*container/ },
  { what: 'IPv6 default route gone', pod: '-6 route del default', says: /default.*eth0.*container/ },
  { what: 'MTU of the pod', pod: 'link set eth0 mtu 1400', says: /eth0.*1400.*container/ },
  { what: 'MTU of the host', host: 'link set HOSTIF mtu 1400', says: /veth.*1400/ },
  { what: 'MAC of the pod', pod: 'link set eth0 address 02:00:00:00:00:09', says: /eth0.*02:00:00:00:00:09/ },
  { what: 'pod down', pod: 'link set eth0 down', says: /eth0.*down/ },
  { what: 'host down', host: 'link set HOSTIF down', says: /veth.*down/ },
  { what: 'IPv6 address gone', pod: 'addr del ADDRESS6 dev eth0', says: /fd00:42:0:1::2/ },
  { what: 'IPv4 address gone', pod: 'addr del ADDRESS4 dev eth0', says: /10\.42\.1\.2/ },
  { what: 'all gone', host: 'link del HOSTIF', says: /veth.*eth0/s },
];

const DRIFTS: readonly Drift[] = [
  ...PTP_AND_BRIDGE.flatMap((drift) => (['bridge', 'ptp'] as const).map((mode) => ({ ...drift, mode }))),
  { mode: 'bridge', what: 'no port', host: 'link set HOSTIF nomaster', says: /veth.*cni0/ },
  {
    mode: 'bridge',
    what: 'no hairpin',
    host: 'link set HOSTIF type bridge_slave hairpin off',
    says: /veth.*hairpin/,
  },
  {
    mode: 'bridge',
    what: 'no gateway',
    host: 'addr del 10.42.1.1/24 dev cni0',
    says: /10\.42\.1\.1\/24.*cni0/,
  },
  { mode: 'bridge', what: 'bridge down', host: 'link set cni0 down', says: /cni0.*down/ },
  { mode: 'ptp', what: 'no neighbour', host: 'neigh del 10.42.1.2 dev HOSTIF', says: /neigh.*10\.42\.1\.2/ },
  {
    mode: 'ptp',
    what: 'no neighbour in the pod',
    pod: 'neigh del 10.42.1.1 dev eth0',
    says: /neigh.*10\.42\.1\.1.*container/,
  },
  { mode: 'ptp', what: 'no way to the pod', host: 'route del 10.42.1.2/32', says: /route.*10\.42\.1\.2/ },
  {
    mode: 'ptp',
    what: 'no IPv6 way to the pod',
    host: '-6 route del fd00:42:0:1::2/128 proto 77',
    says: /fd00:42:0:1::2/,
  },
  { mode: 'ptp', what: 'no gateway', host: 'addr del 10.42.1.1/32 dev HOSTIF', says: /10\.42\.1\.1/ },
];

test('mode ptp: forwarding that somebody has switched off is seen, and put right by the next ADD', async () => {
  await using host = await AttachHost.create(thisProcess());
  const node = nodeOf([4, 6]);
  const made = [2, 3].map((i) => attachment(i, { mode: 'ptp', families: [4, 6] }));
  const pods = [await host.pod(), await host.pod()];
  const [a, b] = made.map((x, i) => ({ ...x, netns: pods[i]!.path }));
  await host.add(a!, node);
  expect(await host.attacher.check(a!, node)).toEqual([]);
  await host.netns.sysctl({ 'net/ipv4/ip_forward': 0, 'net/ipv6/conf/all/forwarding': 0 });
  const found = (await host.attacher.check(a!, node)).join();
  expect(found).toMatch(/ip_forward.*all.forwarding/);
  await host.add(b!, node);
  await expect.poll(() => host.attacher.check(a!, node), { timeout: 10_000 }).toEqual([]);
});

test.each<{ mode: Mode }>([{ mode: 'bridge' }, { mode: 'ptp' }])(
  'mode $mode: a host that has its default route from a router goes on listening to it, and does not begin to elsewhere',
  async ({ mode }) => {
    await using host = await AttachHost.create(thisProcess());
    await host.netns.ipBatch(['link add up0 type veth peer name up1', 'link set up0 up', 'link set up1 up']);
    await host.netns.sysctl({
      'net/ipv6/conf/all/forwarding': 0,
      'net/ipv6/conf/up0/accept_ra': 1,
      'net/ipv6/conf/up1/accept_ra': 1,
    });
    await host.netns.ip('-6 route add default via fe80::1 dev up0 proto ra');
    const pod = await host.pod();
    await host.add(attachment(2, { mode, families: [4, 6], netns: pod.path }), nodeOf([4, 6]));
    const values = ['all/forwarding', 'up0/accept_ra', 'up1/accept_ra'].map(
      (p) => `/proc/sys/net/ipv6/conf/${p}`,
    );
    expect(await host.netns.run(['cat', ...values])).toBe('1\n2\n1\n');
  },
);

describe('CHECK names what differs, and only that', () => {
  test.each(DRIFTS)('$mode: $what', async ({ mode, host: onHost, pod: inPod, says }) => {
    await using host = await AttachHost.create(thisProcess());
    const pod = await host.pod();
    const node = nodeOf([4, 6]);
    const a = attachment(2, { mode, families: [4, 6], netns: pod.path });
    await host.add(a, node);
    expect(await host.attacher.check(a, node, host.inUse)).toEqual([]);
    const lengths = mode === 'ptp' ? ['32', '128'] : ['24', '64'];
    const words = (text: string) =>
      text
        .replace('HOSTIF', a.hostIf)
        .replace('ADDRESS4', `10.42.1.2/${lengths[0]}`)
        .replace('ADDRESS6', `fd00:42:0:1::2/${lengths[1]}`);
    if (onHost) await host.netns.ip(words(onHost));
    if (inPod) await pod.ip(words(inPod));
    const before = [await host.portrait(), await host.portrait(pod)];
    const found = await host.attacher.check(a, node, host.inUse);
    expect(found.join('\n')).toMatch(says);
    // It only looks.
    expect([await host.portrait(), await host.portrait(pod)]).toEqual(before);
    expect(new Set(found).size).toBe(found.length);
  });

  test('a pod whose node has moved misses nothing: neither the new gateway nor a larger MTU, before and after the next pod', async () => {
    await using host = await AttachHost.create(thisProcess());
    const pods = [await host.pod(), await host.pod()];
    const [a, b] = pods.map((pod, i) =>
      attachment(2, { families: [4, 6], netns: pod.path, subnet: i ? 9 : 1 }),
    );
    await host.add(a!, nodeOf([4, 6]));
    const now = nodeOf([4, 6], 9, 1460);
    expect(await host.attacher.check(a!, now, host.inUse)).toEqual([]);
    await host.attacher.add({ ...b!, containerId: 'other', hostIf: 'veth00000000abc' }, now, () => true);
    expect(await host.attacher.check(a!, now, host.inUse)).toEqual([]);
    // Its own it does miss, and what no pod can do with.
    await host.netns.ip('addr del 10.42.1.1/24 dev cni0');
    await host.netns.ip('link set cni0 mtu 1300');
    const found = (await host.attacher.check(a!, now, host.inUse)).join('\n');
    expect(found).toMatch(/10\.42\.1\.1\/24.*cni0/);
    expect(found).toMatch(/cni0.*mtu/i);
    expect(found).not.toContain('10.42.9');
  });

  test('another interface of the name', async () => {
    await using host = await AttachHost.create(thisProcess());
    const pod = await host.pod();
    const a = attachment(2, { netns: pod.path });
    await host.add(a, nodeOf([4]));
    await pod.ipBatch([
      'link set eth0 down',
      'link set eth0 name old0',
      `link add eth0 address ${a.mac} mtu 1450 type veth peer name other`,
      'link set eth0 up',
    ]);
    const found = await host.attacher.check(a, nodeOf([4]), host.inUse);
    expect(found).toContain(`link ${a.hostIf} is not the other end of eth0 in the container`);
  });

  test('sysctls of the pod', async () => {
    await using host = await AttachHost.create(thisProcess());
    const pod = await host.pod();
    const a = attachment(2, { families: [6], netns: pod.path });
    await host.add(a, nodeOf([6]));
    await pod.sysctl({ 'net/ipv6/conf/eth0/accept_ra': 1 });
    const found = await host.attacher.check(a, nodeOf([6]), host.inUse);
    expect(found).toHaveLength(1);
    expect(found[0]).toMatch(/accept_ra/);
  });
});

const EPERM = (op: Op): KernelError =>
  new KernelError({
    errno: 1,
    code: 'EPERM',
    op: `${op.verb} ${op.object.kind}`,
    object: 'what a test says',
  });

/** Kernels of which one operation, counted over all of them, fails. */
class Faults {
  /** Number of the operation that is refused. */
  refuse = -1;
  /** Number of the batch whose answer never comes. */
  lose = -1;
  /** Number of the socket that cannot be had. */
  closed = -1;
  ops = 0;
  batches = 0;
  sockets = 0;

  reset(): void {
    Object.assign(this, { refuse: -1, lose: -1, closed: -1, ops: 0, batches: 0, sockets: 0 });
  }

  open(netnsFd: number): Kernel {
    if (this.sockets++ === this.closed) throw new NativeError('no socket, says a test');
    const kernel = NetlinkKernel.open({ netnsFd });
    const apply = kernel.apply.bind(kernel);
    kernel.apply = async (ops) => {
      const isLost = this.batches++ === this.lose;
      const at = this.refuse - this.ops;
      this.ops += ops.length;
      if (at < 0 || at >= ops.length) {
        const results = await apply(ops);
        if (isLost) throw new NativeError('no answer, says a test');
        return results;
      }
      const before = at > 0 ? await apply(ops.slice(0, at)) : [];
      const after = at + 1 < ops.length ? await apply(ops.slice(at + 1)) : [];
      return [...before, EPERM(ops[at]!), ...after];
    };
    return kernel;
  }
}

describe.each(['bridge', 'ptp'] as const)('an ADD that fails leaves nothing, mode %s', (mode) => {
  const withFaults = async (
    work: (host: AttachHost, faults: Faults, pod: Netns, a: Attachment) => Promise<void>,
  ) => {
    const faults = new Faults();
    let fd = -1;
    await using host = await AttachHost.create(thisProcess(), {
      openKernel: (netnsFd) => faults.open(netnsFd ?? fd),
      onHostFd: (own) => (fd = own),
    });
    const pod = await host.pod();
    await work(host, faults, pod, attachment(2, { mode, families: [4, 6], netns: pod.path }));
  };

  const kinds = ['refuse', 'lose', 'closed'] as const;
  test.each(kinds)('each one in turn: %s', async (kind) => {
    await withFaults(async (host, faults, pod, a) => {
      const node = nodeOf([4, 6]);
      // What is shared is made first, and how many there are is counted.
      await host.add(a, node);
      await host.remove(a);
      faults.reset();
      await host.add(a, node);
      const count = { refuse: faults.ops, lose: faults.batches, closed: faults.sockets }[kind];
      await host.remove(a);
      expect(count).toBeGreaterThan(0);
      await expect.poll(() => host.netns.ip('link show')).not.toContain('veth');
      const before = await host.portrait(pod);
      for (let n = 0; n < count; n++) {
        faults.reset();
        faults[kind] = n;
        await expect(host.add(a, node), `${kind} ${n} of ${count}`).rejects.toMatchObject({
          code: 102,
          message: expect.stringMatching(/^cannot attach eth0 of container pod-2: .*a test/),
        });
        expect(await host.portrait(pod), `${kind} ${n} of ${count}`).toBe(before);
        expect(await host.netns.ip('link show')).not.toContain('veth');
        const routes = await host.netns.ip('route show');
        expect(routes).not.toContain('10.42.1.2');
      }
      faults.reset();
      await host.add(a, node);
      expect(await host.attacher.check(a, node, host.inUse)).toEqual([]);
    });
  });

  test('the bridge or the routing cannot be set up', async () => {
    await withFaults(async (host, faults, pod, a) => {
      const node = nodeOf([4, 6]);
      const before = await host.portrait(pod);
      faults.reset();
      faults.refuse = 0;
      await expect(host.add(a, node)).rejects.toMatchObject({ code: 102 });
      expect(await host.portrait(pod)).toBe(before);
      faults.reset();
      await host.add(a, node);
      expect(await host.attacher.check(a, node, host.inUse)).toEqual([]);
    });
  });
});
