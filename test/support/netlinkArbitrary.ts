import fc from 'fast-check';
import type { Addr } from '../../src/net/addr.ts';
import { type Mac, macFromBytes } from '../../src/net/mac.ts';
import * as codecs from '../../src/netlink/codecs.ts';
import type { Attributes } from '../../src/netlink/policy.ts';

export const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

export const arbMac: fc.Arbitrary<Mac> = fc.uint8Array({ minLength: 6, maxLength: 6 }).map(macFromBytes);

export const arbAddr: fc.Arbitrary<Addr> = fc.oneof(
  fc.record({ family: fc.constant(4 as const), value: fc.bigInt(0n, 2n ** 32n - 1n) }),
  fc.record({ family: fc.constant(6 as const), value: fc.bigInt(0n, 2n ** 128n - 1n) }),
);

const u32 = fc.integer({ min: 0, max: 0xffff_ffff });

/** Values for each codec that has no structure of its own. */
const byCodec = new Map<unknown, fc.Arbitrary<unknown>>([
  [codecs.u8, fc.integer({ min: 0, max: 255 })],
  [codecs.u16, fc.integer({ min: 0, max: 65535 })],
  [codecs.u16be, fc.integer({ min: 0, max: 65535 })],
  [codecs.u32, u32],
  [codecs.u32be, u32],
  [codecs.s32, fc.integer()],
  [codecs.u64, fc.bigInt(0n, 2n ** 64n - 1n)],
  [codecs.flag, fc.constant(true)],
  [codecs.string, fc.stringMatching(/^[a-z0-9.@:-]{0,15}$/)],
  [codecs.bytes, fc.uint8Array({ maxLength: 30 })],
  [codecs.mac, arbMac],
  [codecs.addr, arbAddr],
]);

/**
 * Any values a table can hold. Attributes whose codec is known to neither the map above nor a table itself (small
 * structs, link info) are left out: the tests that need them name them.
 */
export function arbValues<V>(table: Attributes<V>): fc.Arbitrary<V> {
  const fields: Record<string, fc.Arbitrary<unknown>> = {};
  for (const [name, [, codec]] of Object.entries(table.fields)) {
    const known =
      byCodec.get(codec) ?? ('fields' in codec ? arbValues(codec as Attributes<unknown>) : undefined);
    if (known) fields[name] = known;
  }
  return fc.record(fields, { requiredKeys: [] }) as fc.Arbitrary<V>;
}
