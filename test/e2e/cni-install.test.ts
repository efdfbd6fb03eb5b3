import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Report } from '../../src/cli/cni/place.ts';
import { CNI } from '../../src/contract.ts';
import { Cluster } from '../support/cluster.ts';
import { Containerd, pluginDir } from '../support/containerd.ts';
import type { Host } from '../support/host.ts';
import { imageArchive } from '../support/images.ts';
import { ping } from '../support/ping.ts';
import { until } from '../support/proc.ts';
import { RuntimeDir } from '../support/runtimeDir.ts';

/** `loden cni install` beside a containerd that runs already, with the plugin that was built. */

const images = RuntimeDir.create('images');
let cluster: Cluster;
let host: Host;
let node: Containerd;
let bin: string;
// The configuration says nothing of host-local's store, so it is the machine's.
const name = `ld-install-${process.pid}`;

beforeAll(async () => {
  cluster = await Cluster.start(1);
  host = cluster.hosts[0]!;
  node = await Containerd.start(host, await imageArchive(images.path));
  bin = pluginDir(node.dir.path);
  for (const file of CNI.names) rmSync(join(bin, file));
});
afterAll(async () => {
  await node?.[Symbol.asyncDispose]();
  await cluster?.[Symbol.asyncDispose]();
  images[Symbol.dispose]();
  rmSync(join(CNI.dataDir, name), { recursive: true, force: true });
});

async function loden(command: string, ...more: string[]): Promise<Report> {
  const places = ['--bin-dir', bin, '--conf-dir', node.confDir, '--json'];
  return JSON.parse(await host.loden('cni', command, ...places, ...more)) as Report;
}
const install = () =>
  loden('install', '--network-name', name, '--run-dir', host.runDir, '--state-dir', host.stateDir);
const states = (report: Report): string[] => report.files.map(({ state }) => state);

test('containerd notices what is installed, and pods get addresses by it', async () => {
  expect(await node.networkCondition()).not.toBe(true);
  const report = await install();
  expect(states(report)).toEqual(['written', 'written', 'written']);
  expect(report.notes).toEqual([]);
  await node.networkReady();
  const pod = await node.runPod();
  expect(await ping(host.netns, pod.ip, 5)).toBeDefined();
  await pod.remove();
});

test('installed again nothing changes, and pods come and go meanwhile', async () => {
  const pods = Promise.all([1, 2, 3].map(() => node.runPod()));
  for (let i = 0; i < 3; i++)
    expect(states(await install())).toEqual(['unchanged', 'unchanged', 'unchanged']);
  for (const pod of await pods) await pod.remove();
});

test('the plugin replaced while pods come and go is no trouble', async () => {
  const pods = Promise.all([1, 2, 3].map(() => node.runPod()));
  for (let i = 0; i < 3; i++) {
    // Each is written anew, for it is not as it should be.
    await host.netns.run(['chmod', '700', join(bin, 'loden')]);
    expect(states(await install())).toEqual(['written', 'unchanged', 'unchanged']);
  }
  for (const pod of await pods) await pod.remove();
});

test('containerd notices what is taken away', async () => {
  expect(states(await loden('uninstall'))).toEqual(['removed', 'removed', 'removed']);
  await until('the network to be gone', async () => (await node.networkCondition()) !== true);
  expect(states(await install())).toEqual(['written', 'written', 'written']);
  await node.networkReady();
  expect(states(await loden('uninstall'))).toEqual(['removed', 'removed', 'removed']);
});
