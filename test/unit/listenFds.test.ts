import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Bundle } from '../../src/forwarder/bundle.ts';
import { type Identity, namesOf, type Passed, parseListenFds, unpack } from '../../src/handover/listenFds.ts';

const PID = 4711;
const env = (fds: string | undefined, names?: string, pid = String(PID)) => ({
  LISTEN_PID: pid,
  LISTEN_FDS: fds,
  LISTEN_FDNAMES: names,
});

describe('the list of passed descriptors', () => {
  test('begins behind standard error, with a name for each', () => {
    expect(parseListenFds(env('2', 'a:b'), PID)).toEqual([
      { fd: 3, name: 'a' },
      { fd: 4, name: 'b' },
    ]);
    expect(parseListenFds(env('1'), PID)).toEqual([{ fd: 3, name: '' }]);
  });

  test('without a name for each has none', () => {
    expect(parseListenFds(env('2', 'a'), PID).map(({ name }) => name)).toEqual(['', '']);
    expect(parseListenFds(env('1', 'a:b'), PID).map(({ name }) => name)).toEqual(['']);
  });

  test.each([
    ['of another process', env('2', 'a:b', '4712')],
    ['of no process', { LISTEN_FDS: '2', LISTEN_FDNAMES: 'a:b' }],
    ['with no number', env(undefined, 'a')],
    ['with an empty number', env('')],
    ['with a negative number', env('-1')],
    ['with no whole number', env('1.5')],
    ['with a number in another notation', env('0x2')],
    ['with blanks', env(' 2')],
    ['with a leading zero', env('02')],
    ['with more than there can be', env('1025')],
    ['with far more', env('99999999999999999999')],
    ['with a pid in another notation', env('2', 'a:b', '04711')],
  ])('%s is none', (_, given) => expect(parseListenFds(given, PID)).toEqual([]));
});

/** IFF_TUN, IFF_MULTI_QUEUE, IFF_NO_PI, IFF_VNET_HDR, IFF_PERSIST. */
const FLAGS = 0x0001 | 0x0100 | 0x1000 | 0x4000 | 0x0800;
const tun = (device = 'flannel0', flags = FLAGS, ifindex = 7): Identity => ({
  kind: 'tun',
  device,
  ifindex,
  flags,
});
const udp = (family: 4 | 6, port = 8285): Identity => ({ kind: 'udp', family, port });

/** What a process that gets the store's content finds. */
function passedOf(bundle: Bundle): { passed: Passed[]; identities: Map<number, Identity> } {
  const passed = [...namesOf(bundle)].map(([name, fd]) => ({ name, fd }));
  const identities = new Map<number, Identity>();
  for (const q of bundle.queues) {
    identities.set(q.tun, tun(bundle.device));
    if (q.udp4 >= 0) identities.set(q.udp4, udp(4, bundle.port));
    if (q.udp6 >= 0) identities.set(q.udp6, udp(6, bundle.port));
    // They send from a port of their own.
    if (q.out4 >= 0) identities.set(q.out4, udp(4, 40_001));
    if (q.out6 >= 0) identities.set(q.out6, udp(6, 40_002));
  }
  return { passed, identities };
}

/** Each descriptor is another one, but senders may be shared by all queues. */
const bundles = fc
  .record({
    count: fc.integer({ min: 1, max: 16 }),
    has4: fc.boolean(),
    has6: fc.boolean(),
    out: fc.constantFrom('none', 'own', 'shared'),
    port: fc.integer({ min: 1, max: 65_535 }),
  })
  .map(({ count, has4, has6, out, port }): Bundle => {
    let next = 3;
    const shared = [next++, next++] as const;
    const v4 = has4 || !has6;
    const sender = (family: boolean, which: 0 | 1) =>
      !family || out === 'none' ? -1 : out === 'shared' ? shared[which] : next++;
    const queues = Array.from({ length: count }, () => ({
      tun: next++,
      udp4: v4 ? next++ : -1,
      udp6: has6 ? next++ : -1,
      out4: sender(v4, 0),
      out6: sender(has6, 1),
    }));
    return { device: 'flannel0', port, queues };
  });

describe('what the store gives back', () => {
  test('is what was put in, in any order', () => {
    fc.assert(
      fc.property(
        bundles.chain((bundle) => {
          const { passed, identities } = passedOf(bundle);
          return fc.tuple(
            fc.constant(bundle),
            fc.shuffledSubarray(passed, { minLength: passed.length }),
            fc.constant(identities),
          );
        }),
        ([bundle, passed, identities]) => {
          for (const { name } of passed) expect(name).toMatch(/^[!-9;-~]{1,255}$/);
          expect(unpack(passed, (fd) => identities.get(fd))).toEqual({ bundle, strange: [] });
        },
      ),
    );
  });

  test('is used only if it is whole, and never believed; what is not used is told', () => {
    const name = fc.oneof(
      fc.constantFrom(
        'loden-tun.0',
        'loden-udp4.0',
        'loden-udp6.0',
        'loden-out4.0',
        'loden-tun.1',
        'loden-udp4.1',
      ),
      fc.constantFrom(
        'loden-tun.16',
        'loden-tun.00',
        'loden-',
        'loden-tun.0+tun.1',
        'stored',
        '',
        'connection',
      ),
      fc.string(),
    );
    const identity = fc.oneof(
      fc.constantFrom(tun(), tun('other', FLAGS, 8), tun('flannel0', 0x1001), udp(4), udp(6), udp(4, 1)),
      fc.constant(undefined),
    );
    fc.assert(
      fc.property(fc.array(fc.tuple(name, identity), { maxLength: 8 }), (list) => {
        const passed = list.map(([text], i) => ({ fd: 3 + i, name: text }));
        const { bundle, strange } = unpack(passed, (fd) => list[fd - 3]![1]);
        const used = new Set(bundle?.queues.flatMap((q) => Object.values(q)).filter((fd) => fd >= 0));
        // Each one is used or strange.
        expect([...used, ...strange.map(({ fd }) => fd)].sort()).toEqual(passed.map(({ fd }) => fd).sort());
        for (const q of bundle?.queues ?? []) {
          expect([tun(), tun('other', FLAGS, 8)]).toContainEqual(list[q.tun - 3]![1]);
          expect(list[q.tun - 3]![1]).toMatchObject({ device: bundle!.device });
          for (const [fd, family] of [
            [q.udp4, 4],
            [q.udp6, 6],
          ] as const) {
            if (fd >= 0) expect(list[fd - 3]![1]).toEqual(udp(family, bundle!.port));
          }
        }
      }),
      { numRuns: 2_000 },
    );
  });

  const pair = (second: Identity | undefined, name = 'loden-udp4.0', first: Identity | undefined = tun()) =>
    unpack(
      [
        { fd: 3, name: 'loden-tun.0' },
        { fd: 4, name },
      ],
      (fd) => (fd === 3 ? first : second),
    );

  test.each<[string, ReturnType<typeof pair>, RegExp]>([
    ['no descriptor of ours', pair(undefined), /neither a queue of a TUN device nor a UDP socket/],
    ['a socket of the other family', pair(udp(6)), /IPv6 in the place of udp4/],
    ['a queue in the place of a socket', pair(tun()), /a queue of a TUN device in the place of udp4/],
    ['a socket in the place of a queue', pair(udp(4), undefined, udp(4)), /IPv4 in the place of tun/],
    ['a queue without offload headers', pair(udp(4), undefined, tun('x', 0x1101)), /of another make/],
    ['a name of somebody else', pair(udp(4), 'http'), /"http" is no name of ours/],
    ['a place that is taken', pair(tun(), 'loden-tun.0'), /its place is taken/],
    ['a queue that has no socket', pair(udp(4), 'loden-out4.0'), /no whole set/],
  ])('is refused: %s', (_, { bundle, strange }, why) => {
    expect(pair(udp(4)).bundle).toBeDefined();
    expect(bundle).toBeUndefined();
    expect(strange).toHaveLength(2);
    expect(strange.map((s) => s.why).join('\n')).toMatch(why);
  });
});
