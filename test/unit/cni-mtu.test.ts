import { expect, test } from 'vitest';
import { CODE } from '../../src/cni/errors.ts';
import { podMtu } from '../../src/cni/mtu.ts';
import { nodeOf } from '../support/cniAttach.ts';

test.each([
  [undefined, [4, 6] as const, 1450, 1450],
  [1280, [4, 6] as const, 1450, 1280],
  [1279, [4] as const, 1450, 1279],
  [undefined, [4] as const, 1200, 1200],
  [1300, [6] as const, 1200, 1300],
])('configured %s, families %j, overlay %d: %d', (configured, families, overlay, mtu) => {
  expect(podMtu(configured, nodeOf(families, 1, overlay))).toBe(mtu);
});

test.each([
  [1279, [4, 6] as const, 1450, /1280 at least, and "mtu" in the network configuration is 1279: raise it/],
  [undefined, [6] as const, 1279, /that of the overlay is 1279: raise the MTU of the underlay/],
])('configured %s, families %j, overlay %d: refused in words', (configured, families, overlay, message) => {
  expect(() => podMtu(configured, nodeOf(families, 1, overlay))).toThrow(
    expect.objectContaining({ code: CODE.invalidConfig, message: expect.stringMatching(message) }),
  );
});
