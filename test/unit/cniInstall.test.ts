import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  watch,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { conflistText, ownerOf } from '../../src/cli/cni/conflist.ts';
import { cniInstall } from '../../src/cli/cni/install.ts';
import type { Report } from '../../src/cli/cni/place.ts';
import { cniUninstall } from '../../src/cli/cni/uninstall.ts';
import type { CniInstallOptions } from '../../src/config/commands.ts';
import { CNI, DEFAULTS } from '../../src/contract.ts';

let dir: string;
let built: string;
let bin: string;
let conf: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'ld-cni-'));
  built = join(dir, 'built');
  bin = join(dir, 'opt/bin');
  conf = join(dir, 'net.d');
  writeFileSync(built, plugin('1'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

/** A program with what marks ours, which runs: any program does with something behind it. */
const plugin = (version: string): Buffer =>
  Buffer.concat([readFileSync('/usr/bin/sleep'), Buffer.from(`\0${CNI.delegates}\0${version}`)]);

const FOREIGN = Buffer.from('\x7fELF, but of somebody else');
const FILES = ['loden', 'flannel'].map((name) => `opt/bin/${name}`);
const CONF = 'net.d/10-loden.conflist';

type Given = Partial<CniInstallOptions>;

const options = (given: Given): CniInstallOptions => ({
  binDir: bin,
  confDir: conf,
  runDir: DEFAULTS.runDir,
  stateDir: DEFAULTS.stateDir,
  networkName: 'pods',
  cniVersion: '1.0.0',
  force: false,
  json: true,
  ...given,
});

type Told = Report & {
  readonly error: string | undefined;
  readonly states: Readonly<Record<string, string>>;
};

/** What a command told, and the states by path below the test's directory. */
async function told(run: (print: (text: string) => void) => Promise<void>): Promise<Told> {
  let printed = '';
  let error: string | undefined;
  await run((text) => {
    printed += text;
  }).catch((e: Error) => {
    error = e.message;
  });
  const report = JSON.parse(printed) as Report;
  const states = report.files.map(({ path, state }) => [path.slice(dir.length + 1), state]);
  return { ...report, error, states: Object.fromEntries(states) };
}

const install = (given: Given = {}) => told((print) => cniInstall(options(given), print, built));
const uninstall = (given: Given = {}) => told((print) => cniUninstall(options(given), print));

const put = (path: string, content: string | Buffer): void => {
  mkdirSync(join(dir, path, '..'), { recursive: true });
  writeFileSync(join(dir, path), content);
};
const text = (path: string): string => readFileSync(join(dir, path), 'utf8');
const is = (path: string, content: Buffer): boolean => readFileSync(join(dir, path)).equals(content);
const all = (states: string) => Object.fromEntries([...FILES, CONF].map((path) => [path, states]));

describe('install', () => {
  test('puts plugin and configuration in place', async () => {
    const old = process.umask(0o077);
    const { states, error } = await install().finally(() => process.umask(old));
    expect(error).toBeUndefined();
    expect(states).toEqual(all('written'));
    for (const path of FILES) {
      expect(is(path, plugin('1'))).toBe(true);
      expect(statSync(join(dir, path)).mode & 0o7777).toBe(0o755);
    }
    expect(statSync(join(dir, CONF)).mode & 0o7777).toBe(0o644);
    expect(JSON.parse(text(CONF))).toEqual({
      cniVersion: '1.0.0',
      name: 'pods',
      plugins: [
        { type: 'loden', capabilities: { ips: true, mac: true } },
        { type: 'portmap', capabilities: { portMappings: true } },
      ],
    });
    expect(readdirSync(bin).sort()).toEqual(['flannel', 'loden']);
    expect(readdirSync(conf)).toEqual(['10-loden.conflist']);
  });

  test('names the paths that are not the defaults', async () => {
    await install({ runDir: '/r', stateDir: '/s', networkName: 'cbr0' });
    expect(JSON.parse(text(CONF))).toMatchObject({
      name: 'cbr0',
      plugins: [{ type: 'loden', socket: '/r/loden.sock', delQueue: '/s/cni/del' }, { type: 'portmap' }],
    });
  });

  test('may have a version by which runtimes call GC and STATUS', async () => {
    await install();
    expect((await install({ cniVersion: '1.1.0' })).states[CONF]).toBe('written');
    expect(JSON.parse(text(CONF)).cniVersion).toBe('1.1.0');
    expect((await uninstall()).states).toEqual(all('removed'));
  });

  test('a second time touches nothing', async () => {
    await install();
    const inodes = () => [...FILES, CONF].map((path) => lstatSync(join(dir, path)).ino);
    const before = inodes();
    expect((await install()).states).toEqual(all('unchanged'));
    expect(inodes()).toEqual(before);
  });

  test('of another version, or with other options, replaces what install wrote', async () => {
    await install();
    writeFileSync(built, plugin('2'));
    const { states } = await install({ runDir: '/r' });
    expect(states).toEqual(all('written'));
    for (const path of FILES) expect(is(path, plugin('2'))).toBe(true);
    expect(text(CONF)).toBe(conflistText(options({ runDir: '/r' })));
  });

  test('gives the permissions back', async () => {
    await install();
    chmodSync(join(bin, 'loden'), 0o644);
    expect((await install()).states).toEqual({ ...all('unchanged'), 'opt/bin/loden': 'written' });
    expect(statSync(join(bin, 'loden')).mode & 0o777).toBe(0o755);
  });

  test('replaces a plugin that runs, which goes on', async () => {
    await install();
    const running = spawn(join(bin, 'loden'), ['60'], { stdio: 'ignore' });
    try {
      await once(running, 'spawn');
      writeFileSync(built, plugin('2'));
      expect((await install()).states).toMatchObject({ 'opt/bin/loden': 'written' });
      expect(is('opt/bin/loden', plugin('2'))).toBe(true);
      expect(running.exitCode).toBeNull();
      await promisify(execFile)(join(bin, 'loden'), ['0']);
    } finally {
      running.kill('SIGKILL');
    }
  });

  test('keeps a foreign flannel, and says so', async () => {
    put('opt/bin/flannel', FOREIGN);
    const { states, error, files } = await install();
    expect(error).toBeUndefined();
    expect(states).toEqual({ ...all('written'), 'opt/bin/flannel': 'kept' });
    expect(is('opt/bin/flannel', FOREIGN)).toBe(true);
    expect(files[1]!.reason).toMatch(/another program.*--force/);
    expect((await install({ force: true })).states).toEqual({
      ...all('unchanged'),
      'opt/bin/flannel': 'written',
    });
    expect(is('opt/bin/flannel', plugin('1'))).toBe(true);
  });

  test('keeps what it replaces by force, until uninstall puts it back', async () => {
    for (const name of FILES) put(name, `${FOREIGN}${name}`);
    const { files, error } = await install({ force: true });
    expect(error).toBeUndefined();
    for (const [i, name] of FILES.entries()) {
      expect(files[i]).toMatchObject({
        state: 'written',
        reason: expect.stringContaining(`${name}.before-loden`),
      });
      expect(text(`${name}.before-loden`)).toBe(`${FOREIGN}${name}`);
    }
    // A plugin of ours is nothing to be kept.
    writeFileSync(built, plugin('2'));
    expect((await install({ force: true })).error).toBeUndefined();
    const { states } = await uninstall();
    expect(states).toEqual({ [CONF]: 'removed', 'opt/bin/loden': 'restored', 'opt/bin/flannel': 'restored' });
    for (const name of FILES) expect(text(name)).toBe(`${FOREIGN}${name}`);
    expect(readdirSync(bin).sort()).toEqual(['flannel', 'loden']);
    expect((await uninstall()).states).toEqual({ ...all('kept'), [CONF]: 'absent' });
  });

  test('keeps the last of several that it replaces by force', async () => {
    for (const version of ['1', '2']) {
      put('opt/bin/flannel', `#!${version}`);
      expect((await install({ force: true })).states['opt/bin/flannel']).toBe('written');
    }
    await uninstall();
    expect(text('opt/bin/flannel')).toBe('#!2');
  });

  test('fails for a foreign loden, and writes no configuration for it', async () => {
    put('opt/bin/loden', FOREIGN);
    const { states, error } = await install();
    expect(error).toMatch(/2 of 3/);
    expect(states).toEqual({ 'opt/bin/loden': 'failed', 'opt/bin/flannel': 'written', [CONF]: 'failed' });
    expect(is('opt/bin/loden', FOREIGN)).toBe(true);
    expect(existsSync(join(dir, CONF))).toBe(false);
    expect((await install({ force: true })).error).toBeUndefined();
  });

  test('keeps a configuration that was changed by hand', async () => {
    await install();
    const changed = text(CONF).replace('"loden"', '"loden", "mode": "ptp"');
    put(CONF, changed);
    const { states, error, files } = await install({ runDir: '/r' });
    expect([error, states[CONF], text(CONF)]).toEqual([undefined, 'kept', changed]);
    expect(files[2]!.reason).toMatch(/changed by hand.*--force/);
    expect((await install({ force: true })).states[CONF]).toBe('written');
    expect(text(CONF)).toBe(conflistText(options({})));
  });

  test.each(['', '{', '[]', 'null', '{"plugins":[{"type":"bridge"}]}', '{"plugins":[null,1]}'])(
    'fails where a configuration of ours should be and is not: %j',
    async (content) => {
      put(CONF, content);
      const { states, error } = await install();
      expect([states[CONF], text(CONF)]).toEqual(['failed', content]);
      expect(error).toMatch(/1 of 3/);
    },
  );

  test('goes in place of a dangling link, but not unasked', async () => {
    mkdirSync(bin, { recursive: true });
    symlinkSync('nowhere', join(bin, 'flannel'));
    expect((await install()).states['opt/bin/flannel']).toBe('kept');
    expect((await install({ force: true })).states['opt/bin/flannel']).toBe('written');
    expect(lstatSync(join(bin, 'flannel')).isFile()).toBe(true);
    expect(existsSync(join(bin, 'nowhere'))).toBe(false);
  });

  test('does not go in place of a directory', async () => {
    mkdirSync(join(bin, 'flannel'), { recursive: true });
    const { files } = await install({ force: true });
    expect(files[1]).toMatchObject({
      state: 'failed',
      reason: expect.stringMatching(/in its place.*--bin-dir/),
    });
    expect(readdirSync(bin).sort()).toEqual(['flannel', 'loden']);
  });

  test('does not wait for a pipe', async () => {
    mkdirSync(bin, { recursive: true });
    await promisify(execFile)('mkfifo', [join(bin, 'flannel'), join(dir, 'pipe')]);
    symlinkSync(join(dir, 'pipe'), join(bin, 'loden'));
    expect((await install()).states).toMatchObject({ 'opt/bin/loden': 'failed', 'opt/bin/flannel': 'kept' });
  });

  test('says what to do about each file that cannot be written', async () => {
    put('opt/bin', '');
    mkdirSync(join(dir, CONF), { recursive: true });
    const { files, error } = await install({ force: true });
    expect(files.map(({ state }) => state)).toEqual(['failed', 'failed', 'failed']);
    expect(files[0]!.reason).toMatch(/opt\/bin.*in its place.*--bin-dir/);
    expect(error).toMatch(/3 of 3/);
    rmSync(bin);
    const again = await install({ force: true });
    expect(again.files[2]).toMatchObject({ state: 'failed', reason: expect.stringMatching(/--conf-dir/) });
    expect(readdirSync(conf)).toEqual(['10-loden.conflist']);
  });

  test.each([
    ['is missing', () => rmSync(built)],
    ['is not the plugin', () => writeFileSync(built, FOREIGN)],
    ['is not the plugin', () => writeFileSync(built, `#!/bin/sh\n${CNI.delegates}`)],
  ])('puts nothing in place when the built one %s', async (why, spoil) => {
    spoil();
    await expect(cniInstall(options({}), () => {}, built)).rejects.toThrow(
      new RegExp(`built ${why}: build it by`),
    );
    expect(existsSync(bin)).toBe(false);
  });

  test('tells what keeps pods from getting it', async () => {
    put('net.d/10-flannel.conflist', '{}');
    put('net.d/99-other.conf', '{}');
    put('net.d/00-readme.txt', '');
    expect((await install()).notes).toEqual([
      expect.stringContaining(join(conf, '10-flannel.conflist')),
      expect.stringMatching(/portmap.*not in .*opt\/bin/),
    ]);
    rmSync(join(conf, '10-flannel.conflist'));
    put('opt/bin/portmap', '');
    expect((await install()).notes).toEqual([]);
  });

  test('sweeps up after one that was killed, and only that', async () => {
    const dead = spawn('true');
    await once(dead, 'exit');
    const stay = [`net.d/10-loden.conflist.tmp-${process.pid}`, `opt/bin/bridge.tmp-${dead.pid}`];
    const go = [`opt/bin/loden.tmp-${dead.pid}`, `net.d/10-loden.conflist.tmp-${dead.pid}`];
    // Its own temporary file has the pid of this process, which is why install removes it in any case.
    for (const path of [...stay, ...go]) put(path, 'x');
    await uninstall();
    expect([...stay, ...go].filter((path) => existsSync(join(dir, path)))).toEqual(stay);
    put(go[0]!, 'x');
    await install();
    expect(existsSync(join(dir, go[0]!))).toBe(false);
  });

  test('makes each file appear whole, by a rename, and the configuration last', async () => {
    mkdirSync(bin, { recursive: true });
    mkdirSync(conf);
    const seen: string[] = [];
    const broken: string[] = [];
    const look = (at: string) => (_: string, name: string | null) => {
      seen.push(name!);
      // Runtimes read what has such a name at once.
      if (name!.endsWith('.conflist')) JSON.parse(readFileSync(join(at, name!), 'utf8'));
      if (name!.endsWith('.conflist') && !existsSync(join(bin, 'loden'))) broken.push(name!);
    };
    const watchers = [bin, conf].map((at) => watch(at, look(at)));
    try {
      await install();
      await expect.poll(() => seen).toContain('10-loden.conflist');
    } finally {
      for (const watcher of watchers) watcher.close();
    }
    expect(broken).toEqual([]);
    const temporary = seen.filter((name) => name.includes('.tmp-'));
    expect(new Set(temporary).size).toBe(3);
    expect(temporary.filter((name) => /\.(conf|conflist|json)$/.test(name))).toEqual([]);
  });
});

describe('uninstall', () => {
  test('takes away what install wrote, with whatever options', async () => {
    put('opt/bin/bridge', FOREIGN);
    put('net.d/99-other.conf', '{}');
    await install({ runDir: '/r', networkName: 'x' });
    const { states, error, files } = await uninstall();
    expect(error).toBeUndefined();
    expect(states).toEqual(all('removed'));
    expect(files[0]!.path).toBe(join(dir, CONF));
    expect(readdirSync(bin)).toEqual(['bridge']);
    expect(readdirSync(conf)).toEqual(['99-other.conf']);
    expect((await uninstall()).states).toEqual(all('absent'));
  });

  test('takes away an older version too', async () => {
    await install();
    put('opt/bin/loden', plugin('0'));
    expect((await uninstall()).states).toEqual(all('removed'));
  });

  test('keeps what is not ours, and says why', async () => {
    put('opt/bin/loden', FOREIGN);
    put('opt/bin/flannel', `#!/bin/sh\n${CNI.delegates}`);
    put(CONF, '{"plugins":[{"type":"bridge"}]}');
    for (const force of [false, true]) {
      const { states, files, error } = await uninstall({ force });
      expect(states).toEqual(all('kept'));
      expect(error).toBeUndefined();
      for (const { reason } of files) expect(reason).toMatch(/not ours|another program/);
    }
  });

  test('keeps a configuration that was changed, and the plugin it needs', async () => {
    await install();
    put(CONF, text(CONF).replace('1.0.0', '0.4.0'));
    const { states, files, error } = await uninstall();
    expect(states).toEqual({ [CONF]: 'failed', ...Object.fromEntries(FILES.map((f) => [f, 'kept'])) });
    expect(files[0]!.reason).toMatch(/changed by hand.*--force/);
    expect(files[1]!.reason).toContain(CONF);
    expect(error).toMatch(/1 of 3/);
    expect((await uninstall({ force: true })).states).toEqual(all('removed'));
  });

  test.each([
    ['by its type', '{"type":"flannel"}', ['flannel']],
    ['in a list', '{"plugins":[{"type":"portmap"},{"type":"loden"}]}', ['loden']],
    ['in any case', '{"Plugins":[{"TYPE":"flannel"}]}', ['flannel']],
    [
      'for another plugin',
      '{"type":"multus","delegates":[{"type":"loden"},{"type":"flannel"}]}',
      ['loden', 'flannel'],
    ],
    ['nowhere', '{"type":"bridge","name":"flannel"}', []],
    ['in no JSON', '{"type":"flannel"', []],
  ])('keeps the plugin that another configuration names %s', async (_, content, names) => {
    await install();
    put('net.d/99-other.conf', content);
    put('net.d/99-other.txt', '{"plugins":[{"type":"flannel"},{"type":"loden"}]}');
    mkdirSync(join(conf, '98.conflist'));
    const { states, files, error } = await uninstall();
    expect(error).toBeUndefined();
    const expected = FILES.map((path) => [path, names.some((n) => path.endsWith(n)) ? 'kept' : 'removed']);
    expect(states).toEqual({ [CONF]: 'removed', ...Object.fromEntries(expected) });
    for (const { state, reason } of files)
      if (state === 'kept') expect(reason).toMatch(/99-other\.conf names it.*--force/);
    const after = (await uninstall({ force: true })).states;
    for (const name of names) expect(after[`opt/bin/${name}`]).toBe('removed');
  });

  test('keeps the plugin that a configuration of somebody else under our name needs', async () => {
    put('opt/bin/flannel', plugin('1'));
    put(CONF, '{"plugins":[{"type":"flannel"}]}');
    expect((await uninstall()).states).toMatchObject({ [CONF]: 'kept', 'opt/bin/flannel': 'kept' });
  });

  test('puts a flannel back also where it is needed, but no loden', async () => {
    for (const name of FILES) put(name, `${FOREIGN}${name}`);
    await install({ force: true });
    put('net.d/99-other.conf', '{"plugins":[{"type":"flannel"},{"type":"loden"}]}');
    const { states } = await uninstall();
    expect(states).toMatchObject({ 'opt/bin/loden': 'kept', 'opt/bin/flannel': 'restored' });
    expect(is('opt/bin/loden', plugin('1'))).toBe(true);
    expect(text('opt/bin/loden.before-loden')).toBe(`${FOREIGN}opt/bin/loden`);
  });

  test('removes a link to our plugin, not what it leads to', async () => {
    mkdirSync(bin, { recursive: true });
    symlinkSync(built, join(bin, 'loden'));
    expect((await uninstall()).states['opt/bin/loden']).toBe('removed');
    expect(existsSync(built)).toBe(true);
  });
});

test('a report for people has a line for each file and note', async () => {
  let printed = '';
  await cniInstall(options({ json: false }), (text) => (printed += text), built);
  expect(printed.split('\n')).toEqual([
    `${bin}/loden: written`,
    `${bin}/flannel: written`,
    `${conf}/10-loden.conflist: written`,
    expect.stringMatching(/^note: .*portmap/),
    '',
  ]);
});

test('a configuration is ours only to the byte', () => {
  for (const given of [
    {},
    { runDir: '/r' },
    { stateDir: '/s' },
    { networkName: 'a.b-c' },
    { cniVersion: '1.1.0' as const },
  ]) {
    const ours = conflistText(options(given));
    expect(ownerOf(ours)).toBe('ours');
    expect(ownerOf(`${ours}\n`)).toBe('changed');
    expect(ownerOf(ours.replace('true', 'false'))).toBe('changed');
    expect(ownerOf(ours.replace(/1\.[01]\.0/, '1.2.0'))).toBe('changed');
    expect(ownerOf(ours.replaceAll('"loden"', '"bridge"'))).toBe('foreign');
  }
  expect(ownerOf('{"plugins":[{"type":"loden","socket":7}]}')).toBe('changed');
});

test('two at once both succeed', async () => {
  const main = new URL('../../src/cli/cni/install.ts', import.meta.url);
  const code = `const { cniInstall } = await import(${JSON.stringify(main)}); await cniInstall(${JSON.stringify(options({}))}, () => {}, ${JSON.stringify(built)});`;
  const run = () => promisify(execFile)(process.execPath, ['--input-type=module', '-e', code]);
  await Promise.all([run(), run(), run()]);
  expect((await install()).states).toEqual(all('unchanged'));
  expect(readdirSync(bin).sort()).toEqual(['flannel', 'loden']);
});
