import { expect, test } from 'vitest';
import { LINK_ALIAS } from '../../src/contract.ts';
import { type ExistingDevice, MacBook } from '../../src/daemon/macBook.ts';
import type { Mac } from '../../src/net/mac.ts';

const mac = (n: number) => `0e:00:00:00:00:0${n}` as Mac;
const DEVICE = 'flannel.1';
const [DERIVED, RENEWED, THEIRS] = [mac(1), mac(2), mac(3)];

/** A book on a host with this device and this memory. */
function open(device: ExistingDevice | undefined, remembered: Mac | undefined) {
  const node = { derived: DERIVED };
  const memory = { macs: new Map(remembered ? [[DEVICE, remembered]] : []) as ReadonlyMap<string, Mac> };
  const book = new MacBook({
    remembered: memory.macs,
    existing: () => device,
    derive: () => node.derived,
    remember: (macs) => {
      memory.macs = macs;
    },
  });
  return { book, node, memory };
}

const ours: ExistingDevice = { type: 'vxlan', mac: THEIRS, alias: LINK_ALIAS };

test.each([
  ['no device', undefined, undefined, DERIVED],
  ["flanneld's device", { type: 'vxlan', mac: THEIRS }, undefined, THEIRS],
  ["flanneld's device, made anew since", { type: 'vxlan', mac: THEIRS }, mac(4), THEIRS],
  ['our device with its MAC changed by somebody', ours, mac(4), mac(4)],
  ['our device, its state directory lost', ours, undefined, THEIRS],
  ['a device of another type', { type: 'bridge', mac: THEIRS }, undefined, DERIVED],
] as const)('with %s', (_, device, remembered, expected) => {
  const { book, memory } = open(device, remembered);
  expect(book.of(DEVICE)).toBe(expected);
  // What can be derived again need not be remembered.
  expect(memory.macs.get(DEVICE) ?? DERIVED).toBe(expected);
});

test.each([
  ['the device has it', ours, undefined],
  ['it was adopted', ours, THEIRS],
  ['there is no device yet', undefined, undefined],
])(
  'a node with a new id leaves the MAC of the old one to the node that keeps that: %s',
  (_, device, remembered) => {
    const { book, node, memory } = open(device, remembered);
    book.of(DEVICE);
    node.derived = RENEWED;
    book.renew();
    expect(book.of(DEVICE)).toBe(RENEWED);
    // Also when the daemon ends before the device has it.
    const later = open(device, memory.macs.get(DEVICE));
    expect(later.book.of(DEVICE)).toBe(RENEWED);
  },
);
