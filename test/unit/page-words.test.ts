import { describe, expect, test } from 'vitest';
import { bits, briefly, bytes, count, duration, rate, roundTrip } from '../../page/src/model/words.ts';

describe('figures', () => {
  test.each([
    [duration(-1), '0 s'],
    [duration(59.9), '59 s'],
    [duration(723), '12 min 3 s'],
    [duration(86_399), '23 h 59 min'],
    [duration(90_000), '1 d 1 h'],
    [briefly(59), '59 s'],
    [briefly(3_599), '59 min'],
    [briefly(172_799), '47 h'],
    [briefly(172_800), '2 d'],
    [bits(0), '0'],
    [bits(12_500), '100 k'],
    [bytes(999), '999 B'],
    [bytes(999.6), '1.00 kB'],
    [bytes(1_500_000), '1.50 MB'],
    [rate(0), '0 bit/s'],
    [rate(125_000_000), '1.00 Gbit/s'],
    [roundTrip(0.0841), '0.084 ms'],
    [roundTrip(131), '131 ms'],
    [count(1, 'peer'), '1 peer'],
    [count(1000, 'peer'), '1,000 peers'],
  ])('%s', (text, expected) => expect(text).toBe(expected));
});
