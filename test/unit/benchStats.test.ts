import { expect, test } from 'vitest';
import { peer } from '../../bench/peers.ts';
import { formatSpread, spread } from '../../bench/stats.ts';

test('the median is the middle, or the mean of the middle two', () => {
  expect(spread([3, 1, 10])).toEqual({ median: 3, min: 1, max: 10 });
  expect(spread([4, 1, 2, 3])).toEqual({ median: 2.5, min: 1, max: 4 });
  expect(() => spread([])).toThrow(RangeError);
});

test('a range is printed only when there is one', () => {
  expect(formatSpread({ median: 2.04, min: 1.96, max: 2.5 }, 1)).toBe('2.0 (2.0–2.5)');
  expect(formatSpread({ median: 2, min: 2, max: 2 }, 0)).toBe('2');
});

test('invented peers differ in subnet, address and MAC, and look as flannel writes them', () => {
  expect(peer(0)).toEqual({
    key: '/coreos.com/network/subnets/10.1.0.0-24',
    value:
      '{"PublicIP":"198.18.0.1","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:10:de:00:00:00"}}',
    subnet: '10.1.0.0/24',
  });
  expect(peer(60_000).subnet).toBe('10.235.96.0/24');
  const all = Array.from({ length: 60_000 }, (_, i) => peer(i));
  expect(new Set(all.map((p) => p.key)).size).toBe(60_000);
  expect(new Set(all.map((p) => p.value)).size).toBe(60_000);
});
