import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Cluster } from '../support/cluster.ts';
import { bootDeployed } from '../support/deployed.ts';
import { until } from '../support/proc.ts';
import type { Systemd } from '../support/systemd.ts';

/** The files for systemd-networkd, udev and Docker, as they are shipped. */

/** The last is such as the plugin names its host ends. */
const OURS = ['flannel.1', 'cni0', 'veth0123456789a'];

let cluster: Cluster;
let systemd: Systemd;

/** In dockerd's place: tells how it was called. */
const FAKE = '#!/bin/sh\nprintf "%s\\n" "$@" >/run/docker.args\nsystemd-notify --ready\nexec sleep 300\n';

/** What somebody may have, and what would do harm: it takes away addresses and routes that it has not set itself. */
const GREEDY =
  '[Match]\nName=flannel* cni* veth* other*\n[Network]\nAddress=203.0.113.9/24\nLinkLocalAddressing=no\n';

beforeAll(async () => {
  cluster = await Cluster.create();
  const host = await cluster.addHost();
  const fake = join(host.dir, 'dockerd');
  writeFileSync(fake, FAKE);
  chmodSync(fake, 0o755);
  systemd = await bootDeployed(cluster, host, {
    binds: [`${fake}:/usr/sbin/dockerd`],
    files: {
      '/etc/systemd/network/50-greedy.network': GREEDY,
      '/etc/systemd/system/docker.service.d/test.conf':
        '[Unit]\nWants=\nRequires=\nAfter=\nAfter=loden.service\nWants=loden.service\n[Service]\nNotifyAccess=all\nOOMScoreAdjust=\nLimitNOFILE=\nLimitNPROC=\nLimitCORE=\n',
      '/etc/default/docker': 'DOCKER_OPTS="--icc=false --log-level warn"\n',
    },
  });
});
afterAll(async () => {
  await systemd?.[Symbol.asyncDispose]();
  await cluster?.[Symbol.asyncDispose]();
});

const shell = (script: string): Promise<string> => systemd.run('sh', '-ec', script);

test('Docker starts after Loden, with the options of its subnet behind its own', async () => {
  await systemd.systemctl('start', 'docker.service');
  expect(await systemd.property('ActiveState')).toBe('active');
  const env = await shell('cat /run/flannel/subnet.env');
  const [, subnet] = /FLANNEL_SUBNET=(.*)/.exec(env)!;
  const args = await until('dockerd to be called', () => shell('cat /run/docker.args'));
  expect(args.trim().split('\n')).toEqual([
    ...['-H', 'fd://', '--containerd=/run/containerd/containerd.sock'],
    ...['--icc=false', '--log-level', 'warn'],
    ...[`--bip=${subnet}`, '--ip-masq=false', '--mtu=1450'],
  ]);
});

test('Docker started while Loden is stopped gets the same', async () => {
  const before = await shell('cat /run/docker.args');
  await systemd.systemctl('stop', 'docker.service', 'loden.service');
  await shell('rm /run/docker.args; mkdir -p /run/systemd/system/loden.service.d');
  await shell(
    "printf '[Service]\\nExecStart=\\nExecStart=/bin/false\\nRestart=no\\n' >/run/systemd/system/loden.service.d/x.conf",
  );
  await systemd.systemctl('daemon-reload');
  await systemd.systemctl('start', 'docker.service');
  expect(await until('dockerd to be called', () => shell('cat /run/docker.args'))).toBe(before);
  await shell('rm -r /run/systemd/system/loden.service.d; systemctl daemon-reload; systemctl reset-failed');
  await systemd.systemctl('start', 'loden.service');
});

test('Docker restarted after the subnet has changed gets the new one, and keeps that when the file is gone', async () => {
  const file = '/run/flannel/subnet.env';
  const restarted = async (): Promise<string> => {
    await shell('rm /run/docker.args');
    await systemd.systemctl('restart', 'docker.service');
    return until('dockerd to be called', () => shell('cat /run/docker.args'));
  };
  await shell(
    `cp ${file} /run/before.env; sed -i 's/^FLANNEL_SUBNET=.*/FLANNEL_SUBNET=198.51.100.1\\/25/' ${file}`,
  );
  try {
    const expected = /--bip=198\.51\.100\.1\/25\n--ip-masq=false\n--mtu=1450\n$/;
    expect(await restarted()).toMatch(expected);
    await shell(`rm ${file}`);
    expect(await restarted()).toMatch(expected);
  } finally {
    await shell(`cp /run/before.env ${file}`);
  }
  expect(await restarted()).not.toContain('198.51.100.1');
  expect(await shell('cat /run/flannel/flannel_docker_opts.env')).toMatch(
    /^DOCKER_OPT_BIP=.*\nDOCKER_OPT_IPMASQ=.*\nDOCKER_OPT_MTU=.*\n$/,
  );
});

test('systemd-networkd leaves our devices alone', async () => {
  await shell(
    'ip link add cni0 type bridge; ip addr add 10.99.0.1/24 dev cni0; ip link set cni0 up; ip link add veth0123456789a type veth peer name other1; ip link set other1 up; ip link set veth0123456789a up',
  );
  const before = await shell('ip -o addr show flannel.1; ip -o addr show cni0; ip -o route show dev cni0');
  await systemd.systemctl('start', 'systemd-networkd.service');
  // By index; it tells on the bus too, which there is none here.
  const state = async (device: string): Promise<string | undefined> =>
    /^ADMIN_STATE=(.*)$/m.exec(
      await shell(`cat /run/systemd/netif/links/$(cat /sys/class/net/${device}/ifindex)`),
    )?.[1];
  await until('networkd to have done its work', async () => (await state('other1')) === 'configured');
  for (const device of OURS) expect([device, await state(device)]).toEqual([device, 'unmanaged']);
  // The file in wait was read: it has done its work on a device that is not ours.
  expect(await shell('ip -o addr show other1')).toContain('203.0.113.9/24');
  expect(await shell('ip -o addr show flannel.1; ip -o addr show cni0; ip -o route show dev cni0')).toBe(
    before,
  );
});

test("udev leaves our devices' MACs alone", async () => {
  const linkFile = async (device: string): Promise<string> =>
    /ID_NET_LINK_FILE=(\S+)/.exec(
      await shell(`udevadm test-builtin net_setup_link /sys/class/net/${device} 2>&1`),
    )?.[1] ?? 'none';
  for (const device of OURS)
    expect([device, await linkFile(device)]).toEqual([device, '/etc/systemd/network/10-loden.link']);
  expect(await linkFile('other1')).not.toContain('loden');
});
