import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Cluster } from '../support/cluster.ts';
import { namedNetns } from '../support/criPod.ts';
import { type DockerContainer, Dockerd } from '../support/dockerd.ts';
import type { Host } from '../support/host.ts';
import { imageArchive } from '../support/images.ts';
import { ping } from '../support/ping.ts';
import { run, until } from '../support/proc.ts';
import { RuntimeDir } from '../support/runtimeDir.ts';

const images = RuntimeDir.create('images');
let archive: string;
beforeAll(async () => {
  archive = await imageArchive(images.path);
});
afterAll(() => images[Symbol.dispose]());

const SERVE = ['httpd', '-f', '-p', '80', '-h', '/etc'];
const ask = (address: string) =>
  ['busybox', 'sh', '-c', `printf 'GET /passwd HTTP/1.0\\r\\n\\r\\n' | nc -w 5 ${address} 80`] as const;

/** What a unit would get as $DOCKER_OPTS. */
async function dockerOptions(host: Host): Promise<string[]> {
  const file = join(host.dir, 'docker_opts.env');
  await host.loden('docker-opts', '-f', host.subnetFile, '-d', file, '-c');
  const [, options] = /^DOCKER_OPTS="(.*)"$/m.exec(readFileSync(file, 'utf8'))!;
  return options!.trim().split(/\s+/);
}

/** Docker sets ip_forward itself, and FORWARD to DROP only where it was 0. */
const notForwarding = (host: Host) => host.netns.sysctl({ 'net/ipv4/ip_forward': 0 });

const forwardPolicy = async (host: Host): Promise<string | undefined> =>
  /^-P FORWARD (\w+)/.exec(await host.netns.run(['iptables', '-S', 'FORWARD']))?.[1];

/** Does Docker masquerade what leaves its bridge? */
const masquerades = async (host: Host): Promise<boolean> =>
  /^-A POSTROUTING -s \S+ ! -o docker0 -j MASQUERADE$/m.test(
    await host.netns.run(['iptables', '-t', 'nat', '-S', 'POSTROUTING']),
  );

/** Both reach each other and are reached under their own addresses or, if Docker masquerades, their host's. */
async function expectConnected(
  hosts: readonly Host[],
  containers: readonly DockerContainer[],
): Promise<void> {
  for (const [i, host] of hosts.entries()) {
    const [own, other] = [containers[i]!, containers[1 - i]!];
    const { FLANNEL_SUBNET, FLANNEL_MTU } = host.subnetEnv();
    expect(own.ip.split('.').slice(0, 3)).toEqual(FLANNEL_SUBNET!.split('.').slice(0, 3));
    await using netns = await namedNetns(host, 'container', own.netnsPath);
    const [eth0] = await netns.ipJson<{ mtu: number }[]>('link show eth0');
    expect(String(eth0!.mtu)).toBe(FLANNEL_MTU);
    // Rules that Docker has just put in the way are dealt with when they are noticed.
    const reached = async () => (await ping(netns, other.ip, 1)) !== undefined;
    await until(`${other.ip} to answer ${own.ip}`, reached, 15_000);
    // A whole packet of the overlay's MTU: 28 bytes are the headers of IP and ICMP.
    const whole = ['busybox', 'ping', '-n', '-c', '1', '-W', '5', '-s', String(Number(FLANNEL_MTU) - 28)];
    expect(await netns.run([...whole, other.ip])).toContain('1 packets received');
    await until('httpd to listen', async () =>
      (await run(['nsenter', `--net=${other.netnsPath}`, 'ss', '-Hltn', 'sport = :80'])).includes('LISTEN'),
    );
    expect(await netns.run(ask(other.ip))).toContain('200 OK');
  }
}

describe.each([
  ['ACCEPT', 'before', []],
  ['ACCEPT', 'after', ['--ip-masq']],
  ['DROP', 'before', ['--ip-masq']],
  ['DROP', 'after', []],
] as const)(
  'dockerd on two hosts, FORWARD %s, started %s the daemon, which has %j',
  (policy, order, args) => {
    test('its containers reach each other', async () => {
      await using cluster = await Cluster.create({ args });
      await using stack = new AsyncDisposableStack();
      const hosts = [await cluster.addHost(), await cluster.addHost()];
      const dockers = hosts.map((host) => stack.use(new Dockerd(host, archive)));
      const start = (n: number, options: readonly string[]) => dockers[n]!.start(options);

      if (order === 'before') {
        await Promise.all(
          hosts.map(async (host, n) => {
            await host.netns.sysctl({ 'net/ipv4/ip_forward': policy === 'ACCEPT' ? 1 : 0 });
            // Without a subnet it has its own; it is restarted when there is one.
            await start(n, ['--bip=172.30.0.1/24']);
          }),
        );
        await Promise.all(hosts.map((host) => host.start()));
        await Promise.all(dockers.map((docker) => docker.stop()));
      } else {
        await Promise.all(hosts.map((host) => host.start()));
      }
      const options = await Promise.all(hosts.map(dockerOptions));
      // The daemon would put it right at once: it comes too late, as after a boot.
      const late = policy === 'DROP' && order === 'after';
      if (late) for (const host of hosts) host.daemon.kill('SIGSTOP');
      if (late) await Promise.all(hosts.map(notForwarding));
      await Promise.all(options.map((list, n) => start(n, list)));
      if (late) for (const host of hosts) host.daemon.kill('SIGCONT');
      for (const host of hosts) {
        expect(await forwardPolicy(host)).toBe(policy);
        // One of both masquerades.
        expect(await masquerades(host)).toBe(args.length === 0);
      }
      const containers = await Promise.all(dockers.map((docker) => docker.run(SERVE)));
      await expectConnected(hosts, containers);

      // And it stays so when either starts again.
      const [host] = hosts as [Host];
      await host.restart();
      await expectConnected(hosts, containers);
    });
  },
);
