import { spawn } from 'node:child_process';
import { once } from 'node:events';
import net from 'node:net';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { CNI } from '../../src/contract.ts';
import { BINARY, errorOf, isRunning, json, Plugin } from '../support/cniBinary.ts';

/** The plugin binary and those that keep it waiting: half a minute each, or longer, all at the same time. */

const OK = 'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n';

describe.concurrent('what hangs', { timeout: 120_000 }, () => {
  // The longest first: not all run at once.
  test('a delegate that hangs is killed with all it has started, the next one sooner', async () => {
    using own = new Plugin();
    const pid = join(own.dir, 'pid');
    own.plugin('bridge', `echo begun; sleep 1000 & echo $! >${pid}; wait`);
    // Never silent, and never busy: other tests share the machine.
    own.plugin('portmap', 'while :; do echo x; sleep 0.02; done');
    let left: boolean | undefined;
    const { calls } = await own.serve((_, res, nth) => {
      const plugin = ['bridge', 'portmap'][nth];
      if (plugin) json(res, { delegates: [{ plugin, env: {}, config: {} }] }, 200, CNI.delegates);
      else json(res, {});
      if (nth === 1) left = isRunning(pid);
    });
    const begin = performance.now();
    expect(await own.call('ADD', { timeout: 115_000 })).toMatchObject({ status: 0 });
    expect(performance.now() - begin).toBeGreaterThan(59_000);
    expect(left).toBe(false);
    const outcomes = calls[2]!.delegated!;
    expect(outcomes.map(({ exit }) => exit)).toEqual([137, 137]);
    const told = outcomes.map(({ stdout }) => JSON.parse(stdout).msg as string);
    expect(told[0]).toMatch(/bridge has not ended in (60|5\d) s and was killed$/);
    expect(told[1]).toMatch(/portmap has not ended in (30|2\d) s and was killed$/);
  });

  test.each([
    ['before it accepts', 'accept'],
    ['before it answers', 'answer'],
    ['in the middle of its answer', 'middle'],
  ])('a daemon %s is given up', async (_, where) => {
    using own = new Plugin();
    await own.serveRaw((socket) => {
      if (where !== 'answer') socket.write(`${OK}Content-Length: 99\r\n\r\n`);
      const drip = setInterval(() => where === 'middle' && socket.write(' '), 1_000);
      socket.on('close', () => clearInterval(drip));
      if (where === 'accept') socket.pause();
      else socket.resume();
    });
    const begin = performance.now();
    const [added, deleted] = await Promise.all([
      own.call('ADD', { timeout: 50_000 }),
      own.call('DEL', { timeout: 50_000 }),
    ]);
    expect(performance.now() - begin).toBeGreaterThan(CNI.timeout - 100);
    expect(errorOf(added)).toMatchObject({
      code: 11,
      msg: `the loden daemon at ${own.socket} has not answered for 30 s`,
    });
    expect(deleted).toMatchObject({ status: 0, stdout: '' });
    expect(own.queued()).toHaveLength(1);
  });

  test('standard input that does not end is given up', async () => {
    using own = new Plugin();
    const child = spawn(BINARY, { env: { CNI_COMMAND: 'ADD' }, timeout: 50_000 });
    child.stdin.write(own.config());
    let stdout = '';
    child.stdout.on('data', (chunk) => {
      stdout += chunk;
    });
    const [status] = await once(child, 'close');
    expect(status).toBe(1);
    expect(JSON.parse(stdout)).toEqual({
      cniVersion: '1.0.0',
      code: 5,
      msg: 'error reading from stdin: it does not end',
    });
  });

  test('a daemon whose bytes never end is given up', async () => {
    using own = new Plugin();
    // Of each chunk a byte counts: what may come is not limited by the room for an answer. SO_SNDBUFFORCE is 32. It pauses, for others share
    // the machine.
    const script = `use Socket; socket(my $s, AF_UNIX, SOCK_STREAM, 0); bind($s, sockaddr_un($ARGV[0])) or die;
      listen($s, 5); syswrite(STDOUT, "x"); accept(my $c, $s); setsockopt($c, SOL_SOCKET, 32, pack("i", 8 << 20)) or die;
      syswrite($c, "HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n");
      my $chunk = "1;" . ("x" x 30000) . "\\r\\n \\r\\n"; my ($all, $at) = ($chunk x 32, 0);
      while (1) { my $n = syswrite($c, $all, length($all) - $at, $at) or die; $at = ($at + $n) % length($all); select(undef, undef, undef, 0.02); }`;
    const daemon = spawn('perl', ['-e', script, own.socket], { stdio: ['ignore', 'pipe', 'ignore'] });
    try {
      await once(daemon.stdout, 'data');
      expect(errorOf(await own.call('ADD', { timeout: 60_000 }))).toMatchObject({
        code: 11,
        msg: `the loden daemon at ${own.socket} has not answered for 30 s`,
      });
    } finally {
      daemon.kill('SIGKILL');
    }
  });

  test('a daemon that accepts nobody any more is given up, as busy', async () => {
    using own = new Plugin();
    const script = `const server = require('net').createServer();
      server.listen({ path: process.argv[1], backlog: 1 }, () => {
        require('fs').writeSync(1, 'x');
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
      });`;
    const busy = spawn(process.execPath, ['-e', script, own.socket], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const waiting: net.Socket[] = [];
    try {
      await once(busy.stdout, 'data');
      // Until no more can wait to be accepted.
      for (let full = false; !full; ) {
        const socket = net.connect(own.socket);
        waiting.push(socket);
        full = await new Promise<boolean>((resolve, reject) => {
          socket.on('connect', () => resolve(false));
          socket.on('error', (error: NodeJS.ErrnoException) =>
            error.code === 'EAGAIN' ? resolve(true) : reject(error),
          );
        });
      }
      const begin = performance.now();
      expect(errorOf(await own.call('ADD', { timeout: 50_000 }))).toMatchObject({
        code: 11,
        msg: `the loden daemon at ${own.socket} has not accepted a connection for 30 s`,
        details: expect.stringContaining('loden status'),
      });
      expect(performance.now() - begin).toBeGreaterThan(CNI.timeout - 100);
    } finally {
      busy.kill('SIGKILL');
      for (const socket of waiting) socket.destroy();
    }
  });
});
