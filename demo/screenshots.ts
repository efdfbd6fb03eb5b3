import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { DEFAULTS, KEYS } from '../src/contract.ts';
import { Browser } from '../test/support/browser.ts';
import { Cluster } from '../test/support/cluster.ts';
import { flow } from '../test/support/flow.ts';
import { Netns } from '../test/support/netns.ts';
import { thisProcess } from '../test/support/owner.ts';
import { until } from '../test/support/proc.ts';
import { METRICS_PORT as PORT } from './lookAround.ts';

/**
 * Takes the pictures of the page in docs/: `sh scripts/node.sh demo/screenshots.ts`. One of six hosts, where one has gone away and packets flow; one,
 * dark, of a thousand nodes that are made up.
 */

const DOCS = fileURLToPath(new URL('../docs', import.meta.url));
const DAEMON = fileURLToPath(new URL('../test/support/pretendDaemon.ts', import.meta.url));

async function cluster(): Promise<void> {
  await using hosts = await Cluster.start(6, {
    args: ['--metrics-addr', `:${PORT}`, '--probe-interval', '1s'],
  });
  const [first, second, third] = hosts.hosts;
  const last = hosts.hosts.at(-1)!;
  const reservation = { PublicIP: '192.0.2.77' };
  await hosts.etcd.put(`${DEFAULTS.etcdPrefix}/${KEYS.subnets}/10.42.100.0-24`, JSON.stringify(reservation));
  const pods = [await first!.workload(), await second!.workload(), await third!.workload()] as const;
  const operator = await hosts.underlay.attach('operator');
  await using _ = operator.netns;
  await using browser = await Browser.start(operator.netns, first!.dir);
  const { page } = await browser.open(`http://${first!.at.ipv4}:${PORT}/`, { width: 1280, height: 1010 });
  await sleep(6_000);
  await flow([pods[0], pods[1]], async () => {
    await sleep(8_000);
    await flow([pods[2], pods[0]], () => sleep(9_000));
  });
  await last.daemon.stop('SIGKILL');
  await hosts.underlay.plug(last.at, 'out');
  const told = async () =>
    /cannot be reached by 5 of 5/.test((await page.locator('.troubles').textContent()) ?? '');
  await until('all to have lost it', told, 90_000);
  await flow([pods[1], pods[0]], () => sleep(5_000));
  await page.screenshot({ path: join(DOCS, 'page-light.png') });
}

async function thousand(): Promise<void> {
  const owner = thisProcess();
  await using netns = await Netns.create(owner, 'page');
  const dir = owner.tempDir('page');
  const daemon = await netns.start([process.execPath, DAEMON, String(PORT), '1000'], {
    log: `${dir}/daemon.log`,
  });
  await daemon.saying(/serving/);
  await using browser = await Browser.start(netns, dir);
  const { page } = await browser.open(`http://127.0.0.1:${PORT}/`, {
    width: 1280,
    height: 700,
    dark: true,
  });
  await sleep(15_000);
  await page.screenshot({ path: join(DOCS, 'page-thousand.png') });
}

await cluster();
await thousand();
