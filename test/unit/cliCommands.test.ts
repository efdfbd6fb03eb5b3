import { beforeEach, describe, expect, test } from 'vitest';
import { coloured, type Io } from '../../src/cli/command.ts';
import { samplesOf } from '../../src/cli/metrics.ts';
import { redraw } from '../../src/cli/screen.ts';
import { EXIT } from '../../src/contract.ts';
import { BROKEN, OFFLOAD, PEERS, STATUS } from '../fake/apiValues.ts';
import { ALL, cliDaemon, type EVENTS_ANSWER } from '../fake/cliDaemon.ts';
import { fakeIo } from '../fake/io.ts';

/** Commands that ask once. */

const cli = cliDaemon();

describe('loden status', () => {
  test('ends with 0 when ready, 1 when not', async () => {
    await cli.daemon(ALL);
    const ready = await cli.run(['status']);
    expect([ready.code, ready.out]).toEqual([
      0,
      expect.stringMatching(/^ready +yes\n[\s\S]*tx of flannel\.1 is off/),
    ]);
    await cli.gone();
    await cli.daemon({ ...ALL, '/v1/status': BROKEN });
    expect(await cli.run(['status'])).toMatchObject({ code: 1, err: '' });
    const { out, code } = await cli.run(['status', '--json']);
    expect([code, JSON.parse(out)]).toEqual([1, { ...BROKEN, checksumOffload: OFFLOAD }]);
  });

  test('does without what an older daemon does not know', async () => {
    const { paths: _, ...older } = STATUS;
    await cli.daemon({ '/v1/status': older });
    expect(await cli.run(['status'])).toMatchObject({ code: 0, out: expect.not.stringMatching(/checksums/) });
  });
});

test('loden peers --json is what the daemon says, the worst first', async () => {
  await cli.daemon(ALL);
  const { out } = await cli.run(['peers', '--json']);
  const { peers, ...rest } = JSON.parse(out) as typeof PEERS;
  expect(peers[0]?.key).toBe('10.5.9.0-24&fd00:5:0:9::-64');
  expect({
    ...rest,
    peers: peers.toSorted(
      (a, b) => PEERS.peers.findIndex((p) => p.key === a.key) - PEERS.peers.findIndex((p) => p.key === b.key),
    ),
  }).toEqual(PEERS);
});

describe('loden events', () => {
  beforeEach(() => cli.daemon(ALL));
  const ids = async (...argv: string[]) =>
    (JSON.parse((await cli.run(['events', '--json', ...argv])).out) as typeof EVENTS_ANSWER).events.map(
      (e) => e.id,
    );

  test('asks for what is wanted', async () => {
    await cli.run(['events', '--since=17', '--kind=path', '--kind', 'mtu']);
    expect(cli.requests[0]?.url).toBe('/v1/events?since=17&kind=path&kind=mtu');
  });
  test('since a time', async () => {
    expect(await ids('--since=2026-03-14T11:50:00Z')).toEqual([2, 3]);
    expect(await ids('--since=2026-03-14T12:50:00+01:00')).toEqual([2, 3]);
    expect(await ids('--since=1s')).toEqual([]);
    expect(await ids()).toEqual([1, 2, 3]);
  });
  test('--since takes nothing else', async () => {
    expect(await cli.run(['events', '--since=yesterday'])).toMatchObject({
      code: EXIT.config,
      err: expect.stringMatching(/--since: expected .*got "yesterday"/),
    });
    expect(await cli.run(['events', '--kind=x'])).toMatchObject({ code: EXIT.config });
  });
});

describe('loden metrics', () => {
  test('prints what the daemon says, without control characters', async () => {
    await cli.daemon({ '/metrics': `a 1\n# \u001b[31m\n` });
    expect((await cli.run(['metrics'])).out).toBe('a 1\n# ?[31m\n');
  });
  test('--json has the samples', async () => {
    await cli.daemon(ALL);
    expect(JSON.parse((await cli.run(['metrics', '--json'])).out)).toEqual({
      samples: [
        { name: 'a', labels: { b: 'c"d\n' }, value: 1 },
        { name: 'a_inf', labels: {}, value: null },
      ],
    });
    expect(samplesOf('x{a="}",b="\\\\"} -1e-3 123\nno sample\n1x 2\n')).toEqual([
      { name: 'x', labels: { a: '}', b: '\\' }, value: -0.001 },
    ]);
  });
});

describe('a terminal', () => {
  const io = (terminal: Io['terminal'], env: Io['env'] = {}) => ({ terminal, env });
  const one = { columns: 80, rows: 24 };
  test('is coloured, a pipe is not', () => {
    expect(coloured('auto', io(one))).toBe(true);
    expect(coloured('auto', io(undefined))).toBe(false);
    expect(coloured('auto', io(one, { NO_COLOR: '1' }))).toBe(false);
    expect(coloured('auto', io(one, { NO_COLOR: '' }))).toBe(true);
    expect(coloured('auto', io(one, { TERM: 'dumb' }))).toBe(false);
    expect(coloured('always', io(undefined, { NO_COLOR: '1' }))).toBe(true);
    expect(coloured('never', io(one))).toBe(false);
  });
  test('is drawn anew in place, no higher than it is', () => {
    const screen = fakeIo({ terminal: { columns: 80, rows: 4 } });
    redraw(screen, 'a\nb\n');
    redraw(screen, 'a\nb\nc\nd\n');
    expect(screen.printed).toEqual([
      '\u001b[Ha\u001b[K\nb\u001b[K\n\u001b[J',
      '\u001b[Ha\u001b[K\nb\u001b[K\n… 2 more lines; a taller terminal shows them\u001b[K\n\u001b[J',
    ]);
  });
});
