import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ProbesJson } from '../../src/api/shapes.ts';
import { ask } from '../support/ask.ts';
import { Cluster } from '../support/cluster.ts';
import { bootDeployed, DEPLOY } from '../support/deployed.ts';
import type { Host } from '../support/host.ts';
import { ping } from '../support/ping.ts';
import { CommandError, until } from '../support/proc.ts';
import type { Systemd } from '../support/systemd.ts';
import type { Workload } from '../support/workload.ts';

/** The unit as it is shipped, under a real systemd, with the plugin where `loden cni install` puts it. */

const UNIT = 'loden.service';
const CAPABILITIES = ['CAP_NET_ADMIN', 'CAP_NET_RAW', 'CAP_SYS_ADMIN', 'CAP_SYS_PTRACE'];
/** linux/capability.h */
const BITS: Readonly<Record<string, bigint>> = {
  CAP_NET_ADMIN: 12n,
  CAP_NET_RAW: 13n,
  CAP_SYS_PTRACE: 19n,
  CAP_SYS_ADMIN: 21n,
};

let cluster: Cluster;
let host: Host;
let systemd: Systemd;

async function boot(backend: string): Promise<void> {
  cluster = await Cluster.create({ families: [4, 6], backend: { Type: backend } });
  host = await cluster.addHost();
  systemd = await bootDeployed(cluster, host);
  await systemd.run('/opt/loden/bin/loden', 'cni', 'install');
}

async function end(): Promise<void> {
  await systemd?.[Symbol.asyncDispose]();
  await cluster?.[Symbol.asyncDispose]();
}

const shell = (script: string): Promise<string> => systemd.run('sh', '-ec', script);

/** The first plugin of the installed configuration, as a runtime hands it over. */
async function installed(): Promise<Record<string, unknown>> {
  const { plugins, ...list } = JSON.parse(await shell('cat /etc/cni/net.d/10-loden.conflist')) as {
    plugins: Record<string, unknown>[];
  };
  return { ...plugins[0], ...list };
}

/** Call a plugin as a runtime does. */
async function plugin(
  command: string,
  id: string,
  netns: string,
  config?: Readonly<Record<string, unknown>>,
): Promise<Record<string, unknown>> {
  const used = config ?? (await installed());
  const env = `CNI_COMMAND=${command} CNI_CONTAINERID=${id} CNI_NETNS=${netns} CNI_IFNAME=eth0 CNI_PATH=/opt/cni/bin:/usr/lib/cni`;
  try {
    const run = `env ${env} /opt/cni/bin/${used.type}`;
    return JSON.parse((await shell(`echo '${JSON.stringify(used)}' | ${run}`)) || '{}');
  } catch (error) {
    if (error instanceof CommandError && error.stdout.startsWith('{')) return JSON.parse(error.stdout);
    throw error;
  }
}

const addresses = (result: Record<string, unknown>): string[] =>
  (result.ips as { address: string }[]).map(({ address }) => address.replace(/\/.*/, ''));

/** A process with a network namespace of its own, as another user; resolves to its pid there. */
const processApart = async (): Promise<string> =>
  (
    await shell(`unshare --net setpriv --reuid 12345 --clear-groups sleep 60 >/dev/null 2>&1 &
      until [ "$(cat /proc/$!/comm)" = sleep ]; do sleep 0.02; done
      echo $!`)
  ).trim();

const mainPid = (): Promise<string> => systemd.property('MainPID');

/** `GET` of the daemon's control socket. */
const get = async <T>(path: string): Promise<T> =>
  JSON.parse((await ask(`/proc/${systemd.init}/root/run/loden/loden.sock`, path)).body) as T;

describe.each([['vxlan'], ['udp']])('with %s', (backend) => {
  let other: Workload;

  beforeAll(async () => {
    await boot(backend);
    const second = await cluster.addHost();
    await Promise.all([systemd.systemctl('start', UNIT), second.start()]);
    other = await second.workload();
  });
  afterAll(end);

  test('it is ready, with the options for Docker written', async () => {
    const files = await shell('cat /run/flannel/subnet.env; cat /run/flannel/flannel_docker_opts.env');
    const [, subnet, mtu] = /FLANNEL_SUBNET=(\S+).*FLANNEL_MTU=(\d+)/s.exec(files)!;
    expect(files).toContain(
      `DOCKER_OPT_BIP="--bip=${subnet}"\nDOCKER_OPT_IPMASQ="--ip-masq=false"\nDOCKER_OPT_MTU="--mtu=${mtu}"\n`,
    );
    expect(await systemd.property('StatusText')).toMatch(/1 peer/);
    expect(await shell('stat -c %a /run/loden /var/lib/loden /run/flannel')).toBe('755\n755\n755\n');
  });

  test('systemd and the daemon have nothing to complain about', async () => {
    const said = await shell(
      `journalctl -q -o cat _PID=1 | grep -E "${UNIT}|options.env" | grep -vE "(Starting|Started) ${UNIT} " || true`,
    );
    expect(said).toBe('');
    const log = (await shell(`journalctl -q -o cat -u ${UNIT} _PID=$(systemctl show -P MainPID ${UNIT})`))
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line) as { level: string });
    expect(log.length).toBeGreaterThan(5);
    expect(log.filter(({ level }) => level !== 'info')).toEqual([]);
  });

  test('the other host is probed through the tunnel', async () => {
    await until('answers of both families', async () => {
      const { paths } = await get<ProbesJson>('/v1/probes');
      const whole = paths.filter((path) => path.health === 'reachable' && path.fullSize === 'passes');
      return paths.length === 2 && whole.length === 2;
    });
  });

  test('the daemon has the capabilities it needs and no others, and no mount namespace of its own', async () => {
    const status = await shell(`cat /proc/${await mainPid()}/status`);
    const mask = CAPABILITIES.reduce((sum, name) => sum | (1n << BITS[name]!), 0n);
    for (const set of ['CapPrm', 'CapEff', 'CapBnd'])
      expect(BigInt(`0x${new RegExp(`${set}:\\s*(\\w+)`).exec(status)![1]}`), set).toBe(mask);
    expect(status).toMatch(/NoNewPrivs:\s*1\n/);
    expect(status).toMatch(/Seccomp:\s*2\n/);
    const namespaces = await shell(`readlink /proc/1/ns/mnt /proc/${await mainPid()}/ns/mnt`);
    const [init, daemon] = namespaces.trim().split('\n');
    expect(daemon).toBe(init);
  });

  test('a pod gets addresses, in a namespace made after the daemon started, and reaches the other host', async () => {
    await shell('ip netns add pod1; nsenter --net=/run/netns/pod1 ip link set lo up');
    const [ipv4, ipv6] = addresses(await plugin('ADD', 'pod1', '/run/netns/pod1'));
    for (const [own, peer] of [
      [ipv4, other.ipv4],
      [ipv6, other.ipv6],
    ]) {
      await until(`${own} to answer`, async () => (await ping(other.netns, own!)) !== undefined);
      expect(
        await systemd.run('nsenter', '--net=/run/netns/pod1', 'busybox', 'ping', '-c1', '-W5', peer!),
      ).toContain('1 packets received');
    }
    await plugin('DEL', 'pod1', '/run/netns/pod1');
    expect(await shell('nsenter --net=/run/netns/pod1 ip -br link')).not.toContain('eth0');
  });

  test("a pod's namespace may be that of a process, of whatever user", async () => {
    const pid = await processApart();
    const result = await plugin('ADD', 'pod2', `/proc/${pid}/ns/net`);
    expect(addresses(result)).toHaveLength(2);
    await plugin('DEL', 'pod2', `/proc/${pid}/ns/net`);
    await shell(`kill ${pid}`);
  });

  test('after a restart the pods are as they were', async () => {
    await shell('ip netns add pod3');
    const [own] = addresses(await plugin('ADD', 'pod3', '/run/netns/pod3'));
    const [before, stored] = [await mainPid(), await systemd.property('NFileDescriptorStore')];
    expect(Number(stored) > 0).toBe(backend === 'udp');
    await systemd.systemctl('restart', UNIT);
    expect(await mainPid()).not.toBe(before);
    expect(await systemd.property('NFileDescriptorStore')).toBe(stored);
    expect(await ping(other.netns, own!, 5)).toBeDefined();
    await plugin('DEL', 'pod3', '/run/netns/pod3');
  });

  test('a delegate that the daemon runs itself has what it needs', async () => {
    // Both of Debian's want more than netlink: bridge calls iptables, host-local locks its store.
    const config = {
      cniVersion: '1.0.0',
      name: 'old',
      type: 'flannel',
      delegate: { bridge: 'br1', ipMasq: true },
    };
    const traces = () =>
      shell('ls /var/lib/cni/networks/old | grep -v "^l" || true; iptables -t nat -S | grep pod4 || true');
    await shell('ip netns add pod4');
    const [own] = addresses(await plugin('ADD', 'pod4', '/run/netns/pod4', config));
    expect(await traces()).toMatch(new RegExp(`^${own}\n[0-9a-f:]+\n(-A .*pod4.*\n)+$`));
    await systemd.systemctl('stop', UNIT);
    expect(await plugin('DEL', 'pod4', '/run/netns/pod4', config)).toEqual({});
    expect(await shell('ls /var/lib/loden/cni/del | wc -l')).toBe('1\n');
    await systemd.systemctl('start', UNIT);
    await until('the queue to be empty', async () => (await shell('ls /var/lib/loden/cni/del')) === '');
    expect(await traces()).toBe('');
    expect(await shell('ip -n pod4 -br link')).not.toContain('eth0');
  });

  test('a daemon that does not answer systemd is replaced', async () => {
    const drop = `/run/systemd/system/${UNIT}.d`;
    await shell(
      `mkdir -p ${drop}; printf '[Service]\\nWatchdogSec=2\\n' >${drop}/short.conf; systemctl daemon-reload`,
    );
    await systemd.systemctl('restart', UNIT);
    // Longer than the watchdog's time: it is fed.
    await expect(
      until('a restart', async () => (await systemd.property('NRestarts')) !== '0', 5_000, 500),
    ).rejects.toThrow('not within');
    const before = await mainPid();
    await shell(`kill -STOP ${before}`);
    await until(
      'another daemon to be ready',
      async () => {
        // Between two daemons there is none, and the state may be told of the one that has just ended: the number comes first.
        const now = await mainPid();
        return now !== '0' && now !== before && (await systemd.property('ActiveState')) === 'active';
      },
      30_000,
      200,
    );
    expect(await systemd.property('NRestarts')).toBe('1');
    expect(await shell(`journalctl -q -o cat _PID=1 | grep -c "${UNIT}: Watchdog timeout"`)).toBe('1\n');
  });
});

/** Each capability taken away, and what is missed then. The firewall is one that needs the most: legacy iptables, which drops. */
describe('without a capability', () => {
  beforeAll(async () => {
    await boot('vxlan');
    await shell('iptables-legacy -P FORWARD DROP; ip netns add pod');
  });
  afterAll(end);

  const startWith = async (capabilities: readonly string[]): Promise<void> => {
    const drop = `/run/systemd/system/${UNIT}.d`;
    const lines = `[Service]\\nCapabilityBoundingSet=\\nCapabilityBoundingSet=${capabilities.join(' ')}\\n`;
    // A fresh host: what an earlier daemon has put into the kernel would do.
    await shell(
      `mkdir -p ${drop}; printf '${lines}' >${drop}/less.conf; systemctl daemon-reload; systemctl stop ${UNIT}; /opt/loden/bin/loden cleanup; ip link del cni0 || true`,
    );
    await systemd.systemctl('start', '--no-block', UNIT);
  };
  const attach = async (netns: string): Promise<unknown> => {
    const result = await plugin('ADD', 'x', netns);
    await plugin('DEL', 'x', netns);
    return result.ips ? 'attached' : result.msg;
  };
  const status = () => get<{ ready: boolean; problems: string[] }>('/v1/status');
  const ready = () => until('ready', async () => (await status()).ready, 15_000);
  const problem = (text: RegExp) =>
    until(String(text), async () => (await status()).problems.some((p) => text.test(p)), 15_000);

  test('none is missed with all of them', async () => {
    const unit = readFileSync(join(DEPLOY, UNIT), 'utf8');
    expect(/^CapabilityBoundingSet=(.*)$/m.exec(unit)![1]!.split(' ').sort()).toEqual(CAPABILITIES);
    await startWith(CAPABILITIES);
    await ready();
    expect(await attach('/run/netns/pod')).toBe('attached');
    expect(await attach(`/proc/${await processApart()}/ns/net`)).toBe('attached');
  });

  test('CAP_NET_ADMIN the kernel cannot be programmed', async () => {
    await startWith(CAPABILITIES.filter((name) => name !== 'CAP_NET_ADMIN'));
    await problem(/flannel\.1: EPERM/);
    expect((await status()).ready).toBe(false);
  });

  test('CAP_NET_RAW legacy iptables refuses to work', async () => {
    await startWith(CAPABILITIES.filter((name) => name !== 'CAP_NET_RAW'));
    await problem(/iptables-legacy.*Permission denied/);
    expect((await status()).ready).toBe(false);
    expect((await get<ProbesJson>('/v1/probes')).enabled).toBe(false);
  });

  test('CAP_SYS_ADMIN no namespace can be entered', async () => {
    await startWith(CAPABILITIES.filter((name) => name !== 'CAP_SYS_ADMIN'));
    await ready();
    expect(await attach('/run/netns/pod')).toMatch(/setns.*EPERM/);
  });

  test("CAP_SYS_PTRACE no process's namespace can be opened", async () => {
    await startWith(CAPABILITIES.filter((name) => name !== 'CAP_SYS_PTRACE'));
    await ready();
    expect(await attach('/run/netns/pod')).toBe('attached');
    expect(await attach(`/proc/${await processApart()}/ns/net`)).toMatch(/EACCES/);
  });
});
