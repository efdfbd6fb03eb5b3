import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Delegate, PluginCall } from '../../src/cni/types.ts';
import { CNI } from '../../src/contract.ts';
import { errorOf, isRunning, json, Plugin } from '../support/cniBinary.ts';
import { until } from '../support/proc.ts';

/** The plugin binary and what it runs for the daemon: delegates are shell scripts here. */

let plugin: Plugin;
beforeEach(() => {
  plugin = new Plugin();
});
afterEach(() => plugin[Symbol.dispose]());

const ADD = { CNI_COMMAND: 'ADD' };
const DEL = { CNI_COMMAND: 'DEL' };
const named = (
  name: string,
  env: Record<string, string> = ADD,
  config: object = { type: name },
): Delegate => ({
  plugin: name,
  env,
  config,
});

/** A daemon that names what the script has for each round, then answers. */
const daemon = (...rounds: (readonly Delegate[])[]) =>
  plugin.serve((call, res) => {
    const done = call.delegated?.length ?? 0;
    let before = 0;
    for (const round of rounds) {
      if (done === before) return json(res, { delegates: round }, 200, CNI.delegates);
      before += round.length;
    }
    json(res, { cniVersion: '1.0.0', done });
  });

/** A delegate that says what it was given, in lines of `<name>.log`. */
const recorder = (name: string, and = 'echo "{}"'): void =>
  plugin.plugin(
    name,
    `log=${plugin.dir}/${name}.log
echo "$0 $CNI_COMMAND $CNI_CONTAINERID $CNI_NETNS $CNI_IFNAME" >>"$log"
echo "$0 $CNI_COMMAND" >>${plugin.dir}/all.log
cat >>"$log"
echo >>"$log"
${and}`,
  );
const log = (name: string): string[] =>
  readFileSync(join(plugin.dir, `${name}.log`), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => line.replaceAll(`${plugin.bin}/`, ''));

describe('delegates', () => {
  test('get the call’s environment, theirs over it and their configuration; what comes of them goes back', async () => {
    recorder('bridge', `printf '%s\\n' '{"ips": ["é\\n"]}'; echo warned >&2`);
    recorder('portmap', 'printf plain');
    const config = { type: 'bridge', n: 1.5, s: '"\\é' };
    const { calls } = await daemon(
      [named('bridge', { ...ADD, CNI_IFNAME: 'net1', CNI_ARGS: 'A=b' }, config), named('portmap', {})],
      [named('bridge', DEL)],
    );
    const ended = await plugin.call('ADD');
    expect(ended).toEqual({
      status: 0,
      stdout: '{"cniVersion":"1.0.0","done":3}',
      stderr: 'warned\nwarned\n',
    });
    expect(log('bridge')).toEqual([
      'bridge ADD c1 /run/netns/c1 net1',
      JSON.stringify(config),
      'bridge DEL c1 /run/netns/c1 eth0',
      '{"type":"bridge"}',
    ]);
    expect(log('portmap')[0]).toBe('portmap ADD c1 /run/netns/c1 eth0');
    const { delegated, ...first } = calls[2]!;
    expect(delegated).toEqual([
      { exit: 0, stdout: '{"ips": ["é\\n"]}\n' },
      { exit: 0, stdout: 'plain' },
      { exit: 0, stdout: '{"ips": ["é\\n"]}\n' },
    ]);
    expect(first).toEqual(calls[0]);
    expect(calls[1]!.delegated).toEqual(delegated!.slice(0, 2));
  });

  test('have the whole environment, each name once, and nothing else of the plugin', async () => {
    plugin.plugin('bridge', `env >${plugin.dir}/env; ls /proc/self/fd >${plugin.dir}/fds`);
    await daemon([named('bridge', { CNI_COMMAND: 'CHECK', CNI_IFNAME: 'net1' })]);
    const plain = [
      '/bin/bash',
      '-c',
      `exec 7</; exec ${join(import.meta.dirname, '../../build/cni/flannel')}`,
    ];
    await plugin.call('ADD', { argv: plain, env: { HOME: '/nowhere', PATH: process.env.PATH } });
    const env = readFileSync(join(plugin.dir, 'env'), 'utf8').trim().split('\n');
    const names = env.map((line) => line.split('=')[0]);
    expect(new Set(names).size).toBe(names.length);
    expect(env).toEqual(
      expect.arrayContaining([
        'HOME=/nowhere',
        'CNI_COMMAND=CHECK',
        'CNI_IFNAME=net1',
        'CNI_CONTAINERID=c1',
        `CNI_PATH=${plugin.bin}`,
      ]),
    );
    // ls itself has 3.
    expect(readFileSync(join(plugin.dir, 'fds'), 'utf8')).toBe('0\n1\n2\n3\n');
  });

  test('have no signal blocked or ignored', async () => {
    // No shell: those clear their mask.
    const script = `#!/usr/bin/awk -f\nBEGIN { while ((getline line <"/proc/self/status") > 0) print line }\n`;
    plugin.plugin('bridge', '');
    writeFileSync(join(plugin.bin, 'bridge'), script);
    const { calls } = await daemon([named('bridge')]);
    // Node starts everything with SIGPIPE as it is by default.
    await plugin.call('ADD');
    const status = calls[1]!.delegated![0]!.stdout;
    expect(status).toMatch(/^SigBlk:\t0{16}$/m);
    // SIGPIPE is 13.
    expect(BigInt(`0x${/^SigIgn:\t(\w+)$/m.exec(status)![1]}`) & (1n << 12n)).toBe(0n);
  });

  test('are stopped at the first that fails', async () => {
    recorder('one', 'echo \'{"code":7}\'; exit 3');
    recorder('two');
    const { calls } = await daemon([named('one'), named('two')]);
    await plugin.call('ADD');
    expect(calls[1]!.delegated).toEqual([{ exit: 3, stdout: '{"code":7}\n' }]);
    expect(existsSync(join(plugin.dir, 'two.log'))).toBe(false);
  });

  test('that are not there, cannot be run, or are killed are told as failures', async () => {
    plugin.plugin('dies', 'kill -9 $$');
    writeFileSync(join(plugin.bin, 'text'), 'no program');
    mkdirSync(join(plugin.bin, 'directory'));
    const outcome = async (name: string, path = `/no/where:${plugin.bin}`) => {
      const { calls, server } = await plugin.serve((call, res) =>
        call.delegated ? json(res, {}) : json(res, { delegates: [named(name)] }, 200, CNI.delegates),
      );
      await plugin.call('ADD', { env: { CNI_PATH: path } });
      await new Promise((resolve) => server.close(resolve));
      const [outcome] = calls[1]!.delegated!;
      return { exit: outcome!.exit, ...(outcome!.stdout === '' ? {} : JSON.parse(outcome!.stdout)) };
    };
    const missing = { exit: 127, cniVersion: '1.0.0', code: 999 };
    expect(await outcome('none')).toEqual({
      ...missing,
      msg: `failed to find plugin "none" in path [/no/where ${plugin.bin}]`,
    });
    expect(await outcome('directory')).toMatchObject({
      exit: 127,
      msg: expect.stringContaining('failed to find'),
    });
    expect(await outcome('none', '')).toEqual({ ...missing, msg: 'failed to find plugin "none" in path []' });
    expect(await outcome('text')).toEqual({
      ...missing,
      msg: `cannot run ${plugin.bin}/text: Permission denied`,
    });
    expect(await outcome('dies')).toEqual({ exit: 137 });
  });

  test('are taken from the first directory of CNI_PATH that has them', async () => {
    const other = join(plugin.dir, 'other');
    mkdirSync(other);
    recorder('bridge');
    await daemon([named('bridge')]);
    await plugin.call('ADD', { env: { CNI_PATH: `${other}:${plugin.bin}:/bin` } });
    expect(log('bridge')[0]).toContain('bridge ADD');
  });

  test('take a large configuration and give a large result at the same time', async () => {
    // It writes before it reads: each pipe holds 64 KB.
    plugin.plugin('bridge', `head -c 1000000 /dev/zero | tr '\\0' x; wc -c`);
    const { calls } = await daemon([named('bridge', ADD, { text: 'y'.repeat(1_000_000) })]);
    await plugin.call('ADD');
    const [outcome] = calls[1]!.delegated!;
    expect(outcome!.exit).toBe(0);
    expect(outcome!.stdout.slice(0, 1_000_000) === 'x'.repeat(1_000_000)).toBe(true);
    expect(outcome!.stdout.slice(1_000_000)).toBe('1000011\n');
  });

  test('need not read, and may leave others behind that hold their output', async () => {
    plugin.plugin('bridge', `exec <&-; sleep 100 2>&- & echo $! >${plugin.dir}/pid; echo done`);
    const { calls } = await daemon([named('bridge', ADD, { text: 'y'.repeat(500_000) })]);
    expect(await plugin.call('ADD')).toMatchObject({ status: 0 });
    expect(calls[1]!.delegated).toEqual([{ exit: 0, stdout: 'done\n' }]);
    process.kill(Number(readFileSync(join(plugin.dir, 'pid'), 'utf8')), 'SIGKILL');
  });

  test('have their result read although they have ended before', async () => {
    // The plugin sees both at once.
    plugin.plugin(
      'bridge',
      'kill -STOP $PPID; (sleep 0.2; kill -CONT $PPID) </dev/null >/dev/null 2>&1 & echo late',
    );
    const { calls } = await daemon([named('bridge')]);
    await plugin.call('ADD');
    expect(calls[1]!.delegated).toEqual([{ exit: 0, stdout: 'late\n' }]);
  });

  test('may have a result of 1 MiB and no more', async () => {
    plugin.plugin('fits', 'head -c 1048576 /dev/zero');
    plugin.plugin('over', 'head -c 1048577 /dev/zero');
    plugin.plugin('far', 'head -c 30000000 /dev/zero; exit 9');
    const { calls } = await daemon([named('fits')], [named('over')], [named('far')]);
    await plugin.call('ADD');
    const [fits, over, far] = calls[3]!.delegated!;
    expect(fits!.exit).toBe(0);
    expect(fits!.stdout).toHaveLength(1 << 20);
    expect(over!.exit).toBe(1);
    expect(JSON.parse(over!.stdout)).toMatchObject({
      code: 999,
      msg: `${plugin.bin}/over has printed more than 1 MiB`,
    });
    expect(far!.exit).toBe(9);
  });

  test('run although whoever started the plugin ignores SIGCHLD', async () => {
    recorder('bridge');
    const { calls } = await daemon([named('bridge')]);
    const argv = [
      '/bin/bash',
      '-c',
      `trap '' CHLD; exec ${join(import.meta.dirname, '../../build/cni/loden')}`,
    ];
    expect(await plugin.call('ADD', { argv })).toMatchObject({ status: 0 });
    expect(calls[1]!.delegated).toEqual([{ exit: 0, stdout: '{}\n' }]);
  });

  test('are named in 8 rounds at most, and then undone', async () => {
    recorder('bridge');
    const { calls } = await plugin.serve((_, res) =>
      json(res, { delegates: [named('bridge')] }, 200, CNI.delegates),
    );
    const error = errorOf(await plugin.call('ADD'));
    expect(error.code).toBe(999);
    expect(error.msg).toContain('it names delegates again and again');
    expect(calls).toHaveLength(9);
    expect(log('all')).toEqual([...Array(8).fill('bridge ADD'), ...Array(8).fill('bridge DEL')]);
  });

  test.each<[string, unknown]>([
    ['with a path', [named('../bin/bridge')]],
    ['of an absolute path', [named('/bin/true')]],
    ['that is the plugin again', [named('flannel')]],
    ['that is the plugin', [named('loden')]],
    ['of no name', [named('')]],
    ['that is its directory', [named('..')]],
    ['with another variable', [named('bridge', { LD_PRELOAD: '/x.so' })]],
    ['with a variable of two', [named('bridge', { 'CNI_ARGS=x\nA': 'b' })]],
    ['with a zero byte', [named('bridge', { CNI_ARGS: 'a\0b' })]],
    ['with a number for a variable', [{ ...named('bridge'), env: { CNI_ARGS: 1 } }]],
    ['without configuration', [{ plugin: 'bridge', env: {} }]],
    ['with text for one', [{ plugin: 'bridge', env: {}, config: '{}' }]],
    ['of which there are too many', Array.from({ length: 65 }, () => named('bridge'))],
    ['of which there are none', []],
    ['that are no list', {}],
    ['the second of which is none', [named('bridge'), 5]],
  ])('%s are not run', async (_, delegates) => {
    recorder('bridge');
    const { calls } = await plugin.serve((_call, res) => json(res, { delegates }, 200, CNI.delegates));
    const ended = await plugin.call('ADD');
    expect(ended.status).toBe(1);
    expect(errorOf(ended)).toMatchObject({ code: 999, msg: expect.stringContaining('cannot be used') });
    expect(existsSync(join(plugin.dir, 'all.log'))).toBe(false);
    expect(calls).toHaveLength(1);
  });
});

describe('an ADD that the daemon refuses after delegates have run', () => {
  const refused = { cniVersion: '1.0.0', code: 11, msg: 'daemon is stopping' };
  /** Names a round each time, then refuses. */
  const refusing = (...rounds: (readonly Delegate[])[]) => {
    let round = 0;
    return plugin.serve((_, res) => {
      const delegates = rounds[round++];
      if (delegates) json(res, { delegates }, 200, CNI.delegates);
      else json(res, refused, 503);
    });
  };

  test('has them undone, and is told the daemon’s reason', async () => {
    recorder('bridge');
    recorder('portmap');
    await refusing([named('bridge'), named('portmap')]);
    const ended = await plugin.call('ADD');
    expect(ended).toMatchObject({
      status: 1,
      stderr: 'after that: portmap undone, bridge undone\n',
    });
    expect(errorOf(ended)).toEqual(refused);
    expect(log('all')).toEqual(['bridge ADD', 'portmap ADD', 'portmap DEL', 'bridge DEL']);
  });

  test('for a result that is beyond what a request may be, too', async () => {
    // Each byte is six in the request.
    recorder('bridge', 'head -c 1000000 /dev/zero | tr "\\\\0" "\\\\377"');
    await plugin.serve((call, res) => {
      const size = JSON.stringify(call).length;
      if (size > 100_000) json(res, refused, 413);
      else json(res, { delegates: [named('bridge')] }, 200, CNI.delegates);
    });
    expect(errorOf(await plugin.call('ADD'))).toEqual(refused);
    expect(log('all')).toEqual(['bridge ADD', 'bridge DEL']);
  });

  test('undoes only what the daemon has not had undone', async () => {
    recorder('bridge');
    recorder('portmap');
    await refusing([named('bridge')], [named('bridge', DEL)], [named('portmap')]);
    const ended = await plugin.call('ADD');
    expect(ended.stderr).toBe('after that: portmap undone\n');
    expect(log('all')).toEqual(['bridge ADD', 'bridge DEL', 'portmap ADD', 'portmap DEL']);
  });

  test('undoes nothing when the daemon had the last of it undone', async () => {
    recorder('bridge', '[ $CNI_COMMAND = DEL ]');
    await refusing([named('bridge')], [named('bridge', DEL)]);
    expect(await plugin.call('ADD')).toMatchObject({ status: 1, stderr: '' });
    expect(log('all')).toEqual(['bridge ADD', 'bridge DEL']);
  });

  test.each(['DEL', 'CHECK'])('of a %s nothing is undone', async (command) => {
    recorder('bridge');
    await refusing([named('bridge', {})]);
    expect(await plugin.call(command)).toMatchObject({ status: 1, stderr: '' });
    expect(log('all')).toEqual([`bridge ${command}`]);
  });
});

describe('what a delegate has started', () => {
  test('ends with it when a signal ends it', async () => {
    const pid = join(plugin.dir, 'pid');
    plugin.plugin('bridge', `sleep 1000 >/dev/null 2>&1 & echo $! >${pid}; kill -SEGV $$`);
    const { calls } = await daemon([named('bridge')]);
    expect(await plugin.call('ADD')).toMatchObject({ status: 0 });
    expect(calls[1]!.delegated![0]!.exit).toBe(139);
    await until('sleep to end', () => Promise.resolve(!isRunning(pid)));
  });

  test('goes on when it has ended well', async () => {
    const pid = join(plugin.dir, 'pid');
    plugin.plugin('bridge', `sleep 1000 >/dev/null 2>&1 & echo $! >${pid}; echo '{}'`);
    await daemon([named('bridge')]);
    try {
      expect(await plugin.call('ADD')).toMatchObject({ status: 0 });
      expect(isRunning(pid)).toBe(true);
    } finally {
      process.kill(Number(readFileSync(pid, 'utf8')), 'SIGKILL');
    }
  });
});

describe('when the daemon is gone after delegates have run', () => {
  const lost = (when: (call: PluginCall) => boolean, ...delegates: Delegate[]) =>
    plugin.serve((call, res) => {
      if (when(call)) return void res.destroy();
      json(res, { delegates }, 200, CNI.delegates);
    });

  test('an ADD undoes them, the last first, and fails', async () => {
    recorder('bridge');
    recorder('portmap');
    await lost(
      (call) => call.delegated !== undefined,
      named('bridge', { ...ADD, CNI_IFNAME: 'net1' }),
      named('portmap'),
    );
    const ended = await plugin.call('ADD');
    expect(ended.status).toBe(1);
    const error = errorOf(ended);
    expect(error).toMatchObject({ code: 11, msg: expect.stringContaining('before it had answered') });
    expect(error.details).toContain('; after that: portmap undone, bridge undone');
    expect(log('all')).toEqual(['bridge ADD', 'portmap ADD', 'portmap DEL', 'bridge DEL']);
    expect(log('bridge')).toEqual([
      'bridge ADD c1 /run/netns/c1 net1',
      '{"type":"bridge"}',
      'bridge DEL c1 /run/netns/c1 net1',
      '{"type":"bridge"}',
    ]);
  });

  test('what failed is undone too, and what cannot be is said', async () => {
    recorder('bridge', '[ $CNI_COMMAND = ADD ]');
    recorder('portmap', 'exit 1');
    await lost((call) => call.delegated !== undefined, named('bridge'), named('portmap'), named('none'));
    const error = errorOf(await plugin.call('ADD'));
    expect(error.details).toContain('portmap could not be undone, bridge could not be undone');
    expect(log('all')).toEqual(['bridge ADD', 'portmap ADD', 'portmap DEL', 'bridge DEL']);
  });

  test('of several rounds all are undone that were to add', async () => {
    recorder('bridge');
    recorder('portmap');
    await plugin.serve((call, res) => {
      const round = call.delegated?.length ?? 0;
      if (round === 3) return void res.destroy();
      const names = [named('bridge'), named('portmap', { CNI_COMMAND: 'CHECK' }), named('portmap', {})];
      json(res, { delegates: [names[round]] }, 200, CNI.delegates);
    });
    await plugin.call('ADD');
    expect(log('all').slice(3)).toEqual(['portmap DEL', 'bridge DEL']);
  });

  test('also when it answers garbage', async () => {
    recorder('bridge');
    await plugin.serve((call, res) =>
      call.delegated ? json(res, {}, 302) : json(res, { delegates: [named('bridge')] }, 200, CNI.delegates),
    );
    expect(errorOf(await plugin.call('ADD'))).toMatchObject({
      code: 999,
      details: 'after that: bridge undone',
    });
    expect(log('all')).toEqual(['bridge ADD', 'bridge DEL']);
  });

  test('a DEL is kept, without what has been done', async () => {
    recorder('bridge');
    await lost((call) => call.delegated !== undefined, named('bridge', DEL));
    expect(await plugin.call('DEL')).toMatchObject({ status: 0, stdout: '' });
    expect(log('all')).toEqual(['bridge DEL']);
    const [kept] = plugin.queued();
    expect(kept!.call.delegated).toBeUndefined();
    expect(kept!.call.env.CNI_COMMAND).toBe('DEL');
  });

  test('a CHECK undoes nothing', async () => {
    recorder('bridge');
    await lost((call) => call.delegated !== undefined, named('bridge', {}));
    expect(errorOf(await plugin.call('CHECK'))).toMatchObject({ code: 11 });
    expect(log('all')).toEqual(['bridge CHECK']);
  });

  test('its new one is waited for, and told all that has been done', async () => {
    recorder('bridge');
    const first = await plugin.serve((_, res) => {
      first.server.close();
      json(res, { delegates: [named('bridge')] }, 200, CNI.delegates);
    });
    plugin.plugin('portmap', '');
    const pending = plugin.call('ADD');
    while (!existsSync(join(plugin.dir, 'all.log'))) await new Promise((resolve) => setTimeout(resolve, 20));
    const second = await plugin.serve((_, res) => json(res, { cniVersion: '1.0.0' }));
    expect(await pending).toMatchObject({ status: 0, stdout: '{"cniVersion":"1.0.0"}' });
    expect(second.calls[0]!.delegated).toEqual([{ exit: 0, stdout: '{}\n' }]);
    expect(log('all')).toEqual(['bridge ADD']);
  });
});
