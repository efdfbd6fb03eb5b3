import { execFile } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { dockerOpts } from '../../src/cli/dockerOpts.ts';
import { dockerOptsOptions } from '../../src/cli/dockerOptsOptions.ts';
import { exitCodeOf } from '../../src/cli/program.ts';

/** `loden docker-opts` and deploy/mk-docker-opts.sh, which must do the same to the byte. */

const SCRIPT = fileURLToPath(new URL('../../deploy/mk-docker-opts.sh', import.meta.url));
const SHELLS = [['dash'], ['bash', '--posix'], ['busybox', 'sh']];

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'ld-docker-opts-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

interface Case {
  /** Undefined: there is no file. */
  readonly file?: string | Buffer | undefined;
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** Exit status, and what is in the file afterwards; `before` when it was left alone. */
interface Result {
  readonly status: number;
  readonly text: string;
}

const BEFORE = 'as it was\n';

function prepare(name: string, { file }: Case): { from: string; to: string } {
  const [from, to] = [join(dir, 'subnet.env'), join(dir, name)];
  rmSync(from, { force: true });
  if (file !== undefined) writeFileSync(from, file);
  writeFileSync(to, BEFORE);
  return { from, to };
}

async function byCommand(given: Case): Promise<Result> {
  const { from, to } = prepare('command', given);
  let status = 0;
  try {
    const options = dockerOptsOptions(['-f', from, '-d', to, ...(given.args ?? [])]);
    await dockerOpts(options!, given.env ?? {}, () => {});
  } catch (error) {
    status = exitCodeOf(error);
  }
  return { status, text: readFileSync(to, 'utf8') };
}

function shell(argv: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<number> {
  return new Promise((resolve) => {
    const options = { env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', ...env }, cwd: dir, timeout: 20_000 };
    execFile(argv[0]!, argv.slice(1), options, (error) => resolve(error ? Number(error.code) : 0));
  });
}

async function byScript(given: Case, interpreter: readonly string[]): Promise<Result> {
  const { from, to } = prepare('script', given);
  const argv = [...interpreter, SCRIPT, '-f', from, '-d', to, ...(given.args ?? [])];
  const status = await shell(argv, given.env);
  return { status, text: readFileSync(to, 'utf8') };
}

/** Both, for sure the same. */
async function both(given: Case, interpreters: readonly (readonly string[])[] = SHELLS): Promise<Result> {
  const result = await byCommand(given);
  for (const interpreter of interpreters) {
    const other = await byScript(given, interpreter);
    expect(other, `${interpreter.join(' ')}: ${JSON.stringify(given)}`).toEqual(result);
  }
  return result;
}

const SAMPLE =
  'FLANNEL_NETWORK=10.1.0.0/16\nFLANNEL_SUBNET=10.1.74.1/24\nFLANNEL_MTU=1472\nFLANNEL_IPMASQ=false\n';
const [BIP, MASQ, MTU] = [
  'DOCKER_OPT_BIP="--bip=10.1.74.1/24"\n',
  'DOCKER_OPT_IPMASQ="--ip-masq=true"\n',
  'DOCKER_OPT_MTU="--mtu=1472"\n',
];
const ALL = ' --bip=10.1.74.1/24 --ip-masq=true --mtu=1472';

describe('options as flannel has them', () => {
  test.each([
    [[], `${BIP}${MASQ}${MTU}DOCKER_OPTS="${ALL}"\n`],
    [['-i'], BIP + MASQ + MTU],
    [['-c'], `DOCKER_OPTS="${ALL}"\n`],
    [['-i', '-c'], `${BIP}${MASQ}${MTU}DOCKER_OPTS="${ALL}"\n`],
    [['-k', 'CUSTOM_KEY'], `${BIP}${MASQ}${MTU}CUSTOM_KEY="${ALL}"\n`],
    [['-ckKEY2'], `KEY2="${ALL}"\n`],
    [['-m'], `${BIP}${MTU}DOCKER_OPTS=" --bip=10.1.74.1/24 --mtu=1472"\n`],
    [['-im'], BIP + MTU],
  ])('%j', async (args, text) => {
    expect(await both({ file: SAMPLE, args })).toEqual({ status: 0, text });
  });

  test('masquerading is done by one of the two', async () => {
    const file = SAMPLE.replace('false', 'true');
    expect((await both({ file, args: ['-i'] })).text).toContain('DOCKER_OPT_IPMASQ="--ip-masq=false"\n');
  });

  test.each([
    [['-x']],
    [['-k']],
    [['-k', '']],
    [['-k', '1A']],
    [['-k', 'A;B']],
    [['-k', '$(touch pwned)']],
    [['-f', '']],
    [['-d', '']],
    [['stray']],
    [['-i', 'stray']],
    [['--long']],
  ])('%j is wrong usage', async (args) => {
    expect(await both({ file: SAMPLE, args })).toEqual({ status: 64, text: BEFORE });
  });
});

describe('the subnet file', () => {
  const combined = (file: string | undefined, env = {}) => both({ file, args: ['-c'], env });
  const ok = (options: string) => ({ status: 0, text: `DOCKER_OPTS="${options}"\n` });

  test.each([
    ['', ''],
    ['# nothing\n\n', ''],
    ['FLANNEL_MTU=1450', ' --mtu=1450'],
    ['FLANNEL_MTU=\n', ''],
    ['FLANNEL_MTU=1450\nFLANNEL_MTU=1400\n', ' --mtu=1400'],
    ['FLANNEL_MTU=1450\nFLANNEL_MTU=\n', ''],
    [' \texport \t FLANNEL_MTU=1450 \t\n', ' --mtu=1450'],
    ['exportFLANNEL_MTU=1450\n', ''],
    ['FLANNEL_MTU="1450"\nFLANNEL_IPMASQ=\'true\'', ' --ip-masq=false --mtu=1450'],
    ['XFLANNEL_MTU=1450\nFLANNEL_MTUX=1\nFLANNEL_MTU =3\nflannel_mtu=4\n', ''],
    ['FLANNEL_IPV6_SUBNET=fd00::1/64\nFLANNEL_IPMASQ=true\n', ' --ip-masq=false'],
    ['DOCKER_OPTS=--evil\nDOCKER_OPT_X=--evil\nPATH=/nowhere\nIFS=1\n', ''],
    ['$(touch pwned)\n`touch pwned`\ntouch pwned\nFLANNEL_NETWORK=$(touch pwned)\n', ''],
    ['FLANNEL_NETWORK=1;touch pwned\nFLANNEL_MTU=68\n', ' --mtu=68'],
    ['FLANNEL_SUBNET=0.0.0.0/0\nFLANNEL_MTU=65535\n', ' --bip=0.0.0.0/0 --mtu=65535'],
    ['FLANNEL_SUBNET=255.249.99.1/32\n', ' --bip=255.249.99.1/32'],
    ['\\FLANNEL_MTU=1\nFLANNEL_\\\nMTU=1450\n', ''],
    ['é=ü\nЁ\n\u2028FLANNEL_MTU=1\n', ''],
  ])('%j', async (file, options) => {
    expect(await combined(file)).toEqual(ok(options));
    expect(existsSync(join(dir, 'pwned'))).toBe(false);
  });

  test.each([
    'FLANNEL_IPMASQ=yes',
    'FLANNEL_IPMASQ=TRUE',
    'FLANNEL_IPMASQ="true',
    'FLANNEL_IPMASQ=true # really',
    'FLANNEL_IPMASQ=$(touch pwned)',
    'FLANNEL_MTU=$(touch pwned)',
    'FLANNEL_MTU=`touch pwned`',
    'FLANNEL_MTU=1450; touch pwned',
    'FLANNEL_MTU= 1450',
    'FLANNEL_MTU=1450"',
    'FLANNEL_MTU="',
    'FLANNEL_MTU=\'1450"',
    'FLANNEL_MTU=67',
    'FLANNEL_MTU=65536',
    'FLANNEL_MTU=01450',
    'FLANNEL_MTU=145000000000000000000000000',
    'FLANNEL_MTU=-1',
    'FLANNEL_MTU=1450\u2028',
    'FLANNEL_MTU=１４５０',
    'FLANNEL_MTU=*',
    'FLANNEL_SUBNET=$(touch pwned)',
    'FLANNEL_SUBNET=10.1.74.1/24 --privileged',
    'FLANNEL_SUBNET=10.1.74.1',
    'FLANNEL_SUBNET=10.1.74.1/33',
    'FLANNEL_SUBNET=10.1.74.1/024',
    'FLANNEL_SUBNET=10.1.74.1/',
    'FLANNEL_SUBNET=10.1.74.256/24',
    'FLANNEL_SUBNET=10.1.074.1/24',
    'FLANNEL_SUBNET=10.1.74/24',
    'FLANNEL_SUBNET=10.1.74.1.1/24',
    'FLANNEL_SUBNET=10.1.74.1./24',
    'FLANNEL_SUBNET=.10.1.74.1/24',
    'FLANNEL_SUBNET=10.1..74.1/24',
    'FLANNEL_SUBNET=10.1.74.1/24/24',
    'FLANNEL_SUBNET=/',
    'FLANNEL_SUBNET=*.*.*.*/24',
    'FLANNEL_SUBNET=fd00::1/64',
    'FLANNEL_MTU=1450\r\nFLANNEL_IPMASQ=true\r\n',
    'FLANNEL_MTU=1450\0',
    '\u0007',
    '\u007f',
    `${'#'.repeat(65_537)}`,
  ])('%j is refused, and what was written before stays', async (file) => {
    expect(await combined(file)).toEqual({ status: 1, text: BEFORE });
    expect(existsSync(join(dir, 'pwned'))).toBe(false);
  });

  test('a wrong FLANNEL_IPMASQ does not matter with -m', async () => {
    expect(await both({ file: 'FLANNEL_IPMASQ=yes', args: ['-cm'] })).toEqual(ok(''));
  });

  test('that is missing gives no options, and a warning', async () => {
    expect(await combined(undefined)).toEqual(ok(''));
    const said: string[] = [];
    const options = dockerOptsOptions(['-f', join(dir, 'none'), '-d', join(dir, 'out')])!;
    await dockerOpts(options, {}, (text) => said.push(text));
    expect(said).toEqual([expect.stringMatching(/none is missing: is the daemon running/)]);
  });

  test('of bytes that are no UTF-8 is no trouble where they do not matter', async () => {
    const noise = Buffer.from([0x81, 0x82, 0x88, 0xff, 0x0a]);
    const line = Buffer.from('FLANNEL_MTU=1450\n');
    expect((await both({ file: Buffer.concat([noise, line, noise]), args: ['-c'] })).text).toContain('1450');
    expect((await both({ file: Buffer.concat([Buffer.from('FLANNEL_MTU=1450'), noise]) })).status).toBe(1);
  });

  test('has no patterns that file names could fit', async () => {
    for (const name of ['7', '24']) writeFileSync(join(dir, name), '');
    for (const subnet of ['?.7.7.7/24', '7.7.7.[7]/24', '*.7.7.7/24', '7.7.7.7/2?'])
      expect(await combined(`FLANNEL_SUBNET=${subnet}`), subnet).toEqual({ status: 1, text: BEFORE });
  });

  test('that is a directory is refused', async () => {
    mkdirSync(join(dir, 'd'));
    expect((await both({ file: '', args: ['-f', join(dir, 'd')] })).status).toBe(1);
  });
});

test('-k names no variable that script or shell set themselves', { timeout: 60_000 }, async () => {
  const names = new Set(['DOCKER_OPT_BIP', 'DOCKER_OPT_X', 'FLANNEL_MTU', 'ld_key', 'OPTARG', 'LC_ALL', '_']);
  // All that a shell has without being told.
  const script = join(dir, 'set.sh');
  writeFileSync(script, 'set >"$1"\n');
  for (const [i, interpreter] of SHELLS.entries()) {
    const file = join(dir, `set-${i}`);
    expect(await shell([...interpreter, script, file])).toBe(0);
    for (const [, name] of readFileSync(file, 'utf8').matchAll(/^([A-Za-z_]\w*)=/gm)) names.add(name!);
  }
  expect(names.size).toBeGreaterThan(30);
  for (const name of names) {
    const args = ['-c', '-k', name];
    expect([name, await byCommand({ file: SAMPLE, args })]).toEqual([name, { status: 64, text: BEFORE }]);
    expect([name, await byScript({ file: SAMPLE, args }, SHELLS[0]!)]).toEqual([
      name,
      { status: 64, text: BEFORE },
    ]);
  }
  for (const name of ['DOCKER_OPTS', 'DOCKER_NETWORK_OPTIONS', 'IFS_', 'OUT'])
    expect((await both({ file: SAMPLE, args: ['-c', '-k', name] })).text).toBe(`${name}="${ALL}"\n`);
});

describe('the environment', () => {
  const run = (env: Record<string, string>, args = ['-c'], file = 'FLANNEL_MTU=1450\n') =>
    both({ file, args, env });

  test('stands in for what the file does not have', async () => {
    const env = { FLANNEL_SUBNET: '10.9.9.1/24', FLANNEL_MTU: '1000', FLANNEL_IPMASQ: '' };
    expect((await run(env)).text).toBe('DOCKER_OPTS=" --bip=10.9.9.1/24 --mtu=1450"\n');
  });

  test('has options to be put in front', async () => {
    expect((await run({ DOCKER_OPTS: '--icc=false' })).text).toBe('DOCKER_OPTS="--icc=false  --mtu=1450"\n');
    expect((await run({ DOCKER_OPTS: 'x', K: 'y' }, ['-c', '-k', 'K'])).text).toBe('K="y  --mtu=1450"\n');
  });

  test('has options to be put beside, ordered by name; ours count more', async () => {
    const env = { DOCKER_OPT_Z: '--z=1 2', DOCKER_OPT_A: '--a', DOCKER_OPT_MTU: '--mtu=1', DOCKER_OPT_E: '' };
    expect((await run(env, [])).text).toBe(
      'DOCKER_OPT_A="--a"\nDOCKER_OPT_MTU="--mtu=1450"\nDOCKER_OPT_Z="--z=1 2"\n' +
        'DOCKER_OPTS=" --a --mtu=1450 --z=1 2"\n',
    );
  });

  test('may have quotes: the file says the same to a shell', async () => {
    const value = '--x="a\\b" $HOME `id` \'q\' Ё*';
    const { text } = await run({ DOCKER_OPT_X: value }, ['-i']);
    writeFileSync(join(dir, 'opts'), text);
    const argv = [
      '-c',
      '. "$1"; printf %s "$DOCKER_OPT_X" >"$2"',
      'sh',
      join(dir, 'opts'),
      join(dir, 'said'),
    ];
    expect(await shell(['dash', ...argv])).toBe(0);
    expect(readFileSync(join(dir, 'said'), 'utf8')).toBe(value);
  });

  test.each(['a\nb', 'a\tb', '\u007f'])('%j is refused', async (value) => {
    expect(await run({ DOCKER_OPT_X: value })).toEqual({ status: 1, text: BEFORE });
    expect(await run({ DOCKER_OPTS: value })).toEqual({ status: 1, text: BEFORE });
  });
});

test('whatever the file has, both say the same', { timeout: 120_000 }, async () => {
  const name = fc.constantFrom('FLANNEL_SUBNET', 'FLANNEL_MTU', 'FLANNEL_IPMASQ', 'export FLANNEL_MTU', 'X');
  const value = fc.oneof(
    fc.constantFrom('10.1.2.1/24', '1450', 'true', 'false', '', '"1450"', "'true'", '"', "'", '  '),
    fc.string({ maxLength: 8 }),
    fc.string({
      unit: fc.constantFrom('"', "'", '\\', '$', '`', ' ', '\t', '=', '#', '1', '.', '/'),
      maxLength: 8,
    }),
  );
  const line = fc.oneof(
    { weight: 4, arbitrary: fc.tuple(name, value).map(([n, v]) => `${n}=${v}`) },
    { weight: 1, arbitrary: fc.string({ maxLength: 20 }) },
  );
  const files = fc.array(line, { maxLength: 5 }).map((lines) => lines.join('\n'));
  await fc.assert(
    fc.asyncProperty(files, fc.constantFrom([], ['-i'], ['-c'], ['-m']), async (file, args) => {
      const { status } = await both({ file, args }, [['dash']]);
      expect([0, 1]).toContain(status);
    }),
    { numRuns: 150 },
  );
});

describe.each([['the command'], ['the script']])('what %s writes', (which) => {
  const write = async (to: string, args: string[] = []): Promise<number> => {
    const given = ['-f', join(dir, 'in'), '-d', to, '-c', ...args];
    writeFileSync(join(dir, 'in'), 'FLANNEL_MTU=1450\n');
    if (which === 'the script') return shell(['dash', SCRIPT, ...given]);
    try {
      await dockerOpts(dockerOptsOptions(given)!, {}, () => {});
      return 0;
    } catch (error) {
      return exitCodeOf(error);
    }
  };
  const TEXT = 'DOCKER_OPTS=" --mtu=1450"\n';

  test('is a new file that others may read, in a directory that is made', async () => {
    const to = join(dir, 'a/b/opts');
    const old = process.umask(0o077);
    try {
      expect(await write(to)).toBe(0);
    } finally {
      process.umask(old);
    }
    expect(readFileSync(to, 'utf8')).toBe(TEXT);
    expect(statSync(to).mode & 0o777).toBe(0o644);
    expect(readdirSync(join(dir, 'a/b'))).toEqual(['opts']);
    const { ino } = statSync(to);
    expect(await write(to)).toBe(0);
    expect(statSync(to).ino, 'it is replaced, not written over').not.toBe(ino);
  });

  test('goes behind a symbolic link', async () => {
    writeFileSync(join(dir, 'real'), '');
    symlinkSync('real', join(dir, 'link'));
    expect(await write(join(dir, 'link'))).toBe(0);
    expect(readFileSync(join(dir, 'real'), 'utf8')).toBe(TEXT);
    expect(readdirSync(dir).sort()).toEqual(['in', 'link', 'real']);
  });

  test('can fail', async () => {
    mkdirSync(join(dir, 'd'));
    writeFileSync(join(dir, 'f'), '');
    expect(await write(join(dir, 'd'))).toBe(1);
    expect(await write(join(dir, 'f/x'))).toBe(1);
    expect(readdirSync(dir).sort()).toEqual(['d', 'f', 'in']);
  });

  test('may go to a device', async () => {
    expect(await write('/dev/null')).toBe(0);
    expect(statSync('/dev/null').isCharacterDevice()).toBe(true);
  });
});

test('the script prints to standard output, be it a pipe or a file', async () => {
  writeFileSync(join(dir, 'in'), 'FLANNEL_MTU=1450\n');
  const command = `sh '${SCRIPT}' -f in -d /dev/stdout -c`;
  expect(await shell(['sh', '-c', `${command} | cat >piped; ${command} >filed`])).toBe(0);
  for (const name of ['piped', 'filed'])
    expect(readFileSync(join(dir, name), 'utf8')).toBe('DOCKER_OPTS=" --mtu=1450"\n');
});
