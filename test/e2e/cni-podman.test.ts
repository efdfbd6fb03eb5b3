import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Cluster } from '../support/cluster.ts';
import { traces } from '../support/cniTraces.ts';
import { podNetwork } from '../support/criCluster.ts';
import { namedNetns } from '../support/criPod.ts';
import { imageArchive } from '../support/images.ts';
import { ping } from '../support/ping.ts';
import { Podman, type PodmanContainer } from '../support/podman.ts';
import { run, until } from '../support/proc.ts';
import { RuntimeDir } from '../support/runtimeDir.ts';

const stack = new AsyncDisposableStack();
let podmen: readonly [Podman, Podman];
let containers: readonly [PodmanContainer, PodmanContainer];

/** busybox serves its /etc. */
const SERVE = ['httpd', '-f', '-p', '80', '-h', '/etc'];
const ask = (address: string, port = 80) =>
  ['busybox', 'sh', '-c', `printf 'GET /passwd HTTP/1.0\\r\\n\\r\\n' | nc -w 5 ${address} ${port}`] as const;

const inside = (container: PodmanContainer, command: readonly string[]) =>
  run(['nsenter', `--net=${container.netnsPath}`, '--', ...command]);

beforeAll(async () => {
  const images = stack.use(RuntimeDir.create('images'));
  const archive = await imageArchive(images.path);
  const cluster = stack.use(await Cluster.start(2, { families: [4, 6], args: ['--ip-masq'] }));
  const made: Podman[] = [];
  for (const host of cluster.hosts) {
    const podman = stack.use(await Podman.create(host, archive));
    podman.configure(podNetwork(host, { capabilities: { ips: true, mac: true } }));
    made.push(podman);
  }
  podmen = made as unknown as typeof podmen;
  const [a, b] = podmen;
  containers = [await a.run(['sleep', '3600']), await b.run(SERVE, '-p', '8080:80')];
  await until('httpd to listen', async () =>
    (await inside(containers[1], ['ss', '-Hltn', 'sport = :80'])).includes('LISTEN'),
  );
});
afterAll(() => stack.disposeAsync());

test('containers on two hosts reach each other, in both families', async () => {
  const [here, there] = containers;
  expect(there.ips).toHaveLength(2);
  await using netns = await namedNetns(podmen[0].host, 'container', here.netnsPath);
  for (const ip of there.ips) expect(await ping(netns, ip, 5), ip).toBeDefined();
  expect(await podmen[0].cli('exec', here.id, ...ask(there.ips[0]!))).toContain('200 OK');
});

test('a published port is reached from the other host and from a container there', async () => {
  const { ipv4 } = podmen[1].host.at;
  expect(await podmen[0].host.netns.run(ask(ipv4, 8080))).toContain('200 OK');
  expect(await podmen[0].cli('exec', containers[0].id, ...ask(ipv4, 8080))).toContain('200 OK');
});

test('a container gets the address and the MAC it asks for, once', async () => {
  const [podman] = podmen;
  const before = await traces(podman.host);
  const ip = podman.host.subnetEnv().FLANNEL_SUBNET!.replace('.1/24', '.77');
  const options = [`--ip=${ip}`, '--mac-address=0e:00:00:00:00:77'];
  const container = await podman.run(['sleep', '3600'], ...options);
  expect(container.ips[0]).toBe(ip);
  expect(await inside(container, ['ip', 'link', 'show', 'eth0'])).toContain('0e:00:00:00:00:77');
  await expect(podman.run(['sleep', '3600'], ...options)).rejects.toThrow(ip);
  await podman.cli('rm', '-f', '-t', '0', container.id);
  // What could not be started is there, without a network.
  await podman.cli('container', 'prune', '-f');
  expect(await traces(podman.host)).toEqual(before);
});

test('what a container leaves that cannot be started goes all the same', async () => {
  const [podman] = podmen;
  const before = await traces(podman.host);
  await expect(podman.run(['/nowhere'], '--name=broken')).rejects.toThrow('/nowhere');
  const { Id: id } = JSON.parse(await podman.cli('inspect', 'broken'))[0] as { Id: string };
  expect(readFileSync(podman.dir.join('also-remove'), 'utf8')).toContain(id);
  await podman.cli('rm', '-f', 'broken');
  expect(await traces(podman.host)).toEqual(before);
});

test('a container started again is connected anew, and a removed one leaves nothing', async () => {
  const [podman, other] = podmen;
  const before = await traces(podman.host);
  const { id } = await podman.run(['sleep', '3600'], '--name=again');
  for (let i = 0; i < 2; i++) {
    await podman.cli('restart', '-t', '0', id);
    const { addresses } = await traces(podman.host);
    expect(addresses).toHaveLength(before.addresses.length + 2);
    const [added] = addresses.filter((a) => !before.addresses.includes(a) && !a.includes(':'));
    await using netns = await namedNetns(other.host, 'container', containers[1].netnsPath);
    expect(await ping(netns, added!, 5)).toBeDefined();
  }
  await podman.cli('rm', '-f', '-t', '0', id);
  expect(await traces(podman.host)).toEqual(before);
});
