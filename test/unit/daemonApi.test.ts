import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { EXIT } from '../../src/contract.ts';
import { type ApiParts, answer, type Resource, serveControl, serveHealth } from '../../src/daemon/api.ts';
import { unixHttp } from '../support/unixHttp.ts';

const dir = mkdtempSync(join(tmpdir(), 'loden-api-'));
afterAll(() => rmSync(dir, { recursive: true }));

const parts = (ready = true): ApiParts => ({
  ready: () => ready,
  resources: new Map<string, Resource>([
    ['/v1/thing', () => ({ value: { a: 1 } })],
    [
      '/v1/long',
      () => ({
        pieces: (function* () {
          for (let i = 0; i < 50_000; i++) yield `${i},`;
        })(),
      }),
    ],
    [
      '/v1/broken',
      () => {
        throw new Error('out of order');
      },
    ],
  ]),
});

describe('what a request gets', () => {
  test.each([
    ['/healthz', true, 200, 'flanneld is running'],
    ['/readyz', true, 200, 'flanneld is ready'],
    ['/readyz', false, 503, 'flanneld is not ready yet'],
    ['/v1/thing?x=1', true, 200, '{"a":1}\n'],
  ])('%s when ready is %s: %i', (path, ready, status, body) => {
    expect(answer('GET', path, parts(ready))).toMatchObject({ status, body });
  });

  test('what is not there, and what cannot be done, in JSON', () => {
    expect(JSON.parse(String(answer('GET', '/v2', parts()).body))).toMatchObject({
      error: { code: 'not-found' },
    });
    expect(answer('POST', '/v1/thing', parts())).toMatchObject({ status: 405 });
    expect(answer('DELETE', '/healthz', parts())).toMatchObject({ status: 405 });
  });
});

describe('the control socket', () => {
  test('serves long answers whole, and survives a resource that fails', async () => {
    const path = join(dir, 'a.sock');
    await using _ = await serveControl(path, parts());
    const { status, body } = await unixHttp(path, '/v1/long');
    expect([status, body.split(',').length]).toEqual([200, 50_001]);
    expect(await unixHttp(path, '/v1/broken')).toMatchObject({
      status: 500,
      body: expect.stringMatching('out of order'),
    });
    expect(await unixHttp(path, '/healthz')).toMatchObject({ status: 200 });
  });

  test('is refused beside a living daemon, and replaces the file of a dead one', async () => {
    const path = join(dir, 'b.sock');
    await using _ = await serveControl(path, parts());
    await expect(serveControl(path, parts())).rejects.toMatchObject({ exitCode: EXIT.busy });
    expect(await unixHttp(path, '/healthz')).toMatchObject({ status: 200 });
  });
});

test('the health server says nothing but health', async () => {
  // Port 0 is any free one; the server's own address is not told, so a fixed one on another loopback address is used.
  const port = 20_000 + (process.pid % 20_000);
  await using _ = await serveHealth('127.9.9.9', port, () => false);
  const get = async (path: string) => (await fetch(`http://127.9.9.9:${port}${path}`)).status;
  expect([await get('/healthz'), await get('/readyz'), await get('/v1/status')]).toEqual([200, 503, 404]);
});
