import type http from 'node:http';
import { describe, expect, test } from 'vitest';
import { adminOf } from '../../src/cli/admin.ts';
import { clientOptions, commandValues } from '../../src/config/commands.ts';
import { EXIT } from '../../src/contract.ts';
import { EVIL, PROBES } from '../fake/apiValues.ts';
import { ALL, type Answer, cliDaemon, RESERVED } from '../fake/cliDaemon.ts';
import { fakeIo } from '../fake/io.ts';

/** Commands against daemons that lie, or say nothing. */

const cli = cliDaemon();

const COMMANDS: readonly (readonly [argv: readonly string[], path: string])[] = [
  [['status'], '/v1/status'],
  [['peers'], '/v1/peers'],
  [['peers', '--watch', '--json'], '/v1/peers'],
  [['leases', '--watch', '--source=daemon'], '/v1/leases'],
  [['leases', 'show', '10.5.7.0/24'], '/v1/leases'],
  [['leases', 'reserve', '10.5.9.0/24', '--node', '192.0.2.9'], '/v1/reservations'],
  [['leases', 'release', '10.5.9.0/24'], '/v1/leases/10.5.9.0%2F24'],
  [['config', 'show'], '/v1/config'],
  [['config', 'set', '-'], '/v1/network'],
  [['events'], '/v1/events'],
  [['events', '--follow'], '/v1/events'],
];

describe('a daemon that lies', () => {
  const fails = async (argv: readonly string[], path: string, answer: Answer): Promise<string> => {
    await cli.gone();
    await cli.daemon({ ...ALL, [path]: answer });
    const { out, err, code } = await cli.run(argv, fakeIo({ input: '{"Network":"10.5.0.0/16"}' }));
    expect(out, `${argv.join(' ')} prints`).toBe('');
    expect([EXIT.failure, EXIT.unavailable]).toContain(code);
    expect(err.replaceAll('\n', '')).not.toMatch(/[\p{Cc}\p{Cf}]/u);
    return err;
  };
  const refusing: Answer = (res: http.ServerResponse) =>
    void res.writeHead(500).end(JSON.stringify({ error: { code: 'x', message: EVIL } }));

  test.each(COMMANDS)('%j says so, and shows nothing of it', async (argv, path) => {
    for (const text of [
      '<html>',
      'null',
      '[]',
      '{}',
      '{"error":1}',
      '"text"',
      `{"a":${'['.repeat(2000)}${']'.repeat(2000)}}`,
    ]) {
      await fails(argv, path, text);
    }
    expect(await fails(argv, path, refusing)).toMatch(/refuses|evil/);
    await fails(argv, path, (res: http.ServerResponse) => void res.destroy());
  });

  test('about its stream of events is found out at once', async () => {
    for (const argv of [
      ['peers', '--watch', '--json'],
      ['leases', '--watch', '--json'],
    ])
      expect(await fails(argv, '/v1/events/stream', refusing)).toMatch(/refuses/);
  });

  test('about one member of a lease is found out', async () => {
    const lease = RESERVED.lease!;
    for (const member of Object.keys(lease)) {
      const strange = { ...RESERVED, lease: { ...lease, [member]: { evil: EVIL } } };
      // Data are of the backend's own shape.
      if (member.startsWith('data')) continue;
      const err = await fails(['leases', 'release', '10.5.9.0/24'], '/v1/leases/10.5.9.0%2F24', strange);
      expect(err).toContain(`in another shape: lease.${member}`);
    }
  });

  test('no command waits for one that is not there', async () => {
    for (const [argv] of [...COMMANDS, [['metrics']] as const]) {
      const from = argv[0] === 'leases' || argv[0] === 'config' ? ['--source=daemon'] : [];
      const { out, err, code } = await cli.run(
        [...argv.filter((a) => a !== from[0]), ...from],
        fakeIo({ input: '{"Network":"10.5.0.0/16"}' }),
      );
      expect([out, code]).toEqual(['', EXIT.unavailable]);
      expect(err).toMatch(/no loden daemon answers on .*loden\.sock/);
    }
  });

  test('without end is cut off', async () => {
    await cli.daemon({
      '/v1/probes': PROBES,
      '/v1/status': (res: http.ServerResponse) => {
        const piece = 'x'.repeat(1 << 20);
        const more = (): void => {
          while (!res.destroyed && res.write(piece));
          res.once('drain', more);
        };
        more();
      },
    });
    const { err, code } = await cli.run(['status']);
    expect([code, err]).toEqual([
      EXIT.unavailable,
      expect.stringMatching(/the answer has more than \d+ bytes/),
    ]);
  });
});

describe('a daemon that says nothing', () => {
  const hang: Answer = () => {};
  const hangs = Object.fromEntries(
    [...Object.keys(ALL), '/v1/leases/10.5.9.0%2F24'].map((path) => [path, hang]),
  );
  const RESTART = 'the daemon hangs or has much to do; restart it, which loses no packet';

  // All at once: each waits for as long as it must.
  test('is waited for no longer than 5 s, and what to do is said', async () => {
    await cli.daemon(hangs);
    const told = await Promise.all(
      [
        ['status'],
        ['peers'],
        ['peers', '--watch', '--json'],
        ['events', '--follow'],
        ['metrics'],
        ['leases'],
        ['leases', '--watch'],
        ['leases', '--watch', '--source=daemon'],
        ['config', 'show'],
      ].map(async (argv) => ({ argv, ran: await cli.run(argv) })),
    );
    for (const { argv, ran } of told) {
      const instead = ['leases', 'config'].includes(argv[0]!) ? ', or go without it by --source=etcd' : '';
      expect(ran, argv.join(' ')).toMatchObject({
        out: '',
        code: EXIT.unavailable,
        err: expect.stringMatching(
          new RegExp(`^asking \\S+sock for /\\S+: no answer within 5 s: ${RESTART}${instead}$`),
        ),
      });
    }
  });

  test('may still do what it was asked', async () => {
    await cli.daemon(hangs);
    const admin = adminOf(
      { ...clientOptions(commandValues('leases reserve', new Map(), {})), runDir: cli.runDir },
      50,
    );
    const request = { subnet: '10.5.9.0/24', node: 'a1b2' };
    const doubt = (where: string): string =>
      `no answer within 50 ms: the daemon hangs or has much to do, and may still do this when it goes on: see \`${where}\`; restart it, which loses no packet, or go without it by --source=etcd`;
    await expect(admin.reserve(request)).rejects.toThrow(doubt('loden leases'));
    await expect(admin.release({ ...request, force: true })).rejects.toThrow(doubt('loden leases'));
    await expect(admin.setNetwork({ config: '{}' })).rejects.toThrow(doubt('loden config show'));
    await expect(admin.setNetwork({ config: '{}', dryRun: true })).rejects.toThrow(`50 ms: ${RESTART}, or`);
  });
});
