import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { EXIT } from '../../src/contract.ts';
import { EVIL, NODE } from '../fake/apiValues.ts';
import { cliDaemon, LEASES } from '../fake/cliDaemon.ts';
import { fakeIo } from '../fake/io.ts';

/** What the shell completes. */

const cli = cliDaemon();

describe('completion', () => {
  const reply = async (line: string, shell: 'bash' | 'zsh' = 'bash'): Promise<string[]> => {
    const words = shell === 'bash' ? [line] : line.split(' ');
    const { out } = await cli.run(
      ['completion', 'reply', shell, ...words],
      fakeIo({ env: { FLANNELD_RUN_DIR: cli.runDir } }),
    );
    return out.split('\n').filter(Boolean);
  };
  test.each([
    ['loden ver', ['version']],
    ['loden leases re', ['reserve', 'release']],
    ['loden --run-dir /x leases sh', ['show']],
    ['loden leases --source ', ['auto', 'daemon', 'etcd']],
    ['loden leases --source=d', ['daemon']],
    ['loden leases -source=e', ['etcd']],
    ['loden leases --json=', ['true', 'false']],
    ['loden run --log-l', ['--log-level']],
    ['loden events --kind=p', ['peer', 'path', 'pods']],
    ['loden config validate --so', []],
    ['loden config set ', []],
    ['loden nonsense ', []],
    ['loden leases nonsense ', []],
    ['loden leases show 10.5.7.0/24 ', []],
  ])('%j', async (line, words) => expect(await reply(line)).toEqual(words));

  test('zsh gets whole words', async () => {
    expect(await reply('loden leases --source=d', 'zsh')).toEqual(['--source=daemon']);
    expect(await reply('loden st', 'zsh')).toEqual(['status']);
  });

  test('knows what the daemon knows', async () => {
    const evil = { ...LEASES.leases[1]!, subnets: ['10.5.9.0/24', 'fd00:5:0:9::/64', `10.5.${EVIL}`] };
    await cli.daemon({ '/v1/leases': { ...LEASES, leases: [LEASES.leases[0], evil] } });
    expect(await reply('loden leases show 10.5.7')).toEqual(['10.5.7.0/24']);
    expect(await reply('loden leases release fd00:5:0:')).toEqual(['9::/64']);
    expect((await reply('loden leases show 10.5.?')).join('')).not.toMatch(/\p{Cc}/u);
    expect(await reply('loden leases reserve 10.5.50.0/24 --node 192.0')).toEqual(['192.0.2.7', '192.0.2.9']);
    expect(await reply(`loden leases reserve 10.5.50.0/24 --node=${NODE.slice(0, 4)}`)).toEqual([NODE]);
  });

  test('never fails, whatever answers', async () => {
    expect(await reply('loden leases show ')).toEqual([]);
    for (const answer of ['nonsense', '{"leases":[null]}', '{"leases":[{"subnets":5}]}']) {
      await cli.daemon({ '/v1/leases': answer });
      expect(await reply('loden leases show ')).toEqual([]);
      await cli.gone();
    }
    await cli.daemon({ '/v1/leases': () => {} });
    expect(await reply('loden leases show ')).toEqual([]);
  });

  test('whatever the line is', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.oneof(
            fc.constantFrom('leases', 'show', '--node', '--kind=', '-', '--', '=', 'config'),
            fc.string(),
          ),
          { maxLength: 6 },
        ),
        async (words) => {
          const out = await reply(`loden ${words.join(' ')}`);
          expect(out.join('')).not.toMatch(/\p{Cc}/u);
        },
      ),
      { numRuns: 50 },
    );
  });

  test('prints a script for a shell it knows, and for no other', async () => {
    for (const shell of ['bash', 'zsh'])
      expect((await cli.run(['completion', shell])).out).toContain('loden completion reply');
    expect(await cli.run(['completion', 'fish'])).toMatchObject({ code: EXIT.usage });
    expect((await cli.run(['completion', '--help'])).out).toMatch(/bash\|zsh/);
  });
});
