import { writeFile } from 'node:fs/promises';
import type http from 'node:http';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { NetworkChangeJson } from '../../src/api/changes.ts';
import { EXIT } from '../../src/contract.ts';
import { EVIL } from '../fake/apiValues.ts';
import { ALL, CONFIG, cliDaemon, PLANNED, RESERVED } from '../fake/cliDaemon.ts';
import { fakeIo } from '../fake/io.ts';

/** Commands that change something, and what is to be changed. */

const cli = cliDaemon();

describe('changes', () => {
  test('are asked of the daemon as they are', async () => {
    await cli.daemon({ ...ALL, '/v1/leases/10.5.9.0%2F24': { ...RESERVED, done: 'deleted', lease: null } });
    expect(await cli.run(['leases', 'reserve', '10.5.9.0/24', '--node', 'a1b2'])).toMatchObject({
      code: 0,
      out: '10.5.9.0/24: a reservation now: it never runs out\n',
    });
    expect(cli.requests.at(-1)).toMatchObject({
      method: 'POST',
      body: '{"subnet":"10.5.9.0/24","node":"a1b2"}',
    });
    expect(await cli.run(['leases', 'release', '10.5.9.0/24', '--force', '--json'])).toMatchObject({
      code: 0,
    });
    expect(cli.requests.at(-1)).toMatchObject({
      method: 'DELETE',
      url: '/v1/leases/10.5.9.0%2F24?force=true',
    });
  });

  test.each([
    [409, 'refused', EXIT.failure],
    [409, 'conflict', EXIT.failure],
    [422, 'config', EXIT.config],
    [400, 'bad-request', EXIT.usage],
    [403, 'forbidden', EXIT.failure],
    [503, 'unavailable', EXIT.unavailable],
  ])(
    'that the daemon refuses with %d %s end so too, and are not tried straight at etcd',
    async (status, code, exit) => {
      await cli.daemon({
        '/v1/reservations': (res: http.ServerResponse) =>
          void res.writeHead(status).end(JSON.stringify({ error: { code, message: `two\nlines ${EVIL}` } })),
      });
      const { out, err, code: ended } = await cli.run(['leases', 'reserve', '10.5.9.0/24', '--node', 'a1b2']);
      expect([out, ended]).toEqual(['', exit]);
      expect(err).toMatch(/two\nlines \?/);
    },
  );

  test('of the network config name the revision that was shown', async () => {
    const file = join(cli.runDir, 'c.json');
    await writeFile(file, '{"Network":"10.5.0.0/16"}');
    const answers: NetworkChangeJson[] = [PLANNED, { ...PLANNED, done: 'set', revision: '8' }];
    await cli.daemon({
      '/v1/network': (res: http.ServerResponse) => void res.end(JSON.stringify(answers.shift())),
    });
    expect(await cli.run(['config', 'set', file])).toMatchObject({
      code: 0,
      out: '+ Backend.VNI: 7\nrunning daemons apply it at once\nset: /k/config at revision 8\n',
    });
    expect(cli.requests.map((r) => JSON.parse(r.body))).toEqual([
      { config: '{"Network":"10.5.0.0/16"}', dryRun: true },
      { config: '{"Network":"10.5.0.0/16"}', force: false, revision: '6' },
    ]);
  });

  test('that orphan leases are shown and not made, unless forced', async () => {
    const orphans = [{ key: '10.5.9.0-24', subnets: ['10.5.9.0/24'], node: null, publicIP: null, why: 'so' }];
    await cli.daemon({ '/v1/network': { ...PLANNED, orphans } });
    const refused = await cli.run(['config', 'set', '-'], fakeIo({ input: '{}' }));
    expect(refused).toMatchObject({
      code: EXIT.failure,
      err: expect.stringMatching(/--force/),
      out: expect.stringMatching(/orphans 1 lease:\n[\s\S]*not set: .* stays as it is\n$/),
    });
    expect(cli.requests).toHaveLength(1);
    expect(await cli.run(['config', 'set', '-', '--dry-run'], fakeIo({ input: '{}' }))).toMatchObject({
      code: EXIT.failure,
      out: expect.stringMatching(/--dry-run/),
    });
    await cli.run(['config', 'set', '-', '--force'], fakeIo({ input: '{}' }));
    expect(JSON.parse(cli.requests.at(-1)!.body)).toMatchObject({ force: true, revision: '6' });
  });
});

describe('loden config', () => {
  test('validate tells all that is wrong, with its path', async () => {
    const input = '{"Network":"x","SubnetLen":99,"Backend":{"Type":"vxlan","VNI":-1,"PSK":"hunter2"}}';
    const { out, code } = await cli.run(['config', 'validate', '-'], fakeIo({ input }));
    expect([code, out]).toEqual([
      EXIT.config,
      expect.stringMatching(/wrong: 2 problems\n {2}Network: expected .*\n {2}Backend\.VNI: expected /),
    ]);
    expect(out).not.toContain('hunter2');
    const asJson = await cli.run(['config', 'validate', '-', '--json'], fakeIo({ input }));
    expect(JSON.parse(asJson.out)).toMatchObject({
      valid: false,
      problems: [{ path: 'Network' }, { path: 'Backend.VNI' }],
    });
    expect(await cli.run(['config', 'validate', '/does/not/exist'])).toMatchObject({
      code: EXIT.config,
      err: expect.stringMatching(/cannot read/),
    });
    expect(
      await cli.run(
        ['config', 'validate', '-'],
        fakeIo({ input: '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"},"Foo":1}' }),
      ),
    ).toMatchObject({
      code: 0,
      out: 'right\nunknown: Foo means nothing to this version\nIPv4     10.5.0.0/16; a /24 for each node, from 10.5.1.0 to 10.5.255.0\nbackend  vxlan\n',
    });
  });

  test('show says whether it is in force, and why not', async () => {
    await cli.daemon({ '/v1/config': CONFIG });
    expect(await cli.run(['config', 'show'])).toMatchObject({
      code: 0,
      out: expect.stringMatching(
        /"PSK": "\[redacted\]"[\s\S]*\/k\/config: in force at this host's daemon\n$/,
      ),
    });
    await cli.gone();
    await cli.daemon({
      '/v1/config': {
        ...CONFIG,
        network: { ...CONFIG.network, inForce: false, problem: `needs a restart ${EVIL}` },
      },
    });
    expect(await cli.run(['config', 'show'])).toMatchObject({
      code: 0,
      err: expect.stringMatching(/needs a restart/),
    });
    await cli.gone();
    await cli.daemon({ '/v1/config': { ...CONFIG, network: { ...CONFIG.network, config: null } } });
    expect(await cli.run(['config', 'show', '--json'])).toMatchObject({ code: 1 });
  });
});
