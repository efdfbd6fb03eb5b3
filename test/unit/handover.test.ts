import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { VERSION } from '../../src/contract.ts';
import type { Bundle } from '../../src/forwarder/bundle.ts';
import { bundleOf, manifestOf, parseManifest } from '../../src/handover/manifest.ts';
import {
  formatMessage,
  type Message,
  type Place,
  PROTOCOL,
  parseMessage,
} from '../../src/handover/protocol.ts';
import { HandoverWorld, MOVES, type Move, type WorldOptions } from '../fake/handoverWorld.ts';

const PLACE: Place = { prefix: '/coreos.com/network', stateDir: '/var/lib/loden', netns: '4:4026531840' };

const queue = fc.record({
  tun: fc.integer({ min: 3, max: 99 }),
  udp4: fc.integer({ min: 3, max: 99 }),
  udp6: fc.integer({ min: -1, max: 99 }),
  out4: fc.integer({ min: -1, max: 99 }),
  out6: fc.integer({ min: -1, max: 99 }),
});
const bundles: fc.Arbitrary<Bundle> = fc.record({
  device: fc.constantFrom('flannel0', 'x', 'fifteen-letters'),
  port: fc.integer({ min: 1, max: 65_535 }),
  queues: fc.array(queue, { minLength: 1, maxLength: 16 }),
});

describe('a manifest', () => {
  test('and its descriptors are the bundle again', () => {
    fc.assert(
      fc.property(bundles, (bundle) => {
        const { manifest, fds } = manifestOf(bundle);
        expect(new Set(fds).size).toBe(fds.length);
        const parsed = parseManifest(JSON.parse(JSON.stringify(manifest)));
        expect(parsed).toEqual(manifest);
        expect(bundleOf(parsed!, fds)).toEqual(bundle);
      }),
    );
  });

  const good = {
    device: 'flannel0',
    port: 8285,
    queues: [{ tun: 0, udp4: 1, udp6: -1, out4: -1, out6: -1 }],
    descriptors: 2,
  };
  test.each<[string, unknown]>([
    ['a text', 'x'],
    ['null', null],
    ['without a device', { ...good, device: undefined }],
    ['a path as device', { ...good, device: '../../x' }],
    ['a long device', { ...good, device: 'x'.repeat(16) }],
    ['an empty device', { ...good, device: '' }],
    ['port 0', { ...good, port: 0 }],
    ['port 65536', { ...good, port: 65_536 }],
    ['a port as text', { ...good, port: '8285' }],
    ['no queues', { ...good, queues: [] }],
    ['too many queues', { ...good, queues: Array.from({ length: 17 }, () => good.queues[0]) }],
    ['a queue that is none', { ...good, queues: [7] }],
    ['a queue without a device', { ...good, queues: [{ ...good.queues[0], tun: -1 }], descriptors: 1 }],
    ['a queue without a socket', { ...good, queues: [{ ...good.queues[0], udp4: -1 }], descriptors: 1 }],
    ['a place that is none', { ...good, queues: [{ ...good.queues[0], udp6: 2 }] }],
    ['a place below none', { ...good, queues: [{ ...good.queues[0], udp6: -2 }] }],
    ['a place between', { ...good, queues: [{ ...good.queues[0], udp6: 0.5 }] }],
    ['a role left out', { ...good, queues: [{ tun: 0, udp4: 1 }] }],
    ['a descriptor that nothing uses', { ...good, descriptors: 3 }],
    ['more descriptors than there can be', { ...good, descriptors: 81 }],
  ])('is not %s', (_, value) => {
    expect(parseManifest(good)).toEqual(good);
    expect(parseManifest(value)).toBeUndefined();
  });
});

describe('a message', () => {
  const { manifest } = manifestOf({
    device: 'flannel0',
    port: 8285,
    queues: [{ tun: 5, udp4: 6, udp6: 7, out4: 8, out6: -1 }],
  });
  const messages: Message[] = [
    { type: 'hello', protocol: PROTOCOL, version: VERSION, place: PLACE },
    { type: 'give' },
    { type: 'bundle', manifest, descriptors: 4 },
    { type: 'bundle', manifest: null, descriptors: 0 },
    { type: 'more' },
    { type: 'forwarding' },
    { type: 'refusal', code: 'late', reason: 'because' },
  ];
  test.each(messages)('$type reads as it was written', (message) =>
    expect(parseMessage(formatMessage(message))).toEqual(message),
  );

  test.each([
    '',
    '{',
    '[]',
    'null',
    '"give"',
    '{"type":"gift"}',
    '{"type":"hello"}',
    '{"type":"hello","protocol":"1"}',
    `{"type":"hello","protocol":${PROTOCOL},"version":"1"}`,
    `{"type":"hello","protocol":${PROTOCOL},"place":{"prefix":1,"stateDir":"","netns":""}}`,
    '{"type":"bundle"}',
    '{"type":"bundle","manifest":null,"descriptors":1}',
    '{"type":"bundle","manifest":{},"descriptors":0}',
    '{"type":"refusal"}',
    '{"type":"refusal","code":"late"}',
    '{"__proto__":{"type":"give"}}',
    '['.repeat(60_000),
  ])('is not %.40s', (text) => expect(parseMessage(Buffer.from(text))).toBeUndefined());

  test('is not what is no UTF-8', () => {
    const bytes = Buffer.from('{"type":"refusal","code":"late","reason":"?"}');
    bytes[bytes.length - 3] = 0xff;
    expect(parseMessage(bytes)).toBeUndefined();
  });

  test('is nothing that bytes by chance are, and nothing throws', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        expect(parseMessage(bytes)).toBeUndefined();
      }),
    );
    fc.assert(
      fc.property(fc.constantFrom(...messages), fc.nat(), fc.nat(255), (message, at, byte) => {
        const bytes = Buffer.from(formatMessage(message));
        bytes[at % bytes.length] = byte;
        parseMessage(bytes);
      }),
    );
  });

  test('of another version is understood as far as its number', () => {
    const later = Buffer.from('{"type":"hello","protocol":99,"version":"7.0.0","realm":"x"}');
    expect(parseMessage(later)).toMatchObject({ type: 'hello', protocol: 99, version: '7.0.0' });
    const code = Buffer.from('{"type":"refusal","code":"tired","reason":"no more"}');
    expect(parseMessage(code)).toEqual({ type: 'refusal', code: 'failed', reason: 'no more' });
  });
});

const MANIFEST = manifestOf({
  device: 'flannel0',
  port: 8285,
  queues: [
    { tun: 10, udp4: 11, udp6: 12, out4: 13, out6: 14 },
    { tun: 20, udp4: 21, udp6: 22, out4: 23, out6: 24 },
  ],
}).manifest;

const world = (options: Partial<WorldOptions> = {}): HandoverWorld =>
  new HandoverWorld({ oldPlace: PLACE, newPlace: PLACE, manifest: MANIFEST, perMessage: 4, ...options });

/** What must hold whenever nothing is left to happen. */
function expectSettled(w: HandoverWorld, manifest: unknown): void {
  const told = w.log.join(' ');
  const has = manifest !== undefined;
  const outcome = w.taker.at === 'done' ? w.taker.outcome : undefined;
  // Whoever lives has come to an end of it.
  if (w.newAlive) expect(outcome, told).toBeDefined();
  if (w.oldAlive) expect(w.giver.at, told).toBe('idle');
  // The old one forwards unless it has gone.
  expect(w.oldForwards, told).toBe(w.oldAlive && has);
  // Never both.
  expect(w.oldForwards && w.newForwards, told).toBe(false);
  if (!w.newAlive) return;
  switch (outcome?.kind) {
    case 'taken':
      expect(w.oldAlive, told).toBe(false);
      expect(w.newForwards, told).toBe(has && outcome.bundle);
      break;
    case 'alone':
      expect(w.oldAlive, told).toBe(false);
      expect(w.newForwards, told).toBe(false);
      break;
    case 'refused':
      expect(w.newForwards, told).toBe(false);
  }
  // Every descriptor is used or closed.
  expect(w.kept, told).toBe(w.newForwards ? MANIFEST.descriptors : 0);
}

describe('two daemons', () => {
  test.each([undefined, MANIFEST])('hand over in order', (manifest) => {
    const w = world({ manifest });
    w.settle();
    expect(w.taker).toEqual({ at: 'done', outcome: { kind: 'taken', bundle: manifest !== undefined } });
    expect(w.oldEnding).toBe(true);
    expectSettled(w, manifest);
  });

  test('stop forwarding for no longer than the descriptors take to pass', () => {
    const w = world();
    // Up to the release the old one forwards; the new one has loaded everything before it asks.
    for (const move of ['oldHears', 'newHears', 'newPrepares', 'oldHears'] as const) {
      w.do(move);
      expect(w.oldForwards).toBe(true);
    }
    for (const move of ['oldReleases', 'newHears', 'newHears', 'newHears', 'newStarts'] as const) w.do(move);
    expect(w.newForwards).toBe(true);
  });

  test('that do not belong together say so, and nothing changes', () => {
    for (const other of [{ prefix: '/other' }, { stateDir: '/other' }, { netns: '4:1' }]) {
      const w = world({ newPlace: { ...PLACE, ...other } });
      w.settle();
      expect(w.taker).toMatchObject({
        outcome: { kind: 'refused', refusal: { code: 'place', reason: expect.stringMatching(/--run-dir/) } },
      });
      expect(w.oldAlive && w.oldForwards && !w.oldEnding).toBe(true);
      expectSettled(w, MANIFEST);
    }
  });

  test('whatever comes in which order, whoever dies, lose nothing while one of them lives', {
    timeout: 60_000,
  }, () => {
    const seen = new Set<string>();
    // Mostly what must happen sooner or later, in any order; now and then something that need not.
    const progress: readonly Move[] = ['oldHears', 'newHears', 'oldReleases', 'newPrepares', 'newStarts'];
    const move = fc.oneof(
      { weight: 5, arbitrary: fc.constantFrom(...progress) },
      { weight: 1, arbitrary: fc.constantFrom<Move>(...MOVES) },
    );
    const moves = fc.array(move, { maxLength: 60, size: 'max' });
    const options = fc.record({
      manifest: fc.constantFrom(MANIFEST, MANIFEST, undefined),
      perMessage: fc.integer({ min: 1, max: 12 }),
    });
    fc.assert(
      fc.property(moves, options, (sequence, opts) => {
        const w = world(opts);
        for (const move of sequence) {
          w.do(move);
          // Until the new one has said that it forwards, the old one can.
          if (w.oldEnding && opts.manifest && w.oldAlive) expect(w.oldForwards).toBe(false);
        }
        w.settle(false);
        // A death is noticed as it happens: nobody waits for the end of some time then.
        if (!w.newAlive)
          expect(w.oldForwards, w.log.join(' ')).toBe(w.oldAlive && opts.manifest !== undefined);
        w.settle();
        expectSettled(w, opts.manifest);
        seen.add(w.taker.at === 'done' ? w.taker.outcome.kind : `dead ${w.taker.at}`);
      }),
      { numRuns: 20_000 },
    );
    // All kinds of ends have been seen.
    expect([...seen].sort()).toEqual([
      'alone',
      'dead asking',
      'dead collecting',
      'dead finishing',
      'dead greeting',
      'dead preparing',
      'dead starting',
      'refused',
      'taken',
    ]);
  });
});
