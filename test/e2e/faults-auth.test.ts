import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { Cluster } from '../support/cluster.ts';
import { makePki } from '../support/etcd.ts';
import { bothWays, lossless } from '../support/flow.ts';
import type { Host } from '../support/host.ts';
import { BESIDE_GHOSTS, ghost, HEALED, peersInKernel, status, untilStatus } from '../support/leases.ts';
import { until } from '../support/proc.ts';
import { secure } from '../support/secureEtcd.ts';

const USER = { name: 'overlay', password: 'Gänse füßchen"$1' };
const WRONG = 'the-wrong-password';
/** Seconds. */
const TOKEN_TTL = 1;

/** Wait until the host has a peer, or has it no more. */
const knows = (host: Host, n: number, yes = true) =>
  until(
    `${host.name} to ${yes ? 'have' : 'forget'} ghost ${n}`,
    async () => ghost(n).subnet in (await peersInKernel(host)) === yes,
    HEALED,
  );

test('etcd with a CA, users and tokens that run out serves daemons that tell nobody the password', async () => {
  await using cluster = await Cluster.create({ config: BESIDE_GHOSTS });
  const etcd = await secure(cluster.etcd, USER, TOKEN_TTL);
  const login = ['--etcd-username', USER.name, '--log-level', 'trace'];
  const tls = ['--etcd-cafile', etcd.pki.ca];
  const options = { endpoints: [etcd.endpoint], env: { FLANNELD_ETCD_PASSWORD: USER.password } };
  // One that has nothing to say for hours, and one whose every keep-alive comes with an old token.
  const idle = await cluster.addHost({ ...options, args: [...login, ...tls] });
  const busy = await cluster.addHost({ ...options, args: [...login, ...tls, '--lease-ttl', '6s'] });
  await Promise.all([idle.start(), busy.start()]);
  const pods = [await idle.workload(), await busy.workload()] as const;

  await lossless(bothWays(...pods), async () => {
    const { store } = await status(busy);
    await untilStatus(busy, 'has renewed its lease', (s) => s.store.requests >= store.requests + 4);
    await sleep(3 * TOKEN_TTL * 1000);
    await etcd.ctl('put', ghost(1).key, ghost(1).value);
    for (const host of [idle, busy]) await knows(host, 1);
    // All of it over the first connection.
    for (const host of [idle, busy]) {
      expect(host.logs().filter((line) => line.event === 'disconnected')).toEqual([]);
    }
    // etcd forgets all tokens.
    await cluster.etcd.stop('SIGKILL');
    for (const host of [idle, busy]) await untilStatus(host, 'misses etcd', (s) => !s.store.connected);
    await etcd.start();
    await etcd.ctl('del', ghost(1).key);
    for (const host of [idle, busy]) {
      await knows(host, 1, false);
      expect(await status(host)).toMatchObject({
        ready: true,
        store: { connected: true },
        lease: { state: 'held' },
        problems: [],
      });
    }
  });
  for (const host of [idle, busy]) {
    const said = host.daemon.output() + (await host.request('/v1/status')).body;
    expect(said).toContain('"level":"info"');
    for (const part of [USER.password, JSON.stringify(USER.password).slice(1, -1), 'füßchen'])
      expect(said).not.toContain(part);
    expect(host.logs().filter((line) => line.level === 'error')).toEqual([]);
  }
});

test('a daemon that etcd does not let in, or does not trust, waits and says why, without the password', async () => {
  await using cluster = await Cluster.create();
  const etcd = await secure(cluster.etcd, USER, TOKEN_TTL);
  const otherCa = await makePki(cluster.etcd.at.netns.owner.tempDir('pki'));
  const login = ['--etcd-username', USER.name, '--etcd-password', WRONG, '--log-level', 'trace'];
  const endpoints = [etcd.endpoint];
  const barred = await cluster.addHost({ endpoints, args: [...login, '--etcd-cafile', etcd.pki.ca] });
  const mistrusting = await cluster.addHost({ endpoints, args: [...login, '--etcd-cafile', otherCa.ca] });
  const nobody = await cluster.addHost({ endpoints, args: ['--etcd-cafile', etcd.pki.ca] });
  await Promise.all(cluster.hosts.map((host) => host.start({ wait: false })));
  const waits = async (host: Host, why: RegExp) => {
    await until(`${host.name} to answer`, () => status(host), HEALED);
    await untilStatus(host, `waits because of ${why}`, ({ reason }) => why.test(reason ?? ''));
  };
  await waits(barred, /authentication failed.*--etcd-password/);
  await waits(mistrusting, /unable to verify the first certificate; check --etcd-cafile/);
  await waits(nobody, /user name is empty.*--etcd-username/);
  for (const host of cluster.hosts) expect((await status(host)).ready).toBe(false);

  // The password is made what the daemon has been given.
  await etcd.ctl('user', 'delete', USER.name);
  await etcd.ctl('user', 'add', `${USER.name}:${WRONG}`);
  await etcd.ctl('user', 'grant-role', USER.name, 'overlay');
  await barred.ready(HEALED);
  for (const host of cluster.hosts) {
    expect(host.daemon.output() + (await host.request('/v1/status')).body).not.toContain(WRONG);
  }
});
