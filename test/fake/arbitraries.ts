import fc from 'fast-check';
import { type Addr, bits, type Family } from '../../src/net/addr.ts';
import { network, type Prefix } from '../../src/net/prefix.ts';

/** Random values of the network, for property tests. */

const anyFamily: fc.Arbitrary<Family> = fc.constantFrom(4, 6);

export const anyAddr = (family?: Family): fc.Arbitrary<Addr> =>
  (family === undefined ? anyFamily : fc.constant(family)).chain((f) =>
    fc.bigInt({ min: 0n, max: (1n << BigInt(bits(f))) - 1n }).map((value) => ({ family: f, value })),
  );

/** Host bits as they come. */
export const anyPrefix = (family?: Family): fc.Arbitrary<Prefix> =>
  anyAddr(family).chain((addr) =>
    fc.integer({ min: 0, max: bits(addr.family) }).map((len) => ({ addr, len })),
  );

/** Prefixes without host bits, close enough together that they overlap often. */
export const crowdedPrefix = (family: Family): fc.Arbitrary<Prefix> =>
  fc
    .tuple(fc.bigInt({ min: 0n, max: 1023n }), fc.integer({ min: bits(family) - 10, max: bits(family) }))
    .map(([value, len]) => network({ addr: { family, value }, len }));
