import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { normaliseArgs } from '../../src/cli/args.ts';
import { exitCodeOf, parseCommandLine, program } from '../../src/cli/program.ts';
import { COMMANDS } from '../../src/cli/registry.ts';
import { optionNames, optionsOf } from '../../src/config/options.ts';
import { EXIT, VERSION } from '../../src/contract.ts';
import { ConfigError, InvariantError, LodenError, UsageError } from '../../src/errors.ts';
import { fakeIo } from '../fake/io.ts';

describe('arguments as Go takes them', () => {
  test.each([
    [['-iface=eth0'], ['--iface=eth0']],
    [['-iface', 'eth0'], ['--iface=eth0']],
    [['--iface', 'eth0'], ['--iface=eth0']],
    [['--iface=eth0'], ['--iface=eth0']],
    [['-ip-masq'], ['--ip-masq=true']],
    [['--ip-masq'], ['--ip-masq=true']],
    [['-ip-masq=false'], ['--ip-masq=false']],
    [['-v=4'], ['--v=4']],
    [['--v=4'], ['--v=4']],
    [['-v', '4'], ['--v=4']],
    [['-iface', '-x'], ['--iface=-x']],
    [['-iface='], ['--iface=']],
    [['-etcd-prefix=/a=b'], ['--etcd-prefix=/a=b']],
    [['-etcd-password', 'a\nb'], ['--etcd-password=a\nb']],
    [['-h'], ['--help']],
    [['-help'], ['--help']],
    [['-version'], ['--version']],
    [
      ['run', '-iface', 'eth0', '-iface=eth1', '-ip-masq'],
      ['run', '--iface=eth0', '--iface=eth1', '--ip-masq=true'],
    ],
    // What is not ours is left to the parser.
    [
      ['-unknown', 'x'],
      ['-unknown', 'x'],
    ],
    [['---iface=x'], ['---iface=x']],
    [['-'], ['-']],
    [['-iface'], ['--iface']],
    [
      ['--', '-iface', 'x'],
      ['--', '-iface', 'x'],
    ],
  ])('%j is %j', (given, expected) => expect(normaliseArgs(given)).toEqual(expected));

  test('are left alone once they are in the one form', () => {
    const word = fc.oneof(
      fc.constantFrom(...optionNames.flatMap((n) => [`-${n}`, `--${n}=1`, `-${n}=`])),
      fc.string(),
    );
    fc.assert(
      fc.property(fc.array(word), (argv) => {
        const once = normaliseArgs(argv);
        fc.pre(!once.some((a, i) => /^--[^=]+$/.test(a) && i === once.length - 1));
        expect(normaliseArgs(once)).toEqual(once);
      }),
    );
  });
});

/** What a command line prints. */
async function printed(...argv: string[]): Promise<string> {
  const io = fakeIo();
  expect(await program(argv, io)).toBe(0);
  return io.printed.join('');
}

const usageError = (argv: readonly string[]): UsageError => {
  try {
    parseCommandLine(argv, {});
  } catch (e) {
    expect(e).toBeInstanceOf(UsageError);
    expect(exitCodeOf(e)).toBe(EXIT.usage);
    return e as UsageError;
  }
  throw new Error(`${argv.join(' ')} was accepted`);
};

describe('the command line', () => {
  test('of a flanneld unit file is that of loden run', () => {
    const argv = [
      'run',
      '-etcd-endpoints=http://10.0.0.1:2379',
      '-iface',
      'eth1',
      '-iface=eth0',
      '-ip-masq',
      '-v=2',
    ];
    expect(parseCommandLine(argv, { FLANNELD_SUBNET_FILE: '/x' })).toMatchObject({
      command: 'run',
      options: {
        etcd: { endpoints: ['http://10.0.0.1:2379'] },
        uplink: { ifaces: ['eth1', 'eth0'] },
        ipMasq: true,
        subnetFile: '/x',
        log: { level: 'debug' },
      },
    });
  });

  test.each([
    [['leases']],
    [['leases', 'list']],
    [['leases', '--json']],
    [['leases', 'list', '-json=false']],
  ])('%j lists leases', (argv) => {
    expect(parseCommandLine(argv, {})).toMatchObject({
      command: 'leases list',
      options: { json: argv.includes('--json') },
    });
  });

  test('of cleanup', () => {
    expect(parseCommandLine(['cleanup', '--run-dir', '/r'], {})).toMatchObject({
      command: 'cleanup',
      options: { runDir: '/r', json: false },
    });
  });

  test('of the CNI plugin', () => {
    const argv = [
      'cni',
      'install',
      '--run-dir',
      'r',
      '-network-name=n',
      '--conf-dir=/c',
      '--bin-dir=/b',
      '-force',
    ];
    expect(parseCommandLine(argv, { FLANNELD_BIN_DIR: '/other' })).toMatchObject({
      command: 'cni install',
      options: {
        binDir: '/b',
        confDir: '/c',
        runDir: `${process.cwd()}/r`,
        stateDir: '/var/lib/loden',
        networkName: 'n',
        cniVersion: '1.0.0',
        force: true,
        json: false,
      },
    });
    expect(parseCommandLine(['cni', 'uninstall', '--json'], {})).toMatchObject({
      command: 'cni uninstall',
      options: { binDir: '/opt/cni/bin', confDir: '/etc/cni/net.d', force: false, json: true },
    });
  });

  test.each([
    ['', { individual: true, combined: true, ipMasq: true }],
    ['-i', { individual: true, combined: false }],
    ['-c', { individual: false, combined: true }],
    ['-ci', { individual: true, combined: true }],
    ['-m', { individual: true, combined: true, ipMasq: false }],
    ['-imk KEY', { individual: true, combined: false, ipMasq: false, key: 'KEY' }],
    ['-kKEY -f/a -d /b', { key: 'KEY', from: '/a', to: '/b' }],
    ['-k A -k B -f -i', { key: 'B', from: '-i', individual: true, combined: true }],
    ['-c --', { from: '/run/flannel/subnet.env', to: '/run/docker_opts.env', key: 'DOCKER_OPTS' }],
  ])('docker-opts %s', (args, options) => {
    const argv = ['docker-opts', ...args.split(' ').filter(Boolean)];
    expect(parseCommandLine(argv, {})).toMatchObject({ command: 'docker-opts', options });
  });

  test.each([['-h'], ['--help'], ['-ih']])('docker-opts %s tells what there is', async (arg) => {
    expect(await printed('docker-opts', arg)).toMatch(/-f .*-d .*-i .*-c .*-k .*-m /s);
  });

  test.each([
    [[], /a command is missing/],
    [['frobnicate'], /frobnicate/],
    [['leases', 'frobnicate'], /frobnicate/],
    [['run', 'now'], /now/],
    [['run', '--', 'now'], /now/],
    [['run', '--frobnicate=1'], /frobnicate/],
    [['run', '-frobnicate'], /frobnicate/],
    [['run', '--no-ip-masq'], /no-ip-masq/],
    [['run', '-ip-masq', 'false'], /false/],
    [['run', '--iface'], /iface/],
    [['run', '--json'], /json/],
    [['leases', '--iface=eth0'], /iface/],
    [['cleanup', '--etcd-prefix=/x'], /etcd-prefix/],
    [['run', '--__proto__=1'], /proto/],
    [['run', '--constructor=1'], /constructor/],
    [['run', '--iface.x=1'], /iface\.x/],
    [['cni'], /install or uninstall is missing/],
    [['cni', 'frobnicate'], /frobnicate/],
    [['cni', 'uninstall', '--network-name=x'], /network-name/],
    [['cni', 'install', '--etcd-prefix=/x'], /etcd-prefix/],
    [['run', '-'], /Unknown argument: -;/],
    [['leases', 'show'], /an argument is missing/],
    [['leases', 'reserve', '10.5.1.0/24'], /--node is missing/],
    [['leases', 'show', '10.5.1.0/24', '--watch'], /watch/],
    [['config'], /show, validate or set is missing/],
    [['config', 'set', 'a', 'b'], /b/],
    [['completion'], /bash or zsh/],
    [['docker-opts', 'now'], /now/],
    [['docker-opts', '-x'], /-x/],
    [['docker-opts', '-if'], /-f takes an argument/],
    [['docker-opts', '-k', 'a b'], /name of a variable/],
    [['docker-opts', '-k', ''], /name of a variable/],
    [['docker-opts', '-f', ''], /path/],
    [['docker-opts', '--json'], /--json/],
  ])('%j is wrong usage', (argv, reason) => expect(usageError(argv).message).toMatch(reason));

  test('does not say a password that went astray', () => {
    expect(usageError(['run', '--etcd-passwort=hunter2']).message).not.toContain('hunter2');
  });

  test('throws all wrong values together', () => {
    expect.assertions(2);
    try {
      parseCommandLine(['run', '-healthz-port=x', '-public-ip=y'], {});
    } catch (e) {
      expect(exitCodeOf(e)).toBe(EXIT.config);
      expect((e as ConfigError).problems.map((p) => p.path)).toEqual(['--public-ip', '--healthz-port']);
    }
  });

  test.each([[['version']], [['--version']], [['-version']], [['run', '--version']]])(
    '%j tells the version',
    async (argv) => expect(await printed(...argv)).toBe(`${VERSION}\n`),
  );

  test('version --json tells it as JSON', async () =>
    expect(JSON.parse(await printed('version', '--json'))).toEqual({ version: VERSION }));

  test('--help names all that a command takes', async () => {
    for (const { name, ownArguments, positionals = [] } of COMMANDS) {
      if (ownArguments) continue;
      const help = await printed(...name.split(' '), '--help', '--show-hidden');
      for (const option of optionsOf(name)) expect(help).toMatch(new RegExp(`-${option} `));
      for (const positional of positionals) expect(help).toMatch(`${positional.name}`);
    }
  });

  test('--help names all commands', async () => {
    const help = await printed('-help');
    for (const { name } of COMMANDS) expect(help).toMatch(new RegExp(`loden ${name.split(' ')[0]} `));
  });

  test('whatever it is, it is understood or refused', () => {
    const known = fc.constantFrom(
      'run',
      'leases',
      'cleanup',
      'cni',
      'install',
      'docker-opts',
      'list',
      '-iface',
      '--ip-masq',
      '--json',
      '-v=1',
      '--',
      '-',
      '--=',
      '-=x',
    );
    fc.assert(
      fc.property(fc.array(fc.oneof(known, fc.string()), { maxLength: 6 }), (argv) => {
        try {
          parseCommandLine(argv, {});
        } catch (e) {
          expect([EXIT.usage, EXIT.config]).toContain(exitCodeOf(e));
        }
      }),
    );
  });
});

describe('the program', () => {
  test('ends with the exit code of the command, or of its error', async () => {
    expect(await program(['version'], fakeIo())).toBe(0);
    await expect(program(['config'], fakeIo())).rejects.toThrow(UsageError);
    expect(exitCodeOf(new LodenError('x'))).toBe(1);
    expect(exitCodeOf(new ConfigError('x', []))).toBe(78);
    expect(exitCodeOf(new InvariantError('x'))).toBe(70);
    expect(exitCodeOf(new TypeError('x'))).toBe(70);
    expect(exitCodeOf('x')).toBe(70);
  });
});
