import { describe, expect, test } from 'vitest';
import { runOptions } from '../../src/config/run.ts';
import { EventLog } from '../../src/daemon/events/log.ts';
import { toApiError } from '../../src/daemon/http/errors.ts';
import type { ApiRequest, Method } from '../../src/daemon/http/route.ts';
import { adminRoutes } from '../../src/daemon/routes/admin.ts';
import type { RequestReport } from '../../src/subnet/api.ts';

/** Requests that change something, before anything of them comes to etcd: nobody listens where it is said to be. */

const events = new EventLog('0123456789abcdef');
const options = runOptions(new Map([['etcd-endpoints', ['http://127.0.0.1:1']]]), {});
const requests: RequestReport[] = [];
const etcd = { ...options.etcd, onRequest: (request: RequestReport) => void requests.push(request) };
const routes = adminRoutes({ options, etcd, events });

async function ask(method: Method, given: Partial<ApiRequest>) {
  const route = routes.find((r) => r.method === method)!;
  const request: ApiRequest = {
    method,
    params: {},
    query: new URLSearchParams(),
    headers: {},
    body: undefined,
    local: true,
    signal: new AbortController().signal,
    ...given,
  };
  try {
    return await route.handle(request);
  } catch (e) {
    const { status, code, message } = toApiError(e);
    return { status, code, message };
  }
}

test('whatever changes something is for owners', () => {
  expect(routes.map(({ method, path, audience }) => `${method} ${path} ${audience}`)).toEqual([
    'POST /v1/reservations owner',
    'DELETE /v1/leases/:key owner',
    'PUT /v1/network owner',
  ]);
});

describe('a request that cannot be understood is refused before etcd is asked', () => {
  const SECRET = 'hunter2';
  test.each<[Method, Partial<ApiRequest>]>([
    ['POST', { body: undefined }],
    ['POST', { body: null }],
    ['POST', { body: [] }],
    ['POST', { body: { subnet: 5, node: 'a1b2' } }],
    ['POST', { body: { subnet: '10.5.7.0/24' } }],
    ['POST', { body: { subnet: '10.5.7.0/24', node: 'a1b2', psk: SECRET } }],
    ['POST', { body: { subnet: SECRET, node: '192.0.2.1' } }],
    ['DELETE', { params: { key: '10.5.7.0-24' }, query: new URLSearchParams('force=yes') }],
    ['PUT', { body: { config: { PSK: SECRET } } }],
    ['PUT', { body: { config: '{}', revision: '-1' } }],
    ['PUT', { body: { config: '{}', revision: 5 } }],
    ['PUT', { body: { config: '{}', force: 'true' } }],
    ['PUT', { body: { config: '{}', other: 1 } }],
  ])('%s %j', async (method, given) => {
    const answer = await ask(method, given);
    expect(answer).toMatchObject({ status: 400, code: 'bad-request' });
    if (method === 'PUT') expect(JSON.stringify(answer)).not.toContain(SECRET);
  });

  test('a network config that is wrong, with all its problems and no secret', async () => {
    const config = `{"Network":"x","Backend":{"Type":"vxlan","VNI":-1,"PSK":"${SECRET}"}}`;
    const answer = await ask('PUT', { body: { config } });
    expect(answer).toMatchObject({
      status: 422,
      code: 'config',
      message: expect.stringMatching(/Network: .*\n.*Backend\.VNI/),
    });
    expect(JSON.stringify(answer)).not.toContain(SECRET);
    expect(await ask('PUT', { body: { config: `{"PSK":"${SECRET}"` } })).toMatchObject({
      status: 422,
      message: expect.not.stringContaining(SECRET),
    });
  });
});

test('without etcd it is said that etcd does not answer, and nothing is noted as done', async () => {
  for (const [method, given] of [
    ['POST', { body: { subnet: '10.5.7.0/24', node: '192.0.2.1' } }],
    ['DELETE', { params: { key: '10.5.7.0-24' } }],
    ['PUT', { body: { config: '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}', dryRun: true } }],
  ] as const)
    expect(await ask(method, given)).toMatchObject({
      status: 503,
      code: 'unavailable',
      message: expect.stringMatching(/etcd at http:\/\/127\.0\.0\.1:1/),
    });
  expect(events.last).toBe(0);
});

test.each([
  ['POST', { body: { subnet: '10.5.7.0/24', node: '192.0.2.7' } }],
  ['DELETE', { params: { key: '10.5.7.0/24' } }],
  ['PUT', { body: { config: '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}' } }],
] as const)('what %s asks of etcd is counted', async (method, given) => {
  requests.length = 0;
  expect(await ask(method, given)).toMatchObject({ status: 503, code: 'unavailable' });
  expect(requests).toContainEqual(expect.objectContaining({ method: 'KV.range', ok: false }));
});
