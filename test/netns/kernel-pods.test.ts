import { closeSync, openSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { POD_ROUTE_PROTOCOL } from '../../src/contract.ts';
import { reconcileOnce } from '../../src/kernel/once.ts';
import type { KernelObject } from '../../src/kernel/types.ts';
import { watchLinksGone } from '../../src/netlink/monitor.ts';
import { kernelIn, meteredKernelIn } from '../support/kernelIn.ts';
import { dump, foreignText } from '../support/kernelText.ts';
import type { Netns } from '../support/netns.ts';
import { ping } from '../support/ping.ts';
import {
  attach,
  attached,
  bridgeObjects,
  HOST_IF,
  HOST_MAC,
  hostObjects,
  POD_MAC,
  place,
  podObjects,
  type Wanted,
} from '../support/pods.ts';

const ADDRESSES = {
  bridge: { 4: '10.42.1.2/24', 6: 'fd00:42:1::2/64' },
  ptp: { 4: '10.42.1.2/32', 6: 'fd00:42:1::2/128' },
} as const;
const GATEWAY = { 4: '10.42.1.1', 6: 'fd00:42:1::1' } as const;

interface AddrRow {
  readonly addr_info: { local: string; prefixlen: number; scope: string; tentative?: boolean }[];
}

async function addressesOf(netns: Netns, dev: string): Promise<AddrRow['addr_info']> {
  const [row] = await netns.ipJson<AddrRow[]>(`addr show dev ${dev}`);
  return row!.addr_info;
}

const globals = (list: AddrRow['addr_info']): AddrRow['addr_info'] =>
  list.filter((a) => a.scope === 'global');
const words = (list: AddrRow['addr_info']): string[] => globals(list).map((a) => `${a.local}/${a.prefixlen}`);
const TENTATIVE = expect.objectContaining({ tentative: true });

/**
 * Neighbour solicitations that a device has sent until its link-local address can be used: one at least if it was looked
 * for duplicates. The kernel's own work queue makes the address, and makes it usable, so both come in their own time.
 */
async function probes(netns: Netns, dev: string): Promise<number> {
  await expect
    .poll(
      async () => (await addressesOf(netns, dev)).filter((a) => a.scope === 'link' && !a.tentative).length,
      { timeout: 10_000 },
    )
    .toBe(1);
  const counters = await netns.run(['cat', `/proc/net/dev_snmp6/${dev}`]);
  return Number(/^Icmp6OutNeighborSolicits\s+(\d+)$/m.exec(counters)![1]);
}

/** What the wire and the ports of a bridge make of it by themselves. */
const ITSELF =
  /"(?:NO-CARRIER|LOWER_UP|linkdown)",?|"state":"(?:disabled|forwarding)",|,"(?:bridge_id|root_id|root_port|root_path_cost|designated_\w+|config_pending|[gt]so_max_\w+|gro_max_size|promiscuity|allmulti)":"?[\w.:]+"?|,(?=\])/g;

/** One line for each address, not for all of a device. */
function eachAddress(line: string): string[] {
  if (!line.startsWith('address ')) return [line];
  const { ifname, addr_info } = JSON.parse(line.slice('address '.length)) as { ifname: string } & AddrRow;
  return globals(addr_info)
    .map((row) => `address ${ifname} ${JSON.stringify(row)}`)
    .sort();
}

/** All that a namespace holds, but for what the kernel makes by itself. */
const text = async (netns: Netns): Promise<string> =>
  foreignText(await dump(netns))
    .split('\n')
    .flatMap(eachAddress)
    .map((line) => line.replaceAll(ITSELF, '').replaceAll(ITSELF, ''))
    .filter(
      (line) =>
        !/^fdb |"(?:fe80|ff00)::\/|^route \{"type":"(?:anycast|multicast)|^route .*"fe80::/.test(line),
    )
    .join('\n');

/** Look only, on both sides. */
async function check(host: Netns, pod: Netns, wanted: Wanted, apply = false) {
  const outside = kernelIn(host);
  const inside = kernelIn(pod);
  try {
    const bridge = wanted.mode === 'bridge' ? bridgeObjects(wanted.families) : [];
    const a = await reconcileOnce(outside, [...bridge, ...hostObjects(wanted)], { apply });
    const b = await reconcileOnce(inside, podObjects(wanted), { apply });
    return {
      differences: [...a.differences, ...b.differences.map((o) => `pod: ${o}`)],
      failures: [...a.failures, ...b.failures].map((e) => e.message),
    };
  } finally {
    outside.close();
    inside.close();
  }
}

const MODES = ['bridge', 'ptp'] as const;
const FAMILIES = [[4], [6], [4, 6]] as const;
const CASES = MODES.flatMap((mode) => FAMILIES.map((families) => ({ mode, families })));

describe('a fresh pod', () => {
  test.each(CASES)('mode $mode, families $families', async (wanted) => {
    const { mode, families } = wanted;
    await using at = await place();
    const outside = meteredKernelIn(at.host);
    const inside = meteredKernelIn(at.pod);
    try {
      if (mode === 'bridge') {
        const { failures } = await reconcileOnce(outside.kernel, bridgeObjects(families), { apply: true });
        expect(failures).toEqual([]);
        await outside.kernel.linkNamed('cni0');
      }
      const before = { ...outside.traffic };
      const done = await attach(outside.kernel, inside.kernel, at.pod, wanted);
      expect(done.host).toEqual({ differences: [], failures: [] });
      expect(done.pod).toEqual({ differences: [], failures: [] });
      // Made; finished with all that stands on it. The helper's own look at the bridge is one more.
      expect(outside.traffic.waits - before.waits - 1).toBe(mode === 'bridge' ? 3 : 2);
      // Sysctls and messages one behind the other. At the end a look on both sides, which the kernel takes for a hint.
      expect(inside.traffic).toMatchObject({ waits: 2, jobs: 3 });

      expect(await addressesOf(at.pod, 'eth0').then(globals)).not.toContainEqual(TENTATIVE);
      expect(await addressesOf(at.host, HOST_IF).then(globals)).not.toContainEqual(TENTATIVE);
      expect(await probes(at.pod, 'eth0')).toBe(0);
      if (mode === 'ptp') expect(await probes(at.host, HOST_IF)).toBe(0);
      expect(words(await addressesOf(at.pod, 'eth0')).sort()).toEqual(
        families.map((f) => ADDRESSES[mode][f]).sort(),
      );
      const [eth0] = await at.pod.ipJson('link show dev eth0');
      expect(eth0).toMatchObject({ mtu: 1450, address: POD_MAC, linkinfo: { info_kind: 'veth' } });
      const [veth] = await at.host.ipJson(`link show dev ${HOST_IF}`);
      expect(veth).toMatchObject({ mtu: 1450, address: HOST_MAC, ifalias: 'loden cni net c1 eth0' });
      if (mode === 'bridge') {
        expect(veth).toMatchObject({
          master: 'cni0',
          linkinfo: { info_slave_data: { hairpin: true } },
          inet6_addr_gen_mode: 'none',
        });
        // A port does not speak.
        expect(await addressesOf(at.host, HOST_IF)).toEqual([]);
      }
      const ra = await at.pod.run(['cat', '/proc/sys/net/ipv6/conf/eth0/accept_ra']);
      expect(ra.trim()).toBe('0');
      for (const f of families) {
        const routes = await at.pod.ipJson(`-${f} route show default`);
        expect(routes).toMatchObject([
          { gateway: GATEWAY[f], dev: 'eth0', protocol: `${POD_ROUTE_PROTOCOL}` },
        ]);
        expect(await ping(at.pod, GATEWAY[f]), `ping ${GATEWAY[f]}`).toBeDefined();
      }
      expect(await check(at.host, at.pod, wanted)).toEqual({ differences: [], failures: [] });
      // Nor without the bridge among what is wanted.
      expect(await reconcileOnce(outside.kernel, hostObjects(wanted), { apply: false })).toEqual({
        differences: [],
        failures: [],
      });
    } finally {
      outside.kernel.close();
      inside.kernel.close();
    }
  });

  test('goes with its other end, and the one who waits is told at once', async () => {
    await using at = await attached({ mode: 'bridge', families: [4] });
    const host = kernelIn(at.host);
    const gone: number[] = [];
    const netns = openSync(at.host.path, 'r');
    const watch = watchLinksGone(
      (ifindex) => gone.push(ifindex),
      () => {},
      { quietMs: 0, netnsFd: netns },
    );
    try {
      const link = await host.linkNamed(HOST_IF);
      // A port that leaves its bridge is told as a deletion too.
      await at.host.ip(`link set ${HOST_IF} nomaster`);
      await at.host.ip('link add other type bridge');
      await at.host.ip('link del other');
      await expect.poll(() => gone.length).toBe(1);
      expect(gone).not.toContain(link!.ifindex);
      const [failure] = await host.apply([{ verb: 'delete', object: link! }]);
      expect(failure).toBeUndefined();
      await expect.poll(() => gone).toContain(link!.ifindex);
      expect(await at.pod.ipJson('link show type veth')).toEqual([]);
    } finally {
      watch.close();
      closeSync(netns);
      host.close();
    }
  });
});

/** What others do to a pod, what is said about it, whether it is put right. */
const DRIFT: readonly {
  readonly what: string;
  readonly mode: 'bridge' | 'ptp';
  readonly host?: string;
  readonly pod?: string;
  readonly says: readonly string[];
}[] = [
  { what: 'nothing', mode: 'bridge', says: [] },
  { what: 'nothing routed', mode: 'ptp', says: [] },
  {
    what: 'MTU of the host end',
    mode: 'bridge',
    host: `ip link set ${HOST_IF} mtu 1400`,
    says: [`link ${HOST_IF} has MTU 1400 instead of 1450`],
  },
  {
    what: 'MTU in the pod',
    mode: 'bridge',
    pod: 'ip link set eth0 mtu 1500',
    says: ['pod: link eth0 has MTU 1500 instead of 1450'],
  },
  {
    what: 'MAC of the host end',
    mode: 'ptp',
    host: `ip link set ${HOST_IF} address 02:00:00:00:00:99`,
    // With the MAC go all neighbours.
    says: [
      `link ${HOST_IF} has MAC 02:00:00:00:00:99 instead of ${HOST_MAC}`,
      `neigh 10.42.1.2 lladdr ${POD_MAC} dev ${HOST_IF} is missing`,
      `neigh fd00:42:1::2 lladdr ${POD_MAC} dev ${HOST_IF} is missing`,
    ],
  },
  {
    what: 'alias',
    mode: 'bridge',
    host: `ip link set ${HOST_IF} alias mine`,
    says: [`link ${HOST_IF} has alias "mine" instead of "loden cni net c1 eth0"`],
  },
  {
    what: 'no port any more',
    mode: 'bridge',
    host: `ip link set ${HOST_IF} nomaster`,
    says: [`link ${HOST_IF} is no port of cni0`],
  },
  {
    what: 'port of another bridge',
    mode: 'bridge',
    host: `ip link set ${HOST_IF} master br1`,
    says: [expect.stringMatching(`^link ${HOST_IF} is a port of device [0-9]+ instead of cni0$`)],
  },
  {
    what: 'a port that was none',
    mode: 'ptp',
    host: `ip link set ${HOST_IF} master br1`,
    says: [expect.stringMatching(`^link ${HOST_IF} is a port of device [0-9]+$`)],
  },
  {
    what: 'hairpin',
    mode: 'bridge',
    host: `bridge link set dev ${HOST_IF} hairpin off`,
    says: [`link ${HOST_IF} has hairpin off`],
  },
  {
    what: 'hairpin and MTU and alias',
    mode: 'bridge',
    host: `bridge link set dev ${HOST_IF} hairpin off; ip link set ${HOST_IF} mtu 1300 alias x`,
    says: [
      `link ${HOST_IF} has MTU 1300 instead of 1450, has alias "x" instead of "loden cni net c1 eth0", has hairpin off`,
    ],
  },
  {
    what: 'the bridge',
    mode: 'bridge',
    host: 'ip link set cni0 mtu 1300 address 02:00:00:00:00:77; ip addr del 10.42.1.1/24 dev cni0; echo 1 >/proc/sys/net/ipv6/conf/cni0/accept_ra',
    says: [
      'link cni0 has MTU 1300 instead of 1450, has MAC 02:00:00:00:00:77 instead of 0a:58:0a:2a:01:01',
      'sysctl net/ipv6/conf/cni0/accept_ra is 1 instead of 0',
      'address 10.42.1.1/24 dev cni0 is missing',
    ],
  },
  {
    what: 'a pod whose device is down',
    mode: 'ptp',
    pod: 'ip link set eth0 down',
    says: [
      'pod: link eth0 is down',
      'pod: address fd00:42:1::2/128 dev eth0 is missing',
      `pod: neigh 10.42.1.1 lladdr ${HOST_MAC} dev eth0 is missing`,
      `pod: neigh fd00:42:1::1 lladdr ${HOST_MAC} dev eth0 is missing`,
      'pod: route 10.42.1.1/32 dev eth0 is missing',
      'pod: route default via 10.42.1.1 dev eth0 is missing',
      'pod: route fd00:42:1::1/128 dev eth0 is missing',
      'pod: route default via fd00:42:1::1 dev eth0 is missing',
    ],
  },
  {
    what: 'addresses',
    mode: 'bridge',
    pod: 'ip addr add 10.42.1.9/24 dev eth0; ip addr del fd00:42:1::2/64 dev eth0; ip addr add fd00:42:1::2/96 dev eth0 nodad',
    says: [
      'pod: address fd00:42:1::2/64 dev eth0 is missing: there is the same with another prefix length, or unused',
    ],
  },
  {
    what: 'a neighbour with another MAC, one gone',
    mode: 'ptp',
    pod: 'ip neigh replace 10.42.1.1 lladdr 02:00:00:00:00:05 dev eth0 nud permanent; ip neigh del fd00:42:1::1 dev eth0',
    says: [
      `pod: neigh 10.42.1.1 dev eth0 has lladdr 02:00:00:00:00:05 instead of ${HOST_MAC}`,
      `pod: neigh fd00:42:1::1 lladdr ${HOST_MAC} dev eth0 is missing`,
    ],
  },
  {
    what: 'default routes gone',
    mode: 'bridge',
    pod: 'ip route del default; ip -6 route del default',
    says: [
      'pod: route default via 10.42.1.1 dev eth0 is missing',
      'pod: route default via fd00:42:1::1 dev eth0 is missing',
    ],
  },
  {
    what: 'default routes that lead elsewhere',
    mode: 'bridge',
    pod: `ip route replace default via 10.42.1.7 dev eth0 proto ${POD_ROUTE_PROTOCOL}; ip -6 route replace default via fd00:42:1::7 dev eth0 proto ${POD_ROUTE_PROTOCOL}`,
    says: [
      'pod: route default via 10.42.1.1 dev eth0 is missing: there is route default via 10.42.1.7 dev eth0',
      'pod: route default via fd00:42:1::1 dev eth0 is missing: there is route default via fd00:42:1::7 dev eth0',
    ],
  },
  {
    what: 'the route to the pod',
    mode: 'ptp',
    host: 'ip route del 10.42.1.2/32; ip -6 route del fd00:42:1::2/128',
    says: [
      `route 10.42.1.2/32 dev ${HOST_IF} is missing`,
      `route fd00:42:1::2/128 dev ${HOST_IF} is missing`,
    ],
  },
  {
    what: 'sysctls',
    mode: 'bridge',
    pod: 'echo 2 >/proc/sys/net/ipv6/conf/eth0/accept_ra',
    says: ['pod: sysctl net/ipv6/conf/eth0/accept_ra is 2 instead of 0'],
  },
];

describe('drift', () => {
  test.each(DRIFT)('$mode: $what', async ({ mode, host, pod, says }) => {
    const wanted: Wanted = { mode, families: [4, 6] };
    await using at = await attached(wanted);
    // Others' things, with nothing of ours on them.
    await at.host.ipBatch([
      'link add br1 address 02:00:00:00:00:b1 type bridge',
      'link set br1 up',
      'addr add 198.51.100.1/24 dev br1',
      'route add 203.0.113.0/24 via 198.51.100.9 dev br1',
      `route add 203.0.113.0/25 dev br1 proto ${POD_ROUTE_PROTOCOL}`,
    ]);
    const run = (netns: Netns, command?: string) =>
      command ? netns.run(['sh', '-e', '-c', command]) : undefined;
    const before = { host: await text(at.host), pod: await text(at.pod) };
    await run(at.host, host);
    await run(at.pod, pod);

    const drifted = { host: await text(at.host), pod: await text(at.pod) };
    const seen = await check(at.host, at.pod, wanted);
    expect(seen).toEqual({ differences: says, failures: [] });
    expect({ host: await text(at.host), pod: await text(at.pod) }).toEqual(drifted);

    expect(await check(at.host, at.pod, wanted, true)).toEqual({ differences: says, failures: [] });
    expect(await check(at.host, at.pod, wanted)).toEqual({ differences: [], failures: [] });
    // Nothing is missing that was there, but for the address of another length, which stood in the place of ours.
    const after = { host: await text(at.host), pod: await text(at.pod) };
    const lost = (then: string, now: string) => then.split('\n').filter((line) => !now.includes(line));
    expect(lost(before.host, after.host)).toEqual([]);
    expect(lost(before.pod, after.pod)).toEqual([]);
  });

  test('is put right by as much as it needs, no more', async () => {
    const wanted: Wanted = { mode: 'ptp', families: [4, 6] };
    await using at = await attached(wanted);
    const { kernel, traffic } = meteredKernelIn(at.pod);
    try {
      await at.pod.ip('route del default');
      await reconcileOnce(kernel, podObjects(wanted), { apply: false });
      const look = kernel.socket.counters.messages;
      expect(look).toBe(0);
      await reconcileOnce(kernel, podObjects(wanted), { apply: true });
      expect(kernel.socket.counters.messages).toBe(1);
      expect(traffic.bytes).toBeLessThan(20_000);
    } finally {
      kernel.close();
    }
  });

  test('what a host has besides is not listed, however much', async () => {
    const wanted: Wanted = { mode: 'ptp', families: [4, 6] };
    await using at = await attached(wanted);
    await at.host.ipBatch([
      'link add br1 type bridge',
      'link set br1 up',
      ...Array.from({ length: 3000 }, (_, i) => `route add 172.16.${i >> 8}.${i & 255}/32 dev br1 proto 186`),
      ...Array.from(
        { length: 3000 },
        (_, i) => `route add fd01::${(i + 1).toString(16)}/128 dev br1 proto 77`,
      ),
      ...Array.from({ length: 300 }, (_, i) => `addr add 198.18.${i >> 8}.${i & 255}/32 dev br1`),
    ]);
    const { kernel, traffic } = meteredKernelIn(at.host);
    try {
      expect(await reconcileOnce(kernel, hostObjects(wanted), { apply: false })).toEqual({
        differences: [],
        failures: [],
      });
      expect(traffic.bytes).toBeLessThan(20_000);
    } finally {
      kernel.close();
    }
  });
});

describe('what cannot be', () => {
  const wanted: Wanted = { mode: 'bridge', families: [4, 6] };

  async function refused(
    prepare: (at: { host: Netns; pod: Netns }) => Promise<unknown>,
    how: Wanted = wanted,
  ) {
    const at = await place();
    const host = kernelIn(at.host);
    const pod = kernelIn(at.pod);
    try {
      if (how.mode === 'bridge') await reconcileOnce(host, bridgeObjects(how.families), { apply: true });
      await prepare(at);
      const before = { host: await text(at.host), pod: await text(at.pod) };
      const done = await attach(host, pod, at.pod, how);
      const after = { host: await text(at.host), pod: await text(at.pod) };
      return { done, before, after, failures: done.host.failures.map((e) => `${e.code} ${e.message}`) };
    } finally {
      host.close();
      pod.close();
      await at[Symbol.asyncDispose]();
    }
  }

  test.each(MODES)('the name on the host is taken: whoever has it is not touched (%s)', async (mode) => {
    const { done, before, after, failures } = await refused(
      ({ host }) =>
        host.ipBatch([
          `link add ${HOST_IF} type bridge`,
          `link set ${HOST_IF} mtu 1400 alias mine`,
          'addr add 10.9.9.9/24 dev lo',
        ]),
      { mode, families: [4, 6] },
    );
    expect(failures[0]).toMatch(new RegExp(`^EEXIST create link ${HOST_IF}`));
    expect(failures.slice(1).every((o) => o.includes('could not be made'))).toBe(true);
    expect(failures.length > 1).toBe(mode === 'ptp');
    expect(done.pod).toBeUndefined();
    expect(after).toEqual(before);
  });

  test('the name in the pod is taken: that is said', async () => {
    const { done, before, after, failures } = await refused(({ pod }) => pod.ip('link add eth0 type bridge'));
    expect(failures).toEqual([expect.stringMatching(/^EEXIST .*device eth0 in the namespace/)]);
    expect(done.pod).toBeUndefined();
    expect(after).toEqual(before);
  });

  test('the bridge is not the one that was known', async () => {
    const at = await place();
    const host = kernelIn(at.host);
    try {
      const known = new Map([['cni0', 4711]]);
      const fresh = new Map([[HOST_IF, undefined]]);
      const before = await text(at.host);
      const done = await reconcileOnce(host, hostObjects(wanted, 0), { apply: true, known, fresh });
      expect(done.failures.map((e) => e.code)).toEqual(['EINVAL']);
      expect(await text(at.host)).toBe(before);
    } finally {
      host.close();
      await at[Symbol.asyncDispose]();
    }
  });

  test('there is no bridge', async () => {
    const at = await place();
    const host = kernelIn(at.host);
    try {
      const fresh = new Map([[HOST_IF, undefined]]);
      const done = await reconcileOnce(host, hostObjects(wanted, 0), { apply: true, fresh });
      expect(done.failures.map((e) => e.message)).toEqual([
        `create link ${HOST_IF}: ENODEV: there is no device cni0`,
      ]);
      const look = await reconcileOnce(host, hostObjects(wanted), { apply: false });
      expect(look).toEqual({
        differences: [`link ${HOST_IF} is missing: there is no device cni0 for it`],
        failures: [],
      });
    } finally {
      host.close();
      await at[Symbol.asyncDispose]();
    }
  });

  test('a descriptor that is no namespace, or none at all', async () => {
    const at = await place();
    const host = kernelIn(at.host);
    try {
      for (const [fd, code] of [
        [0, 'EINVAL'],
        [987_654, 'EBADF'],
      ] as const) {
        const objects = hostObjects({ mode: 'ptp', families: [4] }, fd);
        const fresh = new Map([[HOST_IF, undefined]]);
        const done = await reconcileOnce(host, objects, { apply: true, fresh });
        expect(done.failures[0]!.code).toBe(code);
        expect(await host.linkNamed(HOST_IF)).toBeUndefined();
      }
    } finally {
      host.close();
      await at[Symbol.asyncDispose]();
    }
  });

  test('another kind of device in the pod is left alone, and so is what stands on it', async () => {
    await using at = await place();
    await at.pod.ipBatch([
      'link add eth0 type bridge',
      'link set eth0 mtu 1400 up',
      'addr add 10.42.1.2/25 dev eth0',
    ]);
    const before = await text(at.pod);
    const kernel = kernelIn(at.pod);
    try {
      const { differences, failures } = await reconcileOnce(kernel, podObjects(wanted), { apply: true });
      expect(differences[0]).toBe(
        'link eth0 is missing: in its place is a device of type bridge of this name',
      );
      expect(differences).toContain(
        'address 10.42.1.2/24 dev eth0 is missing: there is no device eth0 for it',
      );
      expect(failures[0]!.message).toBe(
        'create link eth0: EEXIST: there is a device of type bridge of this name',
      );
      expect(failures).toHaveLength(differences.length);
      expect(await text(at.pod)).toBe(before);
    } finally {
      kernel.close();
    }
  });

  test('no device in the pod: none is made', async () => {
    await using at = await place();
    const kernel = kernelIn(at.pod);
    const before = await text(at.pod);
    try {
      const { differences, failures } = await reconcileOnce(kernel, podObjects(wanted), { apply: true });
      expect(differences[0]).toBe('link eth0 is missing');
      expect(failures[0]!.message).toBe('create link eth0: ENODEV: there is no device eth0');
      expect(await text(at.pod)).toBe(before);
    } finally {
      kernel.close();
    }
  });

  test("a default route of others' is not taken away", async () => {
    await using at = await attached(wanted);
    await at.pod.run([
      'sh',
      '-e',
      '-c',
      'ip route del default; ip route add default via 10.42.1.7 proto static; ip link add net1 type bridge; ip link set net1 up; ip addr add 192.0.2.5/24 dev net1; ip -6 route del default; ip addr add fd05::5/64 dev net1 nodad; ip -6 route add default via fd05::1 dev net1 proto static',
    ]);
    const before = await text(at.pod);
    const { differences, failures } = await check(at.host, at.pod, wanted, true);
    expect(differences).toEqual([
      'pod: route default via 10.42.1.1 dev eth0 is missing: in its place is a route of protocol 4 dev eth0',
      'pod: route default via fd00:42:1::1 dev eth0 is missing',
    ]);
    expect(failures).toHaveLength(2);
    for (const failure of failures) expect(failure).toContain('EEXIST');
    expect(await text(at.pod)).toBe(before);
  });

  test('a device in the place of the bridge is made anew only with our alias', async () => {
    await using at = await place();
    const kernel = kernelIn(at.host);
    const objects: KernelObject[] = bridgeObjects([4]);
    try {
      await at.host.ip('link add cni0 type vxlan id 9 dstport 4789');
      const { failures } = await reconcileOnce(kernel, objects, { apply: true });
      expect(failures[0]!.code).toBe('EEXIST');
      expect(await at.host.ipJson('link show dev cni0')).toMatchObject([
        { linkinfo: { info_kind: 'vxlan' } },
      ]);
      await at.host.ip('link set cni0 alias loden');
      const again = await reconcileOnce(kernel, objects, { apply: true });
      expect(again.differences[0]).toBe('link cni0 is another (type vxlan) than it should be');
      expect(again.failures).toEqual([]);
      expect(await at.host.ipJson('link show dev cni0')).toMatchObject([
        { linkinfo: { info_kind: 'bridge' } },
      ]);
      expect(await reconcileOnce(kernel, objects, { apply: false })).toEqual({
        differences: [],
        failures: [],
      });
    } finally {
      kernel.close();
    }
  });
});

test('a bridge keeps its MAC and its MTU whatever becomes its port', async () => {
  await using at = await attached({ mode: 'bridge', families: [4] });
  await at.host.ipBatch([
    'link add low address 00:00:00:00:00:01 mtu 1300 type veth peer name low2',
    'link set low master cni0 up',
    `link set ${HOST_IF} mtu 1280`,
  ]);
  const [cni0] = await at.host.ipJson('link show dev cni0');
  expect(cni0).toMatchObject({ mtu: 1450, address: '0a:58:0a:2a:01:01' });
});

test('an MTU without IPv6: IPv4 is no worse for it, and IPv6 comes with a larger one', async () => {
  const small: Wanted = { mode: 'bridge', families: [4], mtu: 1000 };
  await using at = await place();
  const host = kernelIn(at.host);
  const pod = kernelIn(at.pod);
  try {
    await reconcileOnce(host, bridgeObjects([4]), { apply: true });
    const done = await attach(host, pod, at.pod, small);
    expect([...done.host.failures, ...done.pod!.failures]).toEqual([]);
    expect(await check(at.host, at.pod, small)).toEqual({ differences: [], failures: [] });
    expect(await ping(at.pod, '10.42.1.1')).toBeDefined();
    await at.pod.ip('link set eth0 down');
    await check(at.host, at.pod, { ...small, families: [4, 6], mtu: 1450 }, true);
    const list = await addressesOf(at.pod, 'eth0');
    expect(words(list)).toContain('fd00:42:1::2/64');
    expect(globals(list)).not.toContainEqual(TENTATIVE);
    expect(await probes(at.pod, 'eth0')).toBe(0);
  } finally {
    host.close();
    pod.close();
  }
});
