import { spawnSync } from 'node:child_process';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { CniError, CODE } from '../../src/cni/errors.ts';
import { parseCall } from '../../src/cni/protocol/call.ts';
import { failure, ownNetns, versionOf } from '../../src/cni/protocol/failure.ts';
import { readRequest } from '../../src/cni/protocol/request.ts';
import { VERSIONS, versionAnswer } from '../../src/cni/protocol/version.ts';
import type { CniVersion, PluginCall } from '../../src/cni/types.ts';
import { CNI } from '../../src/contract.ts';
import { LodenError } from '../../src/errors.ts';
import { BINARY } from '../support/cniBinary.ts';

/** What the plugin is called with, row by row, and the errors libcni's skeleton has for it. */

type Env = Record<string, string | undefined>;

const ENV: Env = {
  CNI_CONTAINERID: 'c1',
  CNI_NETNS: '/run/netns/pod',
  CNI_IFNAME: 'eth0',
  CNI_PATH: '/opt/cni/bin',
};

/** A call without faults; `env` members of undefined are left out. */
function call(command: string, conf: object | string = {}, env: Env = {}): PluginCall {
  const all = { CNI_COMMAND: command, ...ENV, ...env };
  const set = Object.entries(all).filter((e): e is [string, string] => e[1] !== undefined);
  const stdin = typeof conf === 'string' ? conf : JSON.stringify({ name: 'pods', type: 'loden', ...conf });
  return { env: Object.fromEntries(set), stdin, netns: '4:100' };
}

/** What the runtime gets for it: the error, or undefined. */
function errorOf(
  c: PluginCall,
): { code: number; msg: string; details?: string; cniVersion: string } | undefined {
  try {
    readRequest(c);
    return undefined;
  } catch (e) {
    expect(e).toBeInstanceOf(CniError);
    return failure(c, e);
  }
}

const COMMANDS = ['ADD', 'DEL', 'CHECK', 'GC', 'STATUS'] as const;
const RESULT = { interfaces: [{ name: 'eth0', sandbox: '/run/netns/pod' }], ips: [] };
/** What beside the version makes a configuration right for any command. */
const FULL = { prevResult: RESULT, 'cni.dev/valid-attachments': [] };
/** May this command be sent with that version at all? */
const allowed = (command: string, version: CniVersion): boolean =>
  ({ CHECK: ['0.4.0', '1.0.0', '1.1.0'], GC: ['1.1.0'], STATUS: ['1.1.0'] })[command]?.includes(version) ??
  true;

describe.each([undefined, ...VERSIONS])('with cniVersion %s', (given) => {
  const version = given ?? '0.1.0';
  const conf = (more: object = {}) => ({ ...(given ? { cniVersion: given } : {}), ...FULL, ...more });
  /** Commands of this version and the words for one that it does not have. */
  const each = (check: (command: string, refusal: string | undefined) => void) => {
    for (const command of COMMANDS)
      check(command, allowed(command, version) ? undefined : `config version does not allow ${command}`);
  };

  test('every command there is then is understood, and others are refused with code 1', () => {
    each((command, refusal) => {
      const error = errorOf(call(command, conf()));
      if (refusal) expect(error).toEqual({ cniVersion: version, code: 1, msg: refusal });
      else expect(error).toBeUndefined();
      if (!refusal)
        expect(readRequest(call(command, conf()))).toMatchObject({ command, version, network: 'pods' });
    });
  });

  test.each([
    ['ADD', {}, ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME', 'CNI_PATH']],
    ['CHECK', {}, ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME', 'CNI_PATH']],
    ['DEL', {}, ['CNI_CONTAINERID', 'CNI_IFNAME', 'CNI_PATH']],
    ['GC', {}, ['CNI_PATH']],
    ['STATUS', {}, ['CNI_PATH']],
  ])('%s names all variables that are missing, in order', (command, _, needed) => {
    const all = ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME', 'CNI_ARGS', 'CNI_PATH'];
    for (let mask = 0; mask < 1 << all.length; mask++) {
      for (const nothing of [undefined, '']) {
        const gone = all.filter((_name, i) => mask & (1 << i));
        const error = errorOf(call(command, conf(), Object.fromEntries(gone.map((n) => [n, nothing]))));
        const missing = needed.filter((n) => gone.includes(n));
        if (missing.length > 0) {
          expect(error).toEqual({
            cniVersion: version,
            code: 4,
            msg: `required env variables [${missing.join(',')}] missing`,
          });
        } else expect(error?.msg ?? '').not.toContain('missing');
      }
    }
  });

  test('no command at all, and one that does not exist', () => {
    expect(errorOf(call('', conf(), { CNI_CONTAINERID: '' }))).toMatchObject({
      code: 4,
      msg: 'required env variables [CNI_COMMAND] missing',
    });
    for (const command of ['X', 'add', 'ADD ', 'toString', '__proto__', 'constructor']) {
      expect(errorOf(call(command, conf(), { CNI_CONTAINERID: '', CNI_PATH: '' }))).toEqual({
        cniVersion: version,
        code: 4,
        msg: `unknown CNI_COMMAND: ${command}`,
      });
    }
  });

  test.each(['-a', '.a', '_a', 'a b', 'a/b', '..', 'ü', 'a\n', 'a:b', 'a;b'])('container id %j', (id) => {
    for (const command of ['ADD', 'DEL', 'CHECK']) {
      expect(errorOf(call(command, conf(), { CNI_CONTAINERID: id }))).toEqual({
        cniVersion: version,
        code: 4,
        msg: 'invalid characters in containerID',
        details: id,
      });
    }
    expect(errorOf(call('ADD', conf(), { CNI_CONTAINERID: `a${'A-_.9'.repeat(100)}` }))).toBeUndefined();
    expect(errorOf(call('ADD', conf(), { CNI_CONTAINERID: 'a'.repeat(1000) }))).toBeUndefined();
    expect(errorOf(call('ADD', conf(), { CNI_CONTAINERID: 'a'.repeat(1001) }))).toMatchObject({
      code: 4,
      msg: 'containerID is too long: it has 1001 bytes, and may have 1000',
    });
  });

  test.each([
    ['1234567890123456', 'interface name is too long', 'interface name should be less than 16 characters'],
    ['üüüüüüüü', 'interface name is too long', 'interface name should be less than 16 characters'],
    ['.', 'interface name is . or ..'],
    ['..', 'interface name is . or ..'],
    ...['a/b', 'a:b', 'a b', 'a\tb', 'a\u0085', 'a\u00a0b', '\u2003', 'a\u3000'].map((n) => [
      n,
      'interface name contains / or : or whitespace characters',
    ]),
    ...['a\u0000', '\u007f', 'eth0\ufeff', 'e\u200bth0', '\u202eeth'].map((n) => [
      n,
      'interface name contains control or format characters',
    ]),
    ...['all', 'default'].map((n) => [
      n,
      `interface name is ${n}, which stands for all interfaces in /proc/sys/net`,
    ]),
    ['eth%d', 'interface name contains %, for which the kernel would put a number'],
  ])('interface name %j: %s', (name, msg, details) => {
    for (const command of ['ADD', 'DEL', 'CHECK']) {
      expect(errorOf(call(command, conf(), { CNI_IFNAME: name }))).toEqual({
        cniVersion: version,
        code: 4,
        msg,
        ...(details ? { details } : {}),
      });
    }
    for (const good of ['123456789012345', '...', '-', 'eth0.5', 'é'])
      expect(errorOf(call('ADD', conf(), { CNI_IFNAME: good }))).toBeUndefined();
  });

  test('names of networks', () => {
    each((command) => {
      for (const name of [undefined, null, '']) {
        expect(errorOf(call(command, conf({ name })))).toMatchObject({
          code: 7,
          msg: 'missing network name',
        });
      }
      for (const name of ['a b', '-a', 'ü', 'a/b', '../x', 'a\n']) {
        expect(errorOf(call(command, conf({ name })))).toEqual({
          cniVersion: version,
          code: 7,
          msg: 'invalid characters found in network name',
          details: name,
        });
      }
      expect(errorOf(call(command, conf({ name: 7 })))).toMatchObject({
        code: 6,
        msg: 'error unmarshall network config: name: expected a string, got 7',
      });
    });
  });

  test('CNI_NETNS is an absolute path for ADD and CHECK; a DEL takes anything', () => {
    expect(errorOf(call('ADD', conf(), { CNI_NETNS: 'x' }))).toMatchObject({
      code: 4,
      msg: 'CNI_NETNS must be an absolute path, not "x"',
    });
    expect(readRequest(call('DEL', conf(), { CNI_NETNS: 'x' }))).toMatchObject({ netns: 'x' });
    expect(readRequest(call('DEL', conf(), { CNI_NETNS: '' }))).not.toHaveProperty('netns');
  });
});

test.each([
  ['', 'unexpected end of JSON input'],
  [' \n', 'unexpected end of JSON input'],
  ['{', "Expected property name or '}'"],
  ['{"name":"x"} {}', 'Unexpected non-whitespace character'],
  ['[]', 'expected a JSON object, got []'],
  ['"x"', 'expected a JSON object, got "x"'],
  ['5', 'expected a JSON object, got 5'],
  [`{"name":"x","a":${'['.repeat(201)}`, 'nested more than 200 levels deep'],
  [`{"name":"x","a":${'['.repeat(300_000)}${']'.repeat(300_000)}}`, 'nested more than 200 levels deep'],
])('standard input %.20j: code 6', (stdin, why) => {
  for (const command of [...COMMANDS, 'X']) {
    const error = errorOf(call(command, stdin));
    expect(error?.code).toBe(6);
    expect(error?.msg).toContain('error unmarshall network config: ');
    expect(error?.msg).toContain(why);
  }
});

test('more members than anybody has, and longer lists, are refused', () => {
  const members = (n: number) => Object.fromEntries(Array.from({ length: n }, (_, i) => [`x${i}`, i]));
  // Beside name and type.
  expect(errorOf(call('ADD', members(998)))).toBeUndefined();
  expect(errorOf(call('ADD', { x: [members(1000), members(1000)] }))).toBeUndefined();
  for (const conf of [members(999), { x: { y: members(1001) } }]) {
    expect(errorOf(call('ADD', conf))).toMatchObject({
      code: 6,
      msg: 'error unmarshall network config: an object in it has more than 1000 members',
    });
  }
  const routes = (n: number) => ({ ipam: { routes: Array(n).fill({ dst: '10.0.0.0/8' }) } });
  expect(errorOf(call('ADD', routes(1000)))).toBeUndefined();
  expect(errorOf(call('ADD', routes(1001)))?.msg).toContain(
    'ipam.routes: expected a list of at most 1000 elements',
  );
  // A thousand faults, of which an error tells the first.
  expect(errorOf(call('ADD', { ipam: { routes: Array(1000).fill(5) } }))?.msg).toMatch(/; and 980 more$/);
  const valid = (n: number) => ({
    cniVersion: '1.1.0',
    'cni.dev/valid-attachments': Array(n).fill({ containerID: 'a', ifname: 'b' }),
  });
  expect(errorOf(call('GC', valid(16_384)))).toBeUndefined();
  expect(errorOf(call('GC', valid(16_385)))?.code).toBe(7);
});

test('brackets in strings do not nest', () => {
  const text = JSON.stringify({
    name: 'pods',
    type: 'loden',
    x: `\\"${'['.repeat(500)}`,
    ['{'.repeat(300)]: 1,
  });
  expect(errorOf(call('ADD', text))).toBeUndefined();
});

test('null is an empty configuration, as for Go, and VERSION needs none', () => {
  expect(errorOf(call('ADD', 'null'))).toMatchObject({ code: 7, msg: 'missing network name' });
  expect(readRequest({ env: { CNI_COMMAND: 'VERSION' }, stdin: 'rubbish' })).toEqual({ command: 'VERSION' });
});

test.each([
  ['', '1.1.0'],
  ['rubbish', '1.1.0'],
  ['null', '1.1.0'],
  ['{}', '1.1.0'],
  ['{"cniVersion":"0.4.0"}', '0.4.0'],
  ['{"CNIVERSION":"0.3.1"}', '0.3.1'],
  ['{"cniVersion":"2.0.0-rc1"}', '2.0.0-rc1'],
  ['{"cniVersion":"a b"}', '1.1.0'],
  ['{"cniVersion":""}', '1.1.0'],
  ['{"cniVersion":4}', '1.1.0'],
  [`{"cniVersion":"${'1'.repeat(32)}"}`, '1'.repeat(32)],
  [`{"cniVersion":"${'1'.repeat(33)}"}`, '1.1.0'],
])('VERSION of %j answers in version %s, by daemon and binary', async (stdin, cniVersion) => {
  const answer = {
    cniVersion,
    supportedVersions: ['0.1.0', '0.2.0', '0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'],
  };
  expect(versionAnswer(stdin)).toEqual(answer);
  const binary = spawnSync(BINARY, { env: { CNI_COMMAND: 'VERSION' }, input: stdin, encoding: 'utf8' });
  expect(JSON.parse(binary.stdout)).toEqual(answer);
});

test.each(['9.9.9', '1.2.0', '0.3', '0.1', 'abc', 'v1.0.0', '1.0.0 ', '__proto__'])(
  'version %s is not supported: code 1',
  (cniVersion) => {
    for (const command of COMMANDS) {
      expect(errorOf(call(command, { cniVersion, ...FULL }))).toEqual({
        cniVersion: '1.1.0',
        code: 1,
        msg: 'incompatible CNI versions',
        details: `config is "${cniVersion}", plugin supports ["0.1.0" "0.2.0" "0.3.0" "0.3.1" "0.4.0" "1.0.0" "1.1.0"]`,
      });
    }
  },
);

test('an empty version is 0.1.0, one of another type is code 6, and keys are read in any case', () => {
  for (const cniVersion of ['', null])
    expect(readRequest(call('ADD', { cniVersion }))).toMatchObject({ version: '0.1.0' });
  expect(errorOf(call('ADD', { cniVersion: 1 }))).toMatchObject({
    code: 6,
    msg: 'decoding version from network config: cniVersion: expected a string, got 1',
  });
  expect(readRequest(call('ADD', '{"Name":"a","TYPE":"loden","CNIVersion":"1.0.0"}'))).toMatchObject({
    network: 'a',
    version: '1.0.0',
  });
});

describe('the first fault is told', () => {
  /** Faults in the order in which they are to be found. */
  const faults: readonly (readonly [name: string, env: Env, conf: object | string, msg: string])[] = [
    ['environment', { CNI_PATH: '' }, {}, 'required env variables [CNI_PATH] missing'],
    ['JSON', {}, '{', 'error unmarshall'],
    ['name', {}, { name: '' }, 'missing network name'],
    ['container id', { CNI_CONTAINERID: '-' }, {}, 'invalid characters in containerID'],
    ['interface name', { CNI_IFNAME: '..' }, {}, 'interface name is . or ..'],
    ['version', {}, { cniVersion: '9' }, 'incompatible CNI versions'],
    ['configuration', {}, { mtu: 'x' }, 'invalid network config: mtu'],
    ['namespace', { CNI_NETNS: 'x' }, {}, 'CNI_NETNS must be'],
    ['arguments', { CNI_ARGS: 'X' }, {}, 'ARGS: invalid pair "X"'],
    ['prevResult', {}, { prevResult: 1 }, 'prevResult: expected'],
  ];
  test.each(faults.map((f, i) => [f[0], i] as const))('%s', (_name, i) => {
    const later = faults.slice(i);
    const env = Object.assign({}, ...later.map((f) => f[1]));
    const broken = later.find((f) => typeof f[2] === 'string');
    const conf = broken ? broken[2] : Object.assign({}, ...later.map((f) => f[2]));
    expect(errorOf(call('ADD', conf, env))?.msg).toContain(faults[i]![3]);
  });
});

describe('a DEL', () => {
  test('does not fail for what it does not need, and says what was wrong', () => {
    const conf = {
      mtu: 'x',
      mode: 7,
      bridge: 'a/b',
      ipam: { dataDir: '/d', routes: 5, type: 'dhcp' },
      dns: 1,
      prevResult: 5,
    };
    const request = readRequest(
      call('DEL', { ...conf, args: 5, runtimeConfig: { ips: 3 } }, { CNI_ARGS: 'rubbish' }),
    );
    expect(request).toMatchObject({
      config: { type: 'loden', mode: 'bridge', bridge: 'cni0', dataDir: '/d' },
    });
    expect(request).toHaveProperty('problems.length', 6);
    expect(readRequest(call('DEL'))).toHaveProperty('problems', []);
    const many = { ipam: { routes: Array(100).fill(5) } };
    expect(readRequest(call('DEL', many))).toHaveProperty('problems.20', 'and 80 more');
  });

  test.each([
    [{ type: 'other' }, 'loden'],
    [{ type: null }, 'loden'],
    [{ type: 'flannel', delegate: 5, ipam: [], subnetFile: 'relative' }, 'flannel'],
  ])('of %j is one of type %s', (conf, type) => {
    expect(readRequest(call('DEL', conf))).toMatchObject({ config: { type } });
    expect(errorOf(call('ADD', conf))?.code).toBe(7);
  });
});

test.each([
  [undefined, '4:100'],
  ['', '4:100'],
  ['0', '4:100'],
  ['yes', '4:100'],
  ['1', undefined],
  ['true', undefined],
  ['True', undefined],
  ['TRUE', undefined],
])('CNI_NETNS_OVERRIDE=%s forbids %s', (override, forbidden) => {
  for (const command of ['ADD', 'DEL']) {
    const request = readRequest(call(command, {}, { CNI_NETNS_OVERRIDE: override }));
    expect('forbiddenNetns' in request ? request.forbiddenNetns : undefined).toBe(forbidden);
  }
  const { netns: _, ...without } = call('ADD');
  expect(readRequest(without)).not.toHaveProperty('forbiddenNetns');
  expect(failure('0.4.0', ownNetns())).toMatchObject({
    cniVersion: '0.4.0',
    code: 8,
    msg: "plugin's netns and netns from CNI_NETNS should not be the same",
  });
});

test('type flannel leaves arguments and prevResult to its delegate', () => {
  const conf = { type: 'flannel', cniVersion: '1.0.0', runtimeConfig: { ips: 5 }, prevResult: 5 };
  const env = { CNI_ARGS: 'rubbish' };
  expect(readRequest(call('ADD', conf, env))).toMatchObject({
    asked: { ips: [] },
    config: { type: 'flannel' },
  });
  expect(readRequest(call('ADD', conf, env))).not.toHaveProperty('prevResult');
  expect(readRequest(call('CHECK', { ...conf, prevResult: undefined }, env))).toMatchObject({
    prevResult: { interfaces: [], ips: [] },
  });
});

describe('CHECK and GC', () => {
  const check = (prevResult: unknown) => call('CHECK', { cniVersion: '1.0.0', prevResult });
  test.each([[undefined], [null]])('a CHECK without prevResult (%s)', (prevResult) => {
    expect(errorOf(check(prevResult))).toMatchObject({ code: 7, msg: 'required prevResult missing' });
  });
  test('a prevResult that cannot be read', () => {
    expect(errorOf(check({ ips: [{ address: 'x' }] }))).toMatchObject({
      code: 7,
      msg: 'invalid network config: prevResult.ips[0].address: expected address/length, got "x"',
    });
  });

  const gc = (more: object) =>
    call('GC', { cniVersion: '1.1.0', ...more }, { CNI_CONTAINERID: '', CNI_IFNAME: '' });
  const KEY = 'cni.dev/valid-attachments';
  test('attachments that are valid', () => {
    const valid = [
      { containerID: 'a', ifname: 'eth0', more: 1 },
      { containerID: 'b', ifname: 'net1' },
    ];
    expect(readRequest(gc({ [KEY]: valid }))).toMatchObject({
      valid: [
        { containerId: 'a', ifname: 'eth0' },
        { containerId: 'b', ifname: 'net1' },
      ],
    });
    for (const nothing of [[], null])
      expect(readRequest(gc({ [KEY]: nothing }))).toMatchObject({ valid: [] });
  });
  test('no list is not an empty list, and an entry that cannot be read frees nobody', () => {
    expect(errorOf(gc({}))).toMatchObject({
      code: 7,
      msg: `invalid network config: ${KEY}: expected a list of what is valid, got nothing`,
    });
    for (const bad of ['a', 5, {}, [1], [{ containerID: 'a' }], [{ containerID: 1, ifname: 'e' }], [null]])
      expect(errorOf(gc({ [KEY]: bad }))?.code, JSON.stringify(bad)).toBe(7);
  });
});

describe('the body of a request', () => {
  test('is read, without what nobody knows', () => {
    const body = {
      env: { CNI_COMMAND: 'ADD', CNI_ARGS: '', HOME: '/root', LD_PRELOAD: 'x' },
      stdin: '{}',
      netns: '4:4026531840',
      delegated: [{ exit: 127, stdout: '', more: 1 }],
      later: 1,
    };
    expect(parseCall(body)).toEqual({
      env: { CNI_COMMAND: 'ADD', CNI_ARGS: '' },
      stdin: '{}',
      netns: '4:4026531840',
      delegated: [{ exit: 127, stdout: '' }],
    });
    expect(parseCall({ env: {}, stdin: '' })).toEqual({ env: {}, stdin: '' });
  });

  const big = 'x'.repeat(CNI.largestConfig);
  const wide = 'é'.repeat(CNI.largestConfig / 2);
  test('may be as large as said', () => {
    expect(
      parseCall({ env: { CNI_ARGS: big }, stdin: wide, delegated: [{ exit: 0, stdout: big }] }).stdin,
    ).toBe(wide);
  });

  test.each([
    ['null', null],
    ['a list', []],
    ['text', 'x'],
    ['without env', { stdin: '' }],
    ['without stdin', { env: {} }],
    ['env a list', { env: ['CNI_COMMAND=ADD'], stdin: 5 }],
    ['a variable of another type', { env: { CNI_COMMAND: 1 }, stdin: '' }],
    ['a variable of null', { env: { CNI_COMMAND: null }, stdin: '' }],
    ['a zero byte', { env: { CNI_NETNS: '/a\0b' }, stdin: '' }],
    ['a variable too long', { env: { CNI_ARGS: `${big}x` }, stdin: '' }],
    ['stdin too long', { env: {}, stdin: `${big}x` }],
    ['stdin too long in bytes', { env: {}, stdin: `${wide}é` }],
    ['stdin no text', { env: {}, stdin: {} }],
    ['netns no text', { env: {}, stdin: '', netns: 5 }],
    ['netns no pair', { env: {}, stdin: '', netns: '4:x' }],
    ['netns with more', { env: {}, stdin: '', netns: '4:5\n' }],
    ['delegated no list', { env: {}, stdin: '', delegated: {} }],
    ['delegated too many', { env: {}, stdin: '', delegated: Array(65).fill({ exit: 0, stdout: '' }) }],
    ['an exit code', { env: {}, stdin: '', delegated: [{ exit: -1, stdout: '' }] }],
    ['an exit code', { env: {}, stdin: '', delegated: [{ exit: 256, stdout: '' }] }],
    ['an exit code', { env: {}, stdin: '', delegated: [{ exit: 0.5, stdout: '' }] }],
    ['an output too long', { env: {}, stdin: '', delegated: [{ exit: 0, stdout: `${big}x` }] }],
  ])('is refused: %s', (_what, body) => {
    expect(() => parseCall(body)).toThrow(expect.objectContaining({ code: CODE.decodingFailure }));
  });
});

describe('a failure', () => {
  test('says code, words and details in the version of the call', () => {
    const error = new CniError(CODE.usedUp, 'all in use', 'of 253');
    expect(failure(call('ADD', { cniVersion: '0.4.0' }), error)).toEqual({
      cniVersion: '0.4.0',
      code: 100,
      msg: 'all in use',
      details: 'of 253',
    });
    expect(failure(call('ADD'), error).cniVersion).toBe('0.1.0');
    for (const stdin of ['{', '{"cniVersion":"9"}', '{"cniVersion":5}', ''])
      expect(failure(call('ADD', stdin), error).cniVersion).toBe('1.1.0');
    expect(failure(undefined, error).cniVersion).toBe('1.1.0');
    expect(versionOf(call('ADD', '{"CNIVERSION":"0.3.1"}'))).toBe('0.3.1');
  });

  test('of anything else is code 999, and a bug is told from an error of ours', () => {
    expect(failure('1.0.0', new LodenError('no disk'))).toEqual({
      cniVersion: '1.0.0',
      code: 999,
      msg: 'no disk',
    });
    expect(failure('1.0.0', new TypeError('x is not a function'))).toEqual({
      cniVersion: '1.0.0',
      code: 999,
      msg: 'unexpected failure in the daemon: x is not a function',
    });
    for (const odd of [undefined, null, 'text', 5, {}])
      expect(failure('1.0.0', odd)).toMatchObject({ code: 999 });
  });

  test('is never longer than a message should be', () => {
    const error = new CniError(7, 'x'.repeat(1e6), 'y'.repeat(1e6));
    const said = failure('1.0.0', error);
    expect(JSON.stringify(said).length).toBeLessThan(10_000);
  });
});

describe('whatever comes', () => {
  const words = fc.constantFrom(
    ...[
      'name',
      'type',
      'cniVersion',
      'mode',
      'bridge',
      'mtu',
      'hairpinMode',
      'ipam',
      'routes',
      'dst',
      'gw',
      'dataDir',
    ],
    ...[
      'dns',
      'nameservers',
      'runtimeConfig',
      'ips',
      'mac',
      'args',
      'cni',
      'prevResult',
      'interfaces',
      'address',
    ],
    ...[
      'interface',
      'gateway',
      'ip4',
      'ip',
      'delegate',
      'subnetFile',
      'cni.dev/valid-attachments',
      '__proto__',
    ],
  );
  const texts = fc.constantFrom(
    'loden',
    'flannel',
    'ptp',
    '10.1.2.3/24',
    '10.1.2.3',
    'fd00::1/64',
    '/x',
    '',
    'a:b',
  );
  const { value } = fc.letrec((tie) => ({
    value: fc.oneof(
      { maxDepth: 5, withCrossShrink: true },
      fc.oneof(texts, fc.string(), fc.integer(), fc.double(), fc.boolean(), fc.constant(null)),
      fc.array(tie('value'), { maxLength: 4 }),
      fc.dictionary(fc.oneof(words, fc.string()), tie('value'), { maxKeys: 8 }),
    ),
  }));
  const conf = fc
    .tuple(fc.dictionary(words, value), fc.constantFrom(...VERSIONS), fc.constantFrom('loden', 'flannel'))
    .map(([members, cniVersion, type]) => ({ ...members, name: 'pods', cniVersion, type }));
  const env = fc.record(
    {
      CNI_COMMAND: fc.constantFrom(...COMMANDS, 'X'),
      CNI_CONTAINERID: fc.oneof(fc.constant('c1'), fc.string()),
      CNI_NETNS: fc.oneof(fc.constant('/n'), fc.string()),
      CNI_IFNAME: fc.oneof(fc.constant('eth0'), fc.string()),
      CNI_ARGS: fc.oneof(
        fc.constantFrom('', 'IP=10.1.2.3', 'IgnoreUnknown=1;K=V'),
        fc
          .array(fc.tuple(fc.constantFrom('IP', 'MAC', 'X', ''), fc.constantFrom('=', '==', ''), fc.string()))
          .map((p) => p.map((x) => x.join('')).join(';')),
      ),
      CNI_PATH: fc.constant('/p'),
    },
    { requiredKeys: ['CNI_COMMAND', 'CNI_PATH'] },
  );

  test('a request is read or a CniError is thrown, and that can be said', () => {
    let read = 0;
    fc.assert(
      fc.property(
        env,
        fc.oneof({ weight: 4, arbitrary: conf.map((c) => JSON.stringify(c)) }, fc.string()),
        (e, stdin) => {
          const c = { env: e, stdin };
          try {
            readRequest(c);
            read++;
          } catch (error) {
            expect(error).toBeInstanceOf(CniError);
            expect(() => JSON.stringify(failure(c, error))).not.toThrow();
          }
        },
      ),
      { numRuns: 3000 },
    );
    expect(read).toBeGreaterThan(100);
  });

  test('a body is read or a CniError is thrown', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          value,
          fc.record({ env: value, stdin: value, netns: value, delegated: value }, { requiredKeys: [] }),
        ),
        (body) => {
          try {
            parseCall(body);
          } catch (error) {
            expect(error).toBeInstanceOf(CniError);
          }
        },
      ),
      { numRuns: 2000 },
    );
  });
});
