import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { why } from '../../src/cli/commands/why.ts';
import { UsageError } from '../../src/errors.ts';
import { HOPS } from '../../src/inspect/why/index.ts';
import { addr } from '../../src/net/addr.ts';

test('the page about it has all hops, in order, in the same words', () => {
  const page = readFileSync(new URL('../../docs/why.md', import.meta.url), 'utf8');
  const rows = [...page.matchAll(/^\| `([^`]+)` \| ([^|]+) \|/gm)].map(([, hop, about]) => [hop, about]);
  expect(rows).toEqual(Object.entries(HOPS));
});

/** The question that a command line asks. */
const asked = (ip: string, flags: Readonly<Record<string, string>> = {}): unknown => {
  const given = new Map(Object.entries(flags).map(([name, value]) => [name as 'from', [value]]));
  const { options } = why.bind({ flags: given, env: {}, args: { ip }, rest: [] });
  return (options as { question: unknown }).question;
};

test('what is asked', () => {
  const to = addr('10.5.9.3');
  expect(asked('10.5.9.3')).toEqual({ to, from: undefined, port: undefined });
  expect(asked('10.5.9.3', { from: 'host' })).toMatchObject({ from: undefined });
  expect(asked('10.5.9.3', { from: '10.5.7.2', port: 'udp:53' })).toEqual({
    ...{ to, from: addr('10.5.7.2') },
    port: { proto: 'udp', port: 53 },
  });
});

test.each([
  ['x', {}],
  ['10.5.9.3/24', {}],
  ['10.5.9.3', { from: 'pod' }],
  ['10.5.9.3', { from: 'fd00::1' }],
  ['10.5.9.3', { port: '53' }],
  ['10.5.9.3', { port: 'tcp:0' }],
  ['10.5.9.3', { port: 'tcp:65536' }],
])('%s %j is wrong usage', (ip, flags) => {
  expect(() => asked(ip, flags)).toThrow(UsageError);
});
