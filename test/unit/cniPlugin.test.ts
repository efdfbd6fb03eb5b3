import {
  chmodSync,
  chownSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { readRequest } from '../../src/cni/protocol/request.ts';
import { CNI, DEFAULTS, FILES, VERSION } from '../../src/contract.ts';
import { BINARY, errorOf, json, Plugin } from '../support/cniBinary.ts';
import { run } from '../support/proc.ts';

/** The plugin binary against a real HTTP server, and without one. */

let plugin: Plugin;
beforeEach(() => {
  plugin = new Plugin();
});
afterEach(() => plugin[Symbol.dispose]());

const VERSIONS = ['0.1.0', '0.2.0', '0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'];

/** What is asked when no socket is named. */
const CNI_SOCKET = join(DEFAULTS.runDir, FILES.controlSocket);

/** Seconds since a file was changed. */
const age = (path: string, seconds: number): void => {
  const when = Date.now() / 1000 - seconds;
  utimesSync(path, when, when);
};

describe('what is shared with the daemon', () => {
  test('is the same in C++', () => {
    const header = readFileSync(new URL('../../cni/contract.h', import.meta.url), 'utf8');
    const constants = Object.fromEntries(
      [...header.matchAll(/^constexpr \S+ (\w+) = (?:"(.*)"|(\d+));$/gm)].map((m) => [
        m[1],
        m[2] ?? Number(m[3]),
      ]),
    );
    expect(constants).toEqual({
      kVersion: VERSION,
      kResource: CNI.resource,
      kDelegatesType: CNI.delegates,
      kWarningHeader: CNI.warning,
      kLargestConfig: CNI.largestConfig,
      kLargestRequest: CNI.largestRequest,
      kTimeout: CNI.timeout,
      kSocket: join(DEFAULTS.runDir, FILES.controlSocket),
      kDelQueue: join(DEFAULTS.stateDir, CNI.delQueue),
    });
    expect(header.match(/^constexpr/gm)).toHaveLength(Object.keys(constants).length);
  });

  test('is one file under each of its names, without any library', async () => {
    const files = CNI.names.map((name) => statSync(join(dirname(BINARY), name)));
    expect(new Set(files.map((f) => f.ino)).size).toBe(1);
    expect(files[0]!.mode & 0o111).toBe(0o111);
    expect(await run(['readelf', '-d', '-l', BINARY])).not.toMatch(/NEEDED|INTERP/);
  });
});

describe('a call', () => {
  test('goes to the daemon with environment, configuration and namespace, and its result comes back as it is', async () => {
    const { calls, requests } = await plugin.serve((_, res) => json(res, { cniVersion: '1.0.0', ips: [] }));
    const stdin = plugin.config({ text: 'a "b" \\ \n\t\u0001 é 中 😀', deep: [{ x: [1e3, null, true] }] });
    const env = { CNI_ARGS: 'K=a;L="é"', CNI_NETNS_OVERRIDE: '1', OTHER: 'not told', CNI_OTHER: 'neither' };
    const ended = await plugin.call('ADD', { stdin, env });
    expect(ended).toEqual({ status: 0, stdout: '{"cniVersion":"1.0.0","ips":[]}', stderr: '' });
    const { dev, ino } = statSync('/proc/self/ns/net', { bigint: true });
    expect(calls).toEqual([
      {
        env: {
          CNI_COMMAND: 'ADD',
          CNI_CONTAINERID: 'c1',
          CNI_NETNS: '/run/netns/c1',
          CNI_IFNAME: 'eth0',
          CNI_PATH: plugin.bin,
          CNI_ARGS: 'K=a;L="é"',
          CNI_NETNS_OVERRIDE: '1',
        },
        stdin,
        netns: `${dev}:${ino}`,
      },
    ]);
    const [request] = requests;
    expect(request).toMatchObject({ method: 'POST', url: CNI.resource, httpVersion: '1.1' });
    expect(request!.headers).toMatchObject({ 'content-type': 'application/json', connection: 'close' });
  });

  test.each(['ADD', 'DEL', 'CHECK', 'STATUS', 'GC', 'FOO'])(
    '%s is the daemon’s to answer',
    async (command) => {
      const { calls } = await plugin.serve((_, res) => json(res, undefined));
      expect(await plugin.call(command)).toEqual({ status: 0, stdout: '', stderr: '' });
      expect(calls[0]!.env.CNI_COMMAND).toBe(command);
    },
  );

  test('that the daemon refuses fails with the daemon’s error', async () => {
    const error = { cniVersion: '1.0.0', code: 7, msg: 'missing network name', details: 'x' };
    await plugin.serve((_, res) => json(res, error, 500));
    const ended = await plugin.call('ADD', { env: { CNI_CONTAINERID: undefined, CNI_NETNS: '' } });
    expect(ended).toEqual({ status: 1, stdout: JSON.stringify(error), stderr: '' });
  });

  test('tells the daemon what is not set, and what is empty', async () => {
    const { calls } = await plugin.serve((_, res) => json(res, undefined));
    await plugin.call('DEL', { env: { CNI_NETNS: '', CNI_PATH: undefined } });
    expect(calls[0]!.env).toEqual({
      CNI_COMMAND: 'DEL',
      CNI_CONTAINERID: 'c1',
      CNI_NETNS: '',
      CNI_IFNAME: 'eth0',
    });
  });

  test('prints the answer’s warning as one line on standard error', async () => {
    await plugin.serve((_, res) => {
      res.setHeader(CNI.warning, 'pods a and b\tare to be recreated');
      json(res, {});
    });
    expect(await plugin.call('STATUS')).toEqual({
      status: 0,
      stdout: '{}',
      stderr: 'pods a and bare to be recreated\n',
    });
  });

  test('takes an answer in chunks, and a large one', async () => {
    const text = 'x'.repeat(3 << 20);
    await plugin.serve(async (_, res) => {
      res.writeHead(200, { 'content-type': 'application/json; charset=utf-8' });
      for (const part of ['{"a":"', text.slice(1000), text.slice(0, 1000), '"}']) {
        res.write(part);
        await sleep(5);
      }
      res.end();
    });
    expect(JSON.parse((await plugin.call('ADD')).stdout)).toEqual({ a: text });
  });

  test('passes on the largest configuration, whatever is in it', async () => {
    const { calls } = await plugin.serve((_, res) => json(res, undefined));
    const stdin = plugin.config().padEnd(CNI.largestConfig, '\u0001');
    expect(await plugin.call('ADD', { stdin })).toMatchObject({ status: 0 });
    expect(calls[0]!.stdin === stdin).toBe(true);
    const longer = await plugin.call('ADD', { stdin: `${stdin} ` });
    expect(longer.status).toBe(1);
    expect(errorOf(longer)).toEqual({
      cniVersion: '1.0.0',
      code: 5,
      msg: 'error reading from stdin: it is longer than 1 MiB',
    });
    expect(calls).toHaveLength(1);
  });

  test('sends bytes that are no text as U+FFFD', async () => {
    const { calls } = await plugin.serve((_, res) => json(res, undefined));
    const bytes = Buffer.from([0x41, 0xff, 0xc0, 0x80, 0xed, 0xa0, 0x80, 0x42]);
    await plugin.call('ADD', { stdin: Buffer.concat([Buffer.from(plugin.config()), bytes]) });
    expect(calls[0]!.stdin.slice(plugin.config().length)).toBe(`A${'\ufffd'.repeat(6)}B`);
  });

  test.each([
    ['cut', (config: string) => config.slice(0, -1)],
    ['with something behind it', (config: string) => `${config}}`],
    ['with names written by escapes', (config: string) => config.replace('socket', '\\u0073ocke\\u0074')],
    ['with the socket again, which counts', (config: string) => config.replace('{', '{"socket":"/nowhere",')],
    ['with a path written by escapes', (config: string) => config.replaceAll('/', '\\u002f')],
    [
      'with other things of those names',
      (config: string) => config.replace('{', '{"a":{"socket":"/no"},"socket":5,'),
    ],
  ])('finds its socket in a configuration %s', async (_, change) => {
    const { calls } = await plugin.serve((_call, res) => json(res, undefined));
    const stdin = change(plugin.config());
    expect(await plugin.call('ADD', { stdin })).toMatchObject({ status: 0, stdout: '' });
    expect(calls[0]!.stdin).toBe(stdin);
  });

  test('100 at once are all answered', async () => {
    const { calls } = await plugin.serve(async (call, res) => {
      await sleep(20);
      json(res, { cniVersion: '1.0.0', id: call.env.CNI_CONTAINERID });
    });
    const ids = Array.from({ length: 100 }, (_, i) => `c${i}`);
    const ended = await Promise.all(ids.map((id) => plugin.call('ADD', { env: { CNI_CONTAINERID: id } })));
    expect(ended.map((e) => JSON.parse(e.stdout).id)).toEqual(ids);
    expect(calls).toHaveLength(100);
  });

  test('whose standard input cannot be read fails with 5', async () => {
    await plugin.serve((_, res) => json(res, undefined));
    const dir = await plugin.call('ADD', { argv: ['/bin/sh', '-c', `exec ${BINARY} </`] });
    expect(errorOf(dir)).toMatchObject({ code: 5, msg: 'error reading from stdin: Is a directory' });
    const none = await plugin.call('ADD', { argv: ['/bin/sh', '-c', `exec ${BINARY} <&-`] });
    expect(errorOf(none)).toMatchObject({ code: 5, msg: 'error reading from stdin: Bad file descriptor' });
  });

  test('whose result nobody takes fails', async () => {
    await plugin.serve((_, res) => json(res, {}));
    const argv = ['/bin/bash', '-c', `exec ${BINARY} >/dev/full`];
    expect(await plugin.call('ADD', { argv })).toMatchObject({ status: 1 });
  });
});

describe('standard output that does not block', () => {
  /** Runs the plugin with a pipe that is emptied by a script. */
  const into = (script: string): string[] => {
    const nonblocking = `use Fcntl; fcntl(STDOUT, F_SETFL, fcntl(STDOUT, F_GETFL, 0) | O_NONBLOCK); exec @ARGV`;
    return ['/bin/bash', '-c', `perl -e '${nonblocking}' ${BINARY} | (${script}); exit "\${PIPESTATUS[0]}"`];
  };

  test('gets all of a long result', async () => {
    const result = { cniVersion: '1.0.0', dns: { search: ['x'.repeat(500_000)] } };
    await plugin.serve((_, res) => json(res, result));
    const ended = await plugin.call('ADD', { argv: into('sleep 0.5; cat') });
    expect(ended.status).toBe(0);
    expect(JSON.parse(ended.stdout)).toEqual(result);
  });

  test('that nobody takes any more is an error', async () => {
    await plugin.serve((_, res) => json(res, { x: 'x'.repeat(500_000) }));
    expect(await plugin.call('ADD', { argv: into('sleep 0.3') })).toMatchObject({ status: 1 });
  });
});

describe('names in the configuration', () => {
  /** Of members, as they are written; the socket that is asked, or the version of the error. */
  const told = async (text: string) => errorOf(await plugin.call('ADD', { stdin: text }));

  test.each([
    ['{"Socket":"/a"}', '/a'],
    ['{"SOC\\u004bET":"/a"}', '/a'],
    ['{"socket":"/a","SOCKET":"/b"}', '/a'],
    ['{"SOCKET":"/b","socket":"/a"}', '/a'],
    ['{"SOCKET":"/b","Socket":"/a"}', '/b'],
    ['{"socket":"/a","socket":"/b"}', '/b'],
    ['{"SOCKET":"/b","socket":null}', CNI_SOCKET],
    ['{"SOCKET":null,"Socket":"/b"}', CNI_SOCKET],
    ['{"sockets":"/b","ocket":"/c"}', CNI_SOCKET],
  ])('in any case, the exact one first: %s', async (text, socket) => {
    expect((await told(text)).msg).toContain(` ${socket}`);
    expect((await told(text)).msg).not.toContain(socket === '/a' ? ' /b' : ' /a');
  });

  test('the version and the queue too', async () => {
    expect((await told('{"CniVersion":"0.4.0","SOCKET":"/nowhere/x"}')).cniVersion).toBe('0.4.0');
    age(plugin.dir, 60);
    const ended = await plugin.call('DEL', {
      stdin: JSON.stringify({ SOCKET: plugin.socket, DELQUEUE: plugin.queue }),
    });
    expect(ended.status).toBe(0);
    expect(plugin.queued()).toHaveLength(1);
  });
});

describe('without a daemon', () => {
  test('no command gets the about text', async () => {
    const about = {
      status: 0,
      stdout: '',
      stderr: `CNI loden plugin v${VERSION}\nCNI protocol versions supported: ${VERSIONS.join(', ')}\n`,
    };
    expect(await plugin.call(undefined)).toEqual(about);
    expect(await plugin.call('')).toEqual(about);
  });

  test.each([
    ['{"cniVersion":"0.3.1"}', '0.3.1'],
    ['{"cniVersion":"9.9.9","name":5', '9.9.9'],
    ['{}', '1.1.0'],
    ['{"cniVersion":"\\"} x"}', '1.1.0'],
    [`{"cniVersion":"${'1'.repeat(40)}"}`, '1.1.0'],
    ['no json', '1.1.0'],
    ['', '1.1.0'],
  ])('VERSION of %s is %s', async (stdin, cniVersion) => {
    const ended = await plugin.call('VERSION', {
      stdin,
      env: { CNI_CONTAINERID: undefined, CNI_PATH: undefined },
    });
    expect(ended).toMatchObject({ status: 0, stderr: '' });
    expect(JSON.parse(ended.stdout)).toEqual({ cniVersion, supportedVersions: VERSIONS });
  });

  test.each([
    ['ADD', 11],
    ['CHECK', 11],
    ['GC', 11],
    ['STATUS', 50],
  ])('%s fails with %i, and says since when and what to do', async (command, code) => {
    age(plugin.dir, 7200);
    const ended = await plugin.call(command);
    expect(ended).toMatchObject({ status: 1, stderr: '' });
    const since = new Date(Math.floor(statSync(plugin.dir).mtimeMs / 1000) * 1000).toISOString();
    expect(errorOf(ended)).toEqual({
      cniVersion: '1.0.0',
      code,
      msg: `the loden daemon does not run: there is no socket ${plugin.socket} since ${since.replace('.000', '')} (2 h ago)`,
      details: expect.stringContaining('systemctl start loden'),
    });
  });

  test.each([
    [0, '1970-01-01T00:00:00Z'],
    [951_782_399, '2000-02-28T23:59:59Z'],
    [951_782_400, '2000-02-29T00:00:00Z'],
    [1_709_164_800, '2024-02-29T00:00:00Z'],
    [1_735_689_599, '2024-12-31T23:59:59Z'],
    [1_740_787_200, '2025-03-01T00:00:00Z'],
    [4_107_542_400, '2100-03-01T00:00:00Z'],
  ])('the moment %i is written %s', async (seconds, text) => {
    utimesSync(plugin.dir, seconds, seconds);
    expect(errorOf(await plugin.call('ADD')).msg).toContain(` since ${text}`);
  });

  test('an unknown command is one in libcni’s words', async () => {
    age(plugin.dir, 60);
    expect(errorOf(await plugin.call('FOO'))).toEqual({
      cniVersion: '1.0.0',
      code: 4,
      msg: 'unknown CNI_COMMAND: FOO',
    });
  });

  test('a socket that nobody listens on is told from none', async () => {
    const argv = [
      process.execPath,
      '-e',
      `require('net').createServer().listen(process.argv[1], () => process.kill(process.pid, 'SIGKILL'))`,
    ];
    await run([...argv, plugin.socket]).catch(() => {});
    age(plugin.socket, 300);
    const error = errorOf(await plugin.call('ADD'));
    expect(error.code).toBe(11);
    expect(error.msg).toMatch(/nobody listens on .*loden\.sock, which it made .*Z \(5 min ago\)$/);
  });

  test.each([
    ['a FIFO', (path: string) => run(['mkfifo', path]), 'that is no socket'],
    ['a file', (path: string) => writeFileSync(path, ''), 'that is no socket'],
    ['a directory', (path: string) => mkdirSync(path), 'that is no socket'],
  ])('%s in the socket’s place is named', async (_, make, why) => {
    await make(plugin.socket);
    const error = errorOf(await plugin.call('ADD'));
    expect(error).toMatchObject({ code: 11, details: expect.stringContaining('--run-dir') });
    expect(error.msg).toBe(`cannot speak to the loden daemon at ${plugin.socket}: ${why}`);
  });

  test('a path that is too long, and one without a directory, are named', async () => {
    const socket = `/${'x'.repeat(120)}`;
    expect(errorOf(await plugin.call('ADD', { config: { socket } })).msg).toMatch(/File name too long$/);
    const lost = join(plugin.dir, 'no', 'loden.sock');
    expect(errorOf(await plugin.call('ADD', { config: { socket: lost } })).msg).toBe(
      `the loden daemon does not run: there is no socket ${lost}, nor its directory`,
    );
    const datagram = errorOf(await plugin.call('ADD', { config: { socket: 'relative.sock' } }));
    expect(datagram.msg).toContain(' /run/loden/loden.sock');
  });
});

describe('a DEL that no daemon takes', () => {
  test('is kept whole for the next one, readable for nobody else', async () => {
    age(plugin.dir, 60);
    const stdin = plugin.config({ prevResult: { ips: [] } });
    const before = BigInt(Date.now() - 5) * 1_000_000n;
    const ended = await plugin.call('DEL', { stdin, env: { CNI_NETNS: '' } });
    expect(ended).toMatchObject({ status: 0, stdout: '' });
    expect(ended.stderr).toContain(`the DEL is kept in ${plugin.queue}`);
    const [kept, ...more] = plugin.queued();
    expect(more).toEqual([]);
    const [, when, pid] = /^(\d+)-(\d+)\.json$/.exec(kept!.name)!;
    expect(BigInt(when!)).toBeGreaterThan(before);
    expect(BigInt(when!)).toBeLessThan(BigInt(Date.now() + 5) * 1_000_000n);
    expect(Number(pid)).toBeGreaterThan(1);
    const { dev, ino } = statSync('/proc/self/ns/net', { bigint: true });
    expect(kept!.call).toEqual({
      env: {
        CNI_COMMAND: 'DEL',
        CNI_CONTAINERID: 'c1',
        CNI_NETNS: '',
        CNI_IFNAME: 'eth0',
        CNI_PATH: plugin.bin,
      },
      stdin,
      netns: `${dev}:${ino}`,
    });
    expect(statSync(join(plugin.queue, kept!.name)).mode & 0o777).toBe(0o600);
    expect(statSync(plugin.queue).mode & 0o777).toBe(0o700);
  });

  test('is kept beside others, also of 50 at once', async () => {
    age(plugin.dir, 60);
    const ids = Array.from({ length: 50 }, (_, i) => `c${i}`);
    const ended = await Promise.all(ids.map((id) => plugin.call('DEL', { env: { CNI_CONTAINERID: id } })));
    expect(ended.map((e) => e.status)).toEqual(ids.map(() => 0));
    const kept = plugin.queued().map((q) => q.call.env.CNI_CONTAINERID);
    expect(kept.sort()).toEqual(ids.sort());
  });

  test.each([
    [{ CNI_CONTAINERID: undefined }, '[CNI_CONTAINERID]'],
    [{ CNI_CONTAINERID: '', CNI_IFNAME: '' }, '[CNI_CONTAINERID,CNI_IFNAME]'],
    [{ CNI_IFNAME: undefined }, '[CNI_IFNAME]'],
  ])('and is of nobody is refused: %o', async (env, names) => {
    age(plugin.dir, 60);
    const ended = await plugin.call('DEL', { env });
    expect(ended.status).toBe(1);
    expect(errorOf(ended)).toEqual({
      cniVersion: '1.0.0',
      code: 4,
      msg: `required env variables ${names} missing`,
    });
    expect(() => statSync(plugin.queue)).toThrow();
  });

  test.each([
    ['a file', (path: string) => writeFileSync(path, ''), 'Not a directory'],
    [
      'a dangling link',
      (path: string) => run(['ln', '-s', '/nowhere/at/all', path]),
      'No such file or directory',
    ],
  ])('and cannot be kept, for there is %s, fails with 11', async (_, make, why) => {
    await make(join(plugin.dir, 'state'));
    age(plugin.dir, 60);
    const ended = await plugin.call('DEL');
    expect(ended.status).toBe(1);
    const error = errorOf(ended);
    expect(error.code).toBe(11);
    expect(error.msg).toContain(`there is no socket ${plugin.socket}`);
    expect(error.msg).toContain(`the DEL cannot be kept for it in ${plugin.queue}: ${why}`);
  });

  test('and must not be kept by whom it is, fails with 11', async () => {
    mkdirSync(plugin.queue, { recursive: true, mode: 0o700 });
    age(plugin.dir, 60);
    // Not as root, for whom nothing is unreadable.
    await run(['chmod', '755', plugin.dir]);
    const argv = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', BINARY];
    const ended = await plugin.call('DEL', { argv });
    expect(errorOf(ended)).toMatchObject({ code: 11, msg: expect.stringContaining('Permission denied') });
    expect(plugin.queued()).toEqual([]);
  });

  test('leaves nothing when the disk is full', async () => {
    mkdirSync(plugin.queue, { recursive: true });
    age(plugin.dir, 60);
    // No file may grow: as on a full disk, but with a signal unless that is ignored.
    const argv = ['/bin/bash', '-c', `trap '' XFSZ; ulimit -f 0; exec ${BINARY}`];
    const ended = await plugin.call('DEL', { argv });
    expect(errorOf(ended)).toMatchObject({ code: 11, msg: expect.stringContaining('File too large') });
    expect(plugin.queued()).toEqual([]);
  });
});

describe('a DEL that the daemon would refuse is refused without one', () => {
  test.each<[string, Record<string, string>, string | undefined, number, RegExp]>([
    ['no JSON', {}, '{"name":', 6, /^error unmarshall network config: /],
    ['nothing', {}, '', 6, /^error unmarshall network config: /],
    ['a list', {}, '[]', 6, /^error unmarshall network config: /],
    ['more than an object', {}, '{} {}', 6, /^error unmarshall network config: /],
    ['an id that is none', { CNI_CONTAINERID: '../x' }, undefined, 4, /^invalid characters in containerID$/],
    [
      'an id with a dash first',
      { CNI_CONTAINERID: '-x' },
      undefined,
      4,
      /^invalid characters in containerID$/,
    ],
    [
      'an id with a line end',
      { CNI_CONTAINERID: 'x\n' },
      undefined,
      4,
      /^invalid characters in containerID$/,
    ],
    ['a long name', { CNI_IFNAME: 'a'.repeat(16) }, undefined, 4, /^interface name is too long$/],
    [
      'a long name of few characters',
      { CNI_IFNAME: 'é'.repeat(8) },
      undefined,
      4,
      /^interface name is too long$/,
    ],
    ['a dot', { CNI_IFNAME: '.' }, undefined, 4, /^interface name is \. or \.\.$/],
    ['dots', { CNI_IFNAME: '..' }, undefined, 4, /^interface name is \. or \.\.$/],
    [
      'a slash',
      { CNI_IFNAME: 'a/b' },
      undefined,
      4,
      /^interface name contains \/ or : or whitespace characters$/,
    ],
    [
      'a colon',
      { CNI_IFNAME: 'a:b' },
      undefined,
      4,
      /^interface name contains \/ or : or whitespace characters$/,
    ],
    [
      'a tab',
      { CNI_IFNAME: 'a\tb' },
      undefined,
      4,
      /^interface name contains \/ or : or whitespace characters$/,
    ],
    ['a space of Unicode', { CNI_IFNAME: 'a\u2009b' }, undefined, 4, /whitespace characters$/],
    ['a control character', { CNI_IFNAME: 'a\u0001b' }, undefined, 4, /control or format characters$/],
    ['all interfaces', { CNI_IFNAME: 'all' }, undefined, 4, /^interface name is all, /],
    ['all new ones', { CNI_IFNAME: 'default' }, undefined, 4, /^interface name is default, /],
    ['a pattern', { CNI_IFNAME: 'eth%d' }, undefined, 4, /^interface name contains %/],
  ])('%s', async (_, env, stdin, code, msg) => {
    const elsewhere = { socket: '/nowhere/loden.sock' };
    const given = stdin === undefined ? { config: elsewhere } : { stdin };
    age(plugin.dir, 60);
    const ended = await plugin.call('DEL', { env, ...given });
    expect(ended.status).toBe(1);
    const error = errorOf(ended);
    expect(error.code).toBe(code);
    expect(error.msg).toMatch(msg);
    expect(() => statSync(plugin.queue)).toThrow();
    // The daemon says the same.
    if (stdin !== undefined) return;
    const call = {
      env: { CNI_COMMAND: 'DEL', CNI_CONTAINERID: 'c1', CNI_IFNAME: 'eth0', CNI_PATH: '/x', ...env },
      stdin: plugin.config(),
    };
    expect(() => readRequest(call)).toThrow(error.msg);
  });

  test.each(['a', 'A.b_c-9', '0'])('and %s is an id', async (id) => {
    age(plugin.dir, 60);
    expect(await plugin.call('DEL', { env: { CNI_CONTAINERID: id, CNI_IFNAME: 'net-1.5_x' } })).toMatchObject(
      {
        status: 0,
      },
    );
  });
});

describe('the queue of DELs', () => {
  const queue = (mode: number): void => {
    mkdirSync(plugin.queue, { recursive: true });
    chmodSync(plugin.queue, mode);
    age(plugin.dir, 60);
  };

  test('has the same call once, as of the last time', async () => {
    queue(0o700);
    await plugin.call('DEL');
    const [first] = plugin.queued();
    await plugin.call('DEL', { env: { CNI_CONTAINERID: 'other' } });
    await plugin.call('DEL');
    const now = plugin.queued();
    expect(now.map(({ call }) => call.env.CNI_CONTAINERID).sort()).toEqual(['c1', 'other']);
    const again = now.find(({ call }) => call.env.CNI_CONTAINERID === 'c1')!;
    expect(again.call).toEqual(first!.call);
    const when = ({ name }: { name: string }) => BigInt(name.split('-')[0]!);
    expect(when(again)).toBeGreaterThan(when(first!));
    expect(now.every((other) => when(other) <= when(again))).toBe(true);
  });

  test('keeps another call whose file has the same end', async () => {
    queue(0o700);
    await plugin.call('DEL');
    const [first] = plugin.queued();
    writeFileSync(join(plugin.queue, first!.name), '{"env":{},"stdin":"of somebody else"}');
    await plugin.call('DEL');
    expect(plugin.queued()).toHaveLength(2);
  });

  test.each([0o720, 0o702, 0o777])('of mode %o, which others may write, is refused', async (mode) => {
    queue(mode);
    const error = errorOf(await plugin.call('DEL'));
    expect(error).toMatchObject({ code: 11, msg: expect.stringContaining('others may write there') });
    expect(plugin.queued()).toEqual([]);
  });

  test('of another user is refused', async () => {
    queue(0o700);
    chownSync(plugin.queue, 12345, 0);
    const error = errorOf(await plugin.call('DEL'));
    expect(error).toMatchObject({ code: 11, msg: expect.stringContaining('it belongs to another user') });
    expect(plugin.queued()).toEqual([]);
  });

  test('takes no more than 10000, but the same again', async () => {
    queue(0o700);
    await plugin.call('DEL');
    const files = Array.from({ length: 9_999 }, (_, i) => join(plugin.queue, `${i + 1}-7.json`));
    for (const file of files) writeFileSync(file, '{}');
    const other = { env: { CNI_CONTAINERID: 'other' } };
    const error = errorOf(await plugin.call('DEL', other));
    expect(error).toMatchObject({ code: 11, msg: expect.stringContaining('there are 10000 already') });
    expect(await plugin.call('DEL')).toMatchObject({ status: 0 });
    rmSync(files[0]!);
    expect(await plugin.call('DEL', other)).toMatchObject({ status: 0 });
  });
});

describe('while a daemon that was killed is started again', () => {
  /** Leaves a socket that nobody listens on. */
  const crash = async (): Promise<void> => {
    const script = `require('net').createServer().listen(process.argv[1], () => process.kill(process.pid, 'SIGKILL'))`;
    await run([process.execPath, '-e', script, plugin.socket]).catch(() => {});
    age(plugin.dir, 3600);
  };
  const startAgain = async () => {
    rmSync(plugin.socket);
    return plugin.serve((_, res) => json(res, { cniVersion: '1.0.0' }));
  };

  test.each(['ADD', 'CHECK'])('a %s waits', async (command) => {
    await crash();
    const pending = plugin.call(command);
    await sleep(1_000);
    const { calls } = await startAgain();
    expect(await pending).toMatchObject({ status: 0, stdout: '{"cniVersion":"1.0.0"}' });
    expect(calls).toHaveLength(1);
  });

  test('for what is no socket nobody waits', async () => {
    using other = new Plugin();
    writeFileSync(other.socket, '');
    await crash();
    let started = false;
    const pending = plugin.call('ADD').then((ended) => {
      expect(started).toBe(true);
      return ended;
    });
    expect(errorOf(await other.call('ADD')).msg).toContain('that is no socket');
    started = true;
    await startAgain();
    expect(await pending).toMatchObject({ status: 0 });
  });

  test('others do not', async () => {
    await crash();
    let started = false;
    // It waits for as long as they run, and longer.
    const pending = plugin.call('ADD').then((ended) => {
      expect(started).toBe(true);
      return ended;
    });
    expect(await plugin.call('DEL')).toMatchObject({ status: 0 });
    expect(plugin.queued()).toHaveLength(1);
    expect(errorOf(await plugin.call('STATUS'))).toMatchObject({ code: 50 });
    expect(errorOf(await plugin.call('GC'))).toMatchObject({ code: 11 });
    started = true;
    await startAgain();
    expect(await pending).toMatchObject({ status: 0 });
  });
});

describe('while the daemon is restarted', () => {
  test('a call waits for the socket to come back', async () => {
    const pending = plugin.call('ADD');
    await sleep(700);
    const { calls } = await plugin.serve((_, res) => json(res, { cniVersion: '1.0.0' }));
    expect(await pending).toEqual({ status: 0, stdout: '{"cniVersion":"1.0.0"}', stderr: '' });
    expect(calls).toHaveLength(1);
  });

  test('a DEL too, and is not kept', async () => {
    const pending = plugin.call('DEL');
    await sleep(300);
    await plugin.serve((_, res) => json(res, undefined));
    expect(await pending).toEqual({ status: 0, stdout: '', stderr: '' });
    expect(() => statSync(plugin.queue)).toThrow();
  });

  test('what else happens in the directory does not matter', async () => {
    const pending = plugin.call('ADD');
    for (let i = 0; i < 5; i++) {
      await sleep(50);
      writeFileSync(join(plugin.dir, 'forwarder.table'), String(i));
      rmSync(join(plugin.dir, 'forwarder.table'));
    }
    await plugin.serve((_, res) => json(res, {}));
    expect(await pending).toMatchObject({ status: 0, stdout: '{}' });
  });

  test.each([0.05, 0.6])('a socket that is listened on %d s after it was made is found', async (seconds) => {
    const script = `use Socket; socket(my $s, AF_UNIX, SOCK_STREAM, 0); bind($s, sockaddr_un($ARGV[0])) or die;
      select(undef, undef, undef, $ARGV[1]); listen($s, 5); accept(my $c, $s); sysread($c, my $b, 4096);
      syswrite($c, "HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nContent-Length: 2\\r\\n\\r\\n{}");`;
    const pending = plugin.call('ADD');
    await run(['perl', '-e', script, plugin.socket, String(seconds)]);
    expect(await pending).toMatchObject({ status: 0, stdout: '{}' });
  });

  test('it is waited for 5 s', async () => {
    const begin = performance.now();
    expect(errorOf(await plugin.call('ADD'))).toMatchObject({ code: 11 });
    expect(performance.now() - begin).toBeGreaterThan(4_900);
  });

  test('a socket that was taken away long ago is not waited for', async () => {
    using other = new Plugin();
    age(other.dir, 11);
    const waiting = plugin.call('ADD');
    expect(errorOf(await other.call('ADD'))).toMatchObject({ code: 11 });
    // The one that was started before still waits.
    await plugin.serve((_, res) => json(res, {}));
    expect(await waiting).toMatchObject({ status: 0 });
  });
});
