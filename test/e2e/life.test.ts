import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { DEFAULTS, EXIT, HEALTH } from '../../src/contract.ts';
import { Cluster } from '../support/cluster.ts';
import { type Host, LODEN } from '../support/host.ts';
import { dump, overlayText } from '../support/kernelText.ts';
import { untilStatus } from '../support/leases.ts';
import { NotifySocket } from '../support/notifySocket.ts';
import { ping } from '../support/ping.ts';
import { CommandError, run, until } from '../support/proc.ts';

const CONFIG = `${DEFAULTS.etcdPrefix}/config`;
const HEALTHZ = ['--healthz-ip', '127.0.0.1', '--healthz-port', '8471'];

/** A probe over TCP, as a kubelet makes it: status and body. */
async function probe(host: Host, path: string): Promise<string> {
  const request = `GET ${path} HTTP/1.0\r\n\r\n`;
  const answer = await host.netns.run(['busybox', 'nc', '127.0.0.1', '8471'], { input: request });
  const [head, body] = answer.split('\r\n\r\n');
  return `${head!.split(' ')[1]} ${body}`;
}

test('a daemon that is there before etcd waits, says for what, and is ready when all is done', async () => {
  await using cluster = await Cluster.create({ families: [4, 6], args: HEALTHZ });
  await using systemd = await NotifySocket.listen();
  const host = await cluster.addHost();
  await cluster.etcd.stop();
  await host.start({ wait: false, env: { NOTIFY_SOCKET: systemd.path, WATCHDOG_USEC: '400000' } });

  const endpoint = cluster.etcd.endpoint();
  const waiting = await untilStatus(host, 'waits for etcd', (s) => s.reason?.includes(endpoint) ?? false);
  expect(waiting).toMatchObject({ ready: false, store: { connected: false } });
  await host.logged(
    'why it is not ready',
    (l) => l.msg === 'not ready' && String(l.reason).includes(endpoint),
  );
  expect(await systemd.saying(/^STATUS=.*http/)).toContain(endpoint);
  expect(await systemd.saying(/^EXTEND_TIMEOUT_USEC=/)).toBe('EXTEND_TIMEOUT_USEC=60000000');
  await until('the watchdog to be fed', () => systemd.count('WATCHDOG=1') >= 3);
  expect(await host.request('/healthz')).toMatchObject({ status: 200, body: HEALTH.alive });
  expect(await host.request('/readyz')).toMatchObject({ status: 503, body: HEALTH.notReady });
  expect(await probe(host, '/healthz')).toBe('200 flanneld is running');
  expect(await probe(host, '/readyz')).toBe('503 flanneld is not ready yet');
  expect(existsSync(host.subnetFile)).toBe(false);
  expect(overlayText(await dump(host.netns))).toBe('\n');
  expect(systemd.count('READY=1')).toBe(0);

  // The kernel has no room for the device: somebody else's has its VNI and port.
  const inTheWay = 'link add other type vxlan id 1 dev eth0 dstport 8472 local';
  await host.netns.ip(`${inTheWay} ${host.at.ipv4}`);
  await cluster.etcd.start();
  const refused = await untilStatus(host, 'is refused a device', (s) =>
    /kernel refuses/.test(s.reason ?? ''),
  );
  expect(refused.reason).toMatch(/link .*flannel\.1.*: EEXIST/);
  expect((await host.request('/readyz')).status).toBe(503);
  expect(systemd.count('READY=1')).toBe(0);
  expect(existsSync(host.subnetFile)).toBe(false);
  // Nor can the subnet file be written.
  writeFileSync(dirname(host.subnetFile), '');
  await host.netns.ip('link del other');
  const unwritten = await untilStatus(
    host,
    'cannot write',
    (s) => s.reason?.includes(host.subnetFile) ?? false,
  );
  expect(unwritten.ready).toBe(false);
  expect(systemd.count('READY=1')).toBe(0);
  rmSync(dirname(host.subnetFile));

  await host.ready();
  await systemd.saying(/^READY=1$/);
  // All that was hard to put is nobody's doing but ours.
  const { kernel } = await host.get<{ kernel: { repairs: Record<string, number> } }>('/v1/status');
  expect(Object.values(kernel.repairs).filter((n) => n > 0)).toEqual([]);
  expect(readFileSync(host.subnetFile, 'utf8')).toContain('FLANNEL_MTU=1430\n');
  expect(overlayText(await dump(host.netns))).toContain('link flannel.1 up mtu 1450 ');
  expect(await host.request('/readyz')).toMatchObject({ status: 200, body: HEALTH.ready });
  expect(await probe(host, '/readyz')).toBe('200 flanneld is ready');
  expect(systemd.told.findLast((text) => text.startsWith('STATUS='))).toMatch(/^STATUS=10\.42\..*0 peers$/);

  // What comes later is told, too, but one is ready only once.
  await cluster.etcd.stop();
  await untilStatus(host, 'misses etcd', (s) => !s.store.connected);
  await cluster.etcd.start();
  await untilStatus(host, 'has etcd again', (s) => s.store.connected);
  expect(systemd.count('READY=1')).toBe(1);
  const fed = systemd.count('WATCHDOG=1');
  await until('the watchdog to be fed on', () => systemd.count('WATCHDOG=1') > fed);

  const before = overlayText(await dump(host.netns));
  expect(await host.stop()).toBe('status 0');
  await systemd.saying(/^STOPPING=1$/);
  expect(overlayText(await dump(host.netns))).toBe(before);
  expect(existsSync(host.subnetFile)).toBe(true);
});

test('a second signal ends it at once', async () => {
  await using cluster = await Cluster.create();
  const host = await cluster.addHost();
  // A firewall that does not answer keeps it from ending in order.
  const bin = join(host.dir, 'bin');
  mkdirSync(bin);
  writeFileSync(join(bin, 'nft'), '#!/bin/sh\necho $$ >"$0.pid"\nexec sleep 60\n');
  chmodSync(join(bin, 'nft'), 0o755);
  await host.start({ wait: false, env: { PATH: `${bin}:${process.env.PATH}` } });
  await until('nft to be run', () => existsSync(join(bin, 'nft.pid')));
  host.daemon.kill('SIGTERM');
  await host.logged('that it stops', (line) => line.msg === 'stopping');
  await sleep(300);
  expect(host.daemon.ended).toBeUndefined();
  host.daemon.kill('SIGINT');
  expect(await host.daemon.exited).toBe('SIGKILL');
});

test('without a network config it waits for one', async () => {
  await using cluster = await Cluster.create();
  await cluster.etcd.delete(CONFIG);
  const host = await cluster.addHost();
  await host.start({ wait: false });
  const waiting = await untilStatus(
    host,
    'waits for it',
    (s) => s.reason?.includes('network config') ?? false,
  );
  expect(waiting.reason).toMatch(
    /waiting for the network config: put one at \/coreos\.com\/network\/config, e\.g\. \{/,
  );
  expect(waiting.ready).toBe(false);
  await cluster.configure({});
  await host.ready();
});

/** Status and standard error of `loden run` that ends by itself. */
async function refusal(work: Promise<unknown>): Promise<{ status: unknown; stderr: string }> {
  const error = await work.then(
    () => undefined,
    (e: unknown) => e,
  );
  if (!(error instanceof CommandError)) throw new Error(`it does not refuse: ${error}`);
  return { status: error.status, stderr: error.stderr };
}

test('wrong options are all named at once', async () => {
  const wrong = ['--etcd-endpoints=ftp://x', '--healthz-port=99999', '--lease-ttl=soon', '--public-ip=1.2.3'];
  const env = { FLANNELD_IP_MASQ: 'perhaps' };
  const { status, stderr } = await refusal(run([LODEN, 'run', ...wrong], { env }));
  expect(status).toBe(EXIT.config);
  expect(stderr).toMatch(/5 problems/);
  for (const name of [...wrong.map((w) => w.split('=')[0]!), 'FLANNELD_IP_MASQ'])
    expect(stderr).toContain(name);
  expect(await refusal(run([LODEN, 'run', '--iptables-forward-rule']))).toMatchObject({ status: EXIT.usage });
});

test('a network config that is wrong from the start ends it, with all that is wrong', async () => {
  await using cluster = await Cluster.create({ families: [4, 6] });
  await cluster.configure({
    SubnetLen: 31,
    IPv6Network: 'fd00::/130',
    Backend: { Type: 'vxlan', VNI: -1, Port: 'x' },
  });
  const host = await cluster.addHost();
  await host.start({ wait: false });
  expect(await host.daemon.exited).toBe(`status ${EXIT.config}`);
  const said = host.daemon.output();
  for (const path of ['SubnetLen', 'IPv6Network', 'Backend.VNI', 'Backend.Port'])
    expect(said).toContain(`  ${path}: expected`);
  expect(overlayText(await dump(host.netns))).toBe('\n');
});

test('a backend that cannot run on this host ends it', async () => {
  await using cluster = await Cluster.create({ backend: { Type: 'host-gw' } });
  const host = await cluster.addHost();
  await host.start({ wait: false, args: ['--public-ip', '198.51.100.77'] });
  expect(await host.daemon.exited).toBe(`status ${EXIT.config}`);
  expect(host.daemon.output()).toMatch(/--public-ip: expected 192\.0\.2\.2, .* got 198\.51\.100\.77/);
});

test('an outage of etcd is told once, in JSON, without the password', async () => {
  await using cluster = await Cluster.create();
  const [host, other] = [await cluster.addHost(), await cluster.addHost()];
  await Promise.all([host.start({ args: ['--log-level', 'trace'] }), other.start()]);
  const pods = [await host.workload(), await other.workload()] as const;
  const before = host.logs().length;
  await cluster.etcd.stop();
  await sleep(6_000);
  await cluster.etcd.start();
  await untilStatus(host, 'has etcd again', (s) => s.store.connected);
  await until('a ping', async () => (await ping(pods[0].netns, pods[1].addr(4))) !== undefined);
  const lines = host.daemon.output().trimEnd().split('\n');
  for (const line of lines)
    expect(JSON.parse(line)).toMatchObject({ msg: expect.any(String), level: expect.any(String) });
  const outage = lines.slice(before).map((line) => JSON.parse(line).msg as string);
  expect(outage.length).toBeGreaterThan(0);
  expect(outage.filter((msg) => outage.filter((m) => m === msg).length > 2)).toEqual([]);

  // Now etcd wants a password, and gets a wrong one: whatever is said about that does not name it.
  const password = 'S3cret-of-etcd';
  await host.stop();
  for (const words of ['user add root:other', 'role add root', 'user grant-role root root', 'auth enable']) {
    await cluster.etcd.ctl(...words.split(' '));
  }
  const env = { FLANNELD_ETCD_USERNAME: 'root', FLANNELD_ETCD_PASSWORD: password };
  await host.start({ wait: false, env, args: ['--log-level', 'trace'] });
  const refused = await untilStatus(host, 'is refused', (s) =>
    /authentication|password/.test(s.store.error ?? ''),
  );
  expect(refused.ready).toBe(false);
  const shown = [host.daemon.output(), JSON.stringify(await host.get('/v1/status'))];
  shown.push(readFileSync(`/proc/${host.daemon.pid}/cmdline`, 'utf8'));
  for (const text of shown) expect(text).not.toContain(password);
});
