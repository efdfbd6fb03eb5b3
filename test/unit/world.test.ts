import { expect, test } from 'vitest';
import { NoDaemonError } from '../../src/api/faults.ts';
import { StoreError } from '../../src/errors.ts';
import {
  type EtcdOf,
  knownValue,
  lookAround,
  type Sources,
  whyMissing,
  within,
} from '../../src/inspect/world.ts';
import type { LeaseSnapshot } from '../../src/subnet/types.ts';
import { leaseOf, status } from '../fake/doctorFacts.ts';
import { peer } from '../fake/overlay.ts';

const CONFIG = '{"Network":"10.42.0.0/16","Backend":{"Type":"vxlan"}}';
const ETCD = { endpoints: ['http://e:2379'], prefix: '/coreos.com/network/' };

const theirs = peer(7, [4], { node: '7'.repeat(32) });
const snapshot: LeaseSnapshot & { config: string | undefined } = {
  revision: 9n,
  epoch: 0,
  leases: new Map([[theirs.key, theirs]]),
  setAside: new Map(),
  config: CONFIG,
};

/** What a daemon answers, by resource. */
const ANSWERS: Readonly<Record<string, unknown>> = {
  '/v1/status': status(),
  '/v1/leases': { revision: '5', source: 'daemon', leases: [leaseOf(1)], setAside: [] },
  '/v1/peers': { revision: '5', at: '2026-01-01T00:00:00Z', peers: [] },
  '/v1/probes': {
    enabled: true,
    interval: 1,
    sample: 1,
    sent: 0,
    received: 0,
    checksumOffload: null,
    paths: [],
  },
  '/v1/config': {
    options: [],
    network: { key: 'k', config: JSON.parse(CONFIG), inForce: true, problem: null },
  },
};

function sources(
  answers: Readonly<Record<string, unknown>> | Error,
  stored: typeof snapshot | Error = snapshot,
): Sources & { asked: string[] } {
  const asked: string[] = [];
  return {
    asked,
    async getJson(_, path) {
      asked.push(path);
      if (answers instanceof Error) throw answers;
      const [resource = ''] = path.split('?');
      if (!(resource in answers)) throw new Error(`the daemon refuses ${path}: not found`);
      return answers[resource];
    },
    async listOnce(options) {
      asked.push(options.endpoints.join());
      if (stored instanceof Error) throw stored;
      return stored;
    },
  };
}

const look = (from: Sources, more = {}) => lookAround({ runDir: '/run', etcd: ETCD, ...more }, from);
const nobody = new NoDaemonError('/run/loden.sock', new Error('ENOENT'));

test('from the daemon, which is asked for everything, and etcd for nothing', async () => {
  const from = sources(ANSWERS);
  const world = await look(from);
  expect(world.daemon).toEqual({ state: 'running', reason: undefined });
  expect(from.asked.sort()).toEqual([
    '/v1/config',
    '/v1/leases',
    '/v1/peers?traffic=false',
    '/v1/probes',
    '/v1/status',
  ]);
  for (const part of [world.status, world.leases, world.peers, world.probes, world.config, world.network])
    expect(part).toMatchObject({ from: 'daemon' });
  expect(knownValue(world.network)?.backend.type).toBe('vxlan');
});

test('from etcd where no daemon runs; our lease is known by our id', async () => {
  const world = await look(sources(nobody), { node: '7'.repeat(32) });
  expect(world.daemon.state).toBe('none');
  expect(world.leases).toMatchObject({ from: 'etcd', value: { leases: [{ self: true }] } });
  expect(world.network).toMatchObject({ from: 'etcd' });
  expect(whyMissing(world.status)).toBe('no daemon runs here');
  const other = await look(sources(nobody), { node: '8'.repeat(32) });
  expect(knownValue(other.leases)?.leases[0]).toMatchObject({ self: false });
});

test('a daemon that does not answer is not the same as none', async () => {
  const world = await look(sources(new Error('permission denied')));
  expect(world.daemon).toEqual({ state: 'refusing', reason: 'permission denied' });
  expect(whyMissing(world.probes)).toBe('permission denied');
  expect(world.leases).toMatchObject({ from: 'etcd' });
});

test('what a daemon of another version does not know is missing, the rest is there', async () => {
  const { '/v1/probes': _, ...older } = ANSWERS;
  const world = await look(sources(older));
  expect(whyMissing(world.probes)).toMatch(/refuses \/v1\/probes/);
  expect(world.status).toMatchObject({ from: 'daemon' });
  const strange = await look(sources({ ...ANSWERS, '/v1/probes': { enabled: 'maybe' } }));
  expect(whyMissing(strange.probes)).toMatch(/another shape \(enabled: .*another version/);
});

test('a daemon that has not seen etcd yet knows less than etcd does', async () => {
  const early = { ...ANSWERS, '/v1/leases': { revision: '0', source: 'daemon', leases: [], setAside: [] } };
  const world = await look(sources(early), { etcd: () => ETCD });
  expect(world.leases).toMatchObject({ from: 'etcd', value: { revision: '9' } });
  expect(world.network).toMatchObject({ from: 'daemon' });
});

test('neither throws nor hangs, whatever fails', async () => {
  const away = new StoreError('unavailable', 'etcd at http://e:2379: connection refused');
  const world = await look(sources(nobody, away));
  expect(whyMissing(world.leases)).toMatch(/connection refused/);
  expect(whyMissing((await look(sources(nobody), { etcd: undefined })).network)).toBe('no daemon runs here');
  const empty = await look(sources(nobody, { ...snapshot, config: undefined }));
  expect(whyMissing(empty.network)).toBe('there is no network config at /coreos.com/network/config in etcd');
  const wrong = await look(sources(nobody, { ...snapshot, config: '{' }));
  expect(whyMissing(wrong.network)).toMatch(/cannot be used/);

  const forever = new Promise<never>(() => {});
  const silent: Sources = { getJson: () => forever, listOnce: () => forever };
  const waited = await lookAround({ runDir: '/run', etcd: ETCD, timeout: 20 }, silent);
  expect(waited.daemon).toMatchObject({ state: 'refusing', reason: 'no answer within 0.02 s' });
  expect(whyMissing(waited.leases)).toBe('no answer within 0.02 s');
  await expect(within(20, Promise.reject(new Error('first')))).rejects.toThrow('first');
});

test('where etcd is cannot be guessed from a daemon that does not answer, and is not asked then', async () => {
  const states: string[] = [];
  const etcd: EtcdOf = (_, daemon) => {
    states.push(daemon);
    return undefined;
  };
  const from = sources(new Error('no answer within 3 s'));
  const world = await look(from, { etcd });
  expect(states).toEqual(['refusing']);
  expect(from.asked).toEqual(['/v1/status']);
  expect([whyMissing(world.leases), whyMissing(world.network)]).toEqual(
    Array(2).fill('no answer within 3 s'),
  );
  await look(sources(nobody), { etcd });
  expect(states).toEqual(['refusing', 'none']);
});
