import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { request } from 'node:http';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, describe, expect, test, vi } from 'vitest';
import type { PluginAnswer } from '../../src/cni/types.ts';
import { CNI, EXIT } from '../../src/contract.ts';
import { type ControlParts, serveControl } from '../../src/daemon/http/control.ts';
import type { Reply, Route } from '../../src/daemon/http/route.ts';
import { serveHealth } from '../../src/daemon/http/tcp.ts';
import { ask } from '../support/ask.ts';
import { run, until } from '../support/proc.ts';

const dir = mkdtempSync(join(tmpdir(), 'loden-api-'));
afterAll(() => rmSync(dir, { recursive: true }));

const get = (path: string, handle: () => Reply): Route => ({
  method: 'GET',
  path,
  audience: 'anyone',
  handle,
});

const parts = (ready = true): ControlParts => ({
  ready: () => ready,
  routes: [
    get('/v1/thing', () => ({ value: { a: 1 } })),
    get('/v1/long', () => ({
      pieces: (function* () {
        for (let i = 0; i < 50_000; i++) yield `${i},`;
      })(),
    })),
    get('/v1/broken', () => {
      throw new Error('out of order');
    }),
  ],
});

describe('what a request gets', () => {
  test.each([
    ['/healthz', true, 200, 'flanneld is running'],
    ['/readyz', true, 200, 'flanneld is ready'],
    ['/readyz', false, 503, 'flanneld is not ready yet'],
    ['/v1/thing?x=1', true, 200, '{"a":1}\n'],
  ])('%s when ready is %s: %i', async (path, ready, status, body) => {
    const socket = join(dir, 'r.sock');
    await using _ = await serveControl(socket, parts(ready));
    expect(await ask(socket, path)).toMatchObject({ status, body });
  });

  test('what is not there, and what cannot be done, in JSON', async () => {
    const socket = join(dir, 'n.sock');
    await using _ = await serveControl(socket, parts());
    const missing = await ask(socket, '/v2');
    expect([missing.status, JSON.parse(missing.body)]).toMatchObject([404, { error: { code: 'not-found' } }]);
    expect(await ask(socket, '/v1/thing', { body: '{}' })).toMatchObject({ status: 405 });
    expect(await ask(socket, '/healthz', { body: '{}' })).toMatchObject({ status: 405 });
  });
});

describe('the control socket', () => {
  test('serves long answers whole, and survives a resource that fails', async () => {
    const path = join(dir, 'a.sock');
    await using _ = await serveControl(path, parts());
    const { status, body } = await ask(path, '/v1/long');
    expect([status, body.split(',').length]).toEqual([200, 50_001]);
    expect(await ask(path, '/v1/broken')).toMatchObject({
      status: 500,
      body: expect.stringMatching('out of order'),
    });
    expect(await ask(path, '/healthz')).toMatchObject({ status: 200 });
  });

  test('has its mode before anybody finds it, touches no umask, and goes first at the end', async () => {
    const path = join(dir, 'm.sock');
    const umask = vi.spyOn(process, 'umask');
    const api = await serveControl(path, parts());
    expect(umask).not.toHaveBeenCalled();
    umask.mockRestore();
    expect(statSync(path).mode & 0o7777).toBe(0o660);
    expect(existsSync(join(dir, '.new'))).toBe(false);
    const ending = api[Symbol.asyncDispose]();
    expect(existsSync(path)).toBe(false);
    await ending;
  });

  test('that cannot be put in its place is no server', async () => {
    const path = join(dir, 'taken.sock');
    mkdirSync(join(path, 'x'), { recursive: true });
    await expect(serveControl(path, parts())).rejects.toThrow(`cannot listen on ${path}`);
    await expect(ask(join(dir, '.new'), '/healthz')).rejects.toThrow();
  });

  test('is refused beside a living daemon, and replaces the file of a dead one', async () => {
    const path = join(dir, 'b.sock');
    await using _ = await serveControl(path, parts());
    await expect(serveControl(path, parts())).rejects.toMatchObject({ exitCode: EXIT.busy });
    expect(await ask(path, '/healthz')).toMatchObject({ status: 200 });
  });
});

describe("the plugin's resource", () => {
  const call = { env: { CNI_COMMAND: 'ADD' }, stdin: '{}' };
  const post = (path: string, body: string, headers: Record<string, string> = {}) =>
    new Promise<{ status: number; type: string; body: string; warning: string | undefined }>(
      (resolve, reject) => {
        const req = request(
          {
            socketPath: path,
            path: CNI.resource,
            agent: false,
            method: 'POST',
            headers: { 'content-type': 'application/json', ...headers },
          },
          (res) => {
            let text = '';
            res.setEncoding('utf8').on('data', (chunk: string) => {
              text += chunk;
            });
            res.once('end', () =>
              resolve({
                status: res.statusCode ?? 0,
                type: res.headers['content-type'] ?? '',
                body: text,
                warning: res.headers[CNI.warning] as string | undefined,
              }),
            );
          },
        );
        // Who is refused may still be writing.
        req.on('error', reject);
        req.once('socket', (socket) => socket.on('error', () => {}));
        req.end(body);
      },
    );

  test.each([
    [{ kind: 'done' }, 200, 'application/json', ''],
    [{ kind: 'done', result: { cniVersion: '1.0.0' } }, 200, 'application/json', '{"cniVersion":"1.0.0"}'],
    [
      { kind: 'error', error: { cniVersion: '1.0.0', code: 7, msg: 'ü' } },
      400,
      'application/json',
      '{"cniVersion":"1.0.0","code":7,"msg":"ü"}',
    ],
    [
      { kind: 'error', error: { cniVersion: '1.0.0', code: 11, msg: 'x' } },
      503,
      'application/json',
      undefined,
    ],
    [
      { kind: 'error', error: { cniVersion: '1.0.0', code: 999, msg: 'x' } },
      500,
      'application/json',
      undefined,
    ],
    [{ kind: 'delegates', delegates: [] }, 200, CNI.delegates, '{"delegates":[]}'],
  ] as const)('says %j in HTTP', async (answer, status, type, body) => {
    const path = join(dir, 'p1.sock');
    const asked: unknown[] = [];
    const plugin = async (c: unknown) => {
      asked.push(c);
      return answer as PluginAnswer;
    };
    await using _ = await serveControl(path, { ...parts(), plugin });
    const got = await post(path, JSON.stringify(call));
    expect([got.status, got.type]).toEqual([status, type]);
    if (body !== undefined) expect(got.body).toBe(body);
    expect(asked).toEqual([call]);
  });

  test('a warning is one header line', async () => {
    const path = join(dir, 'p2.sock');
    const plugin = async (): Promise<PluginAnswer> => ({ kind: 'done', warning: 'a\r\nx-evil: 1 – ü' });
    await using _ = await serveControl(path, { ...parts(), plugin });
    expect((await post(path, JSON.stringify(call))).warning).toBe('a x-evil: 1');
  });

  test.each([
    ['no JSON', '{', 6],
    ['something else', '[]', 6],
    ['too much', `"${'x'.repeat(CNI.largestRequest)}"`, 6],
  ])('is told in the form of the specification what is wrong with %s', async (_, body, code) => {
    const path = join(dir, 'p3.sock');
    let asked = 0;
    const plugin = async (): Promise<PluginAnswer> => {
      asked++;
      return { kind: 'done' };
    };
    await using server = await serveControl(path, { ...parts(), plugin });
    const got = await post(path, body);
    expect([got.status, JSON.parse(got.body)]).toEqual([
      400,
      expect.objectContaining({ code, msg: expect.any(String) }),
    ]);
    expect(asked).toBe(0);
    expect(server).toBeDefined();
  });

  test("is for root and the daemon's own user alone", async () => {
    const path = join(dir, 'p4.sock');
    await using _ = await serveControl(path, { ...parts(), plugin: async () => ({ kind: 'done' }) });
    chmodSync(path, 0o666);
    chmodSync(dir, 0o755);
    const script = `const r=require('http').request({socketPath:${JSON.stringify(path)},path:'${CNI.resource}',method:'POST'},s=>{s.setEncoding('utf8');s.on('data',d=>process.stdout.write(d))});r.end('{}')`;
    const as = (uid: number) =>
      run(['setpriv', `--reuid=${uid}`, '--clear-groups', process.execPath, '-e', script]);
    expect(JSON.parse(await as(65534))).toMatchObject({
      code: 4,
      msg: expect.stringContaining('user 65534 may not'),
    });
  });

  test('answers who has connected before the end, and asks after it has begun', async () => {
    const path = join(dir, 'late.sock');
    const server = await serveControl(path, {
      ...parts(),
      plugin: async () => ({ kind: 'done', result: { ok: 1 } }),
    });
    const open = () => {
      const socket = net.connect(path);
      let text = '';
      socket
        .setEncoding('utf8')
        .on('data', (d: string) => (text += d))
        .on('error', () => {});
      return { socket, ended: once(socket, 'close').then(() => text) };
    };
    const body = JSON.stringify(call);
    const post = `POST ${CNI.resource} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
    const [asks, leaves] = [open(), open()];
    await Promise.all([once(asks.socket, 'connect'), once(leaves.socket, 'connect')]);
    // Connected as far as the kernel is asked, and not accepted yet.
    const early = Array.from({ length: 20 }, open);
    const ending = server[Symbol.asyncDispose]();
    for (const { socket } of early) socket.write(post);
    await sleep(50);
    asks.socket.write(post);
    leaves.socket.destroy();
    for (const { ended } of [asks, ...early]) expect(await ended).toContain('{"ok":1}');
    await ending;
  });

  test('answers a hundred at once, however long each takes, and ends those under way when it closes', async () => {
    const path = join(dir, 'p5.sock');
    let go = () => {};
    const gate = new Promise<void>((resolve) => {
      go = resolve;
    });
    let asked = 0;
    const plugin = async (): Promise<PluginAnswer> => {
      asked++;
      await gate;
      return { kind: 'done', result: {} };
    };
    const server = await serveControl(path, { ...parts(), plugin });
    const answers = Promise.all(Array.from({ length: 200 }, () => post(path, JSON.stringify(call))));
    await until('all to be asked', () => asked === 200);
    expect(await ask(path, '/healthz')).toMatchObject({ status: 200 });
    const closed = server[Symbol.asyncDispose]();
    expect(existsSync(path)).toBe(false);
    go();
    expect((await answers).map((a) => a.status)).toEqual(Array(200).fill(200));
    await closed;
  });

  test('is only answered to a POST', async () => {
    const path = join(dir, 'p6.sock');
    await using _ = await serveControl(path, { ...parts(), plugin: async () => ({ kind: 'done' }) });
    expect(await ask(path, CNI.resource)).toMatchObject({ status: 404 });
  });
});

test('the health server says nothing but health', async () => {
  // Port 0 is any free one; the server's own address is not told, so a fixed one on another loopback address is used.
  const port = 20_000 + (process.pid % 20_000);
  await using _ = await serveHealth('127.9.9.9', port, () => false);
  const get = async (path: string) => (await fetch(`http://127.9.9.9:${port}${path}`)).status;
  expect([await get('/healthz'), await get('/readyz'), await get('/v1/status')]).toEqual([200, 503, 404]);
});
