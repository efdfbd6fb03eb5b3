import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Listing } from '../../src/kernel/listing.ts';

interface Row {
  readonly key: string;
  readonly value: number;
}

const rows = fc.array(fc.record({ key: fc.constantFrom('a', 'b', 'c', 'd'), value: fc.nat(2) }), {
  maxLength: 8,
});
const renew = (listing: Listing<Row>, listed: readonly Row[]) =>
  listing.renew(
    listed,
    (row) => row.key,
    (a, b) => a.value === b.value,
  );
const shown = (listing: Listing<Row>) =>
  Object.fromEntries(Array.from(listing.rows, ([key, of]) => [key, of.map((row) => row.value)]));
const grouped = (listed: readonly Row[]) =>
  Object.fromEntries(
    Array.from(
      Map.groupBy(listed, (row) => row.key),
      ([key, of]) => [key, of.map((r) => r.value)],
    ),
  );

test('holds what was listed last, and tells whether that is anything new', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(rows, { minLength: 1 }), async (looks) => {
      const listing = new Listing<Row>();
      for (const listed of looks) {
        const before = JSON.stringify(Object.entries(shown(listing)).sort());
        const isChanged = await renew(listing, listed);
        expect(shown(listing)).toEqual(grouped(listed));
        expect(isChanged).toBe(JSON.stringify(Object.entries(shown(listing)).sort()) !== before);
      }
    }),
  );
});

test('keeps the very rows that have not changed', async () => {
  const listing = new Listing<Row>();
  const [a, b] = [
    { key: 'a', value: 1 },
    { key: 'b', value: 1 },
  ];
  await renew(listing, [a, b]);
  await renew(listing, [{ ...a }, { ...b, value: 2 }]);
  expect(listing.rows.get('a')![0]).toBe(a);
  expect(listing.rows.get('b')).toEqual([{ key: 'b', value: 2 }]);
});

test('follows what is noted between two renewals', async () => {
  const listing = new Listing<Row>();
  await renew(listing, [{ key: 'a', value: 1 }]);
  listing.append('a', { key: 'a', value: 2 });
  listing.set('b', [{ key: 'b', value: 0 }]);
  listing.remove('a', (row) => row.value === 1);
  expect(shown(listing)).toEqual({ a: [2], b: [0] });
  expect(
    await renew(listing, [
      { key: 'b', value: 0 },
      { key: 'a', value: 2 },
    ]),
  ).toBe(false);
  expect(await renew(listing, [])).toBe(true);
  expect(listing.rows.size).toBe(0);
});
