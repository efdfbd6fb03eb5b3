import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, expect, test } from 'vitest';
import { CNI } from '../../src/contract.ts';
import { BINARY, errorOf, json, Plugin } from '../support/cniBinary.ts';

/** The plugin binary and those that keep it waiting: half a minute each, or a whole one, all at the same time. */

const OK = 'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n';

describe.concurrent('what hangs', { timeout: 120_000 }, () => {
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

  test('a delegate that hangs is killed', async () => {
    using own = new Plugin();
    own.plugin('bridge', 'echo begun; exec sleep 1000');
    const delegates = [{ plugin: 'bridge', env: {}, config: {} }];
    const { calls } = await own.serve((call, res) =>
      call.delegated ? json(res, {}) : json(res, { delegates }, 200, CNI.delegates),
    );
    const begin = performance.now();
    expect(await own.call('ADD', { timeout: 100_000 })).toMatchObject({ status: 0 });
    expect(performance.now() - begin).toBeGreaterThan(59_000);
    const [outcome] = calls[1]!.delegated!;
    expect(outcome!.exit).toBe(137);
    expect(JSON.parse(outcome!.stdout).msg).toBe(`${own.bin}/bridge has not ended in 60 s and was killed`);
  });
});
