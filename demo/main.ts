import { writeFileSync } from 'node:fs';
import { Cluster } from '../test/support/cluster.ts';
import { keptDemo, type Owner, thisProcess } from '../test/support/owner.ts';
import { pingMatrix } from '../test/support/ping.ts';
import { lodenConfig } from '../test/support/plugin.ts';
import { tcpThroughput } from '../test/support/throughput.ts';
import { Workload } from '../test/support/workload.ts';
import { configFile, lookAround, METRICS_PORT } from './lookAround.ts';
import { type DemoOptions, parseOptions, USAGE } from './options.ts';
import { pingTable, rate, Screen } from './screen.ts';

const THROUGHPUT_SECONDS = 3;

/** Hosts, daemons and pods, and what goes between them. Returns what `--json` prints, and the last pod. */
async function demo(cluster: Cluster, options: DemoOptions, screen: Screen) {
  await screen.step(`${options.hosts} hosts on one Ethernet, as network namespaces`, async () => {
    for (let i = 0; i < options.hosts; i++) await cluster.addHost();
  });
  const { hosts, families } = cluster;
  await screen.step('a Loden daemon on each, all started at once, until ready', () =>
    Promise.all(hosts.map((host) => host.start())),
  );
  const pods: Workload[] = [];
  await screen.step('a workload on each host, attached by the CNI plugin', async () => {
    for (const host of hosts) {
      pods.push(await host.workload());
      writeFileSync(configFile(host), `${JSON.stringify(lodenConfig(host), null, 2)}\n`);
    }
  });

  const first = hosts[0]!;
  const { plugin, container } = Workload.attaching(first, pods[0]!.netns);
  screen.print(`\n$ ${plugin.shell('ADD', container, configFile(first))}`);
  screen.print(`\n$ loden leases --run-dir ${first.runDir}`);
  screen.print((await first.loden('leases', '--run-dir', first.runDir)).trimEnd());
  screen.print();

  const pings = await screen.step('every workload pings every other', () => pingMatrix(pods, families));
  for (const family of families) screen.print(`\n${pingTable(pings, family)}`);
  screen.print();
  const lost = pings.filter((cell) => cell.ms === undefined);
  if (lost.length > 0) {
    const logs = hosts.map((host) => `${host.name}:\n${host.daemon.tail()}`);
    throw new Error(`${lost.length} of ${pings.length} pings were not answered\n${logs.join('\n')}`);
  }

  const [a, b] = [pods[0]!, pods.at(-1)!];
  const throughput = await screen.step(`TCP from ${a.host.name} to ${b.host.name}`, () =>
    tcpThroughput(a.netns, b.netns, b.addr(4), { seconds: THROUGHPUT_SECONDS, dir: first.dir }),
  );
  const how = `one stream, ${throughput.congestion}, ${throughput.seconds.toFixed(1)} s, MTU ${first.subnetEnv().FLANNEL_MTU}`;
  screen.print(`    ${rate(throughput.bitsPerSecond)} through ${options.backend} (${how})`);

  return {
    far: b,
    backend: options.backend,
    hosts: hosts.map((host) => ({
      name: host.name,
      ipv4: host.at.ipv4,
      ipv6: host.at.ipv6,
      subnetEnv: host.subnetEnv(),
    })),
    leases: (await first.get<{ leases: unknown }>('/v1/leases')).leases,
    pings: pings.map(({ from, to, family, ms }) => ({
      from: from.host.name,
      to: to.host.name,
      family,
      ms: ms ?? null,
    })),
    throughput,
  };
}

async function main(): Promise<void> {
  const options = parseOptions(process.argv.slice(2));
  if (options === 'help') {
    process.stdout.write(USAGE);
    return;
  }
  if (process.getuid?.() !== 0) throw new Error('network namespaces need root: run it as root');
  const screen = new Screen(options.json);
  const kept = keptDemo();
  if (kept.exists()) {
    await screen.step('removing what an earlier --keep left', async () => kept.remove());
  } else if (options.remove) {
    screen.print('nothing was kept');
  }
  if (options.remove) return;

  const owner: Owner = options.keep ? kept : thisProcess();
  const interrupt = () => {
    screen.print('\ninterrupted; removing everything');
    owner.remove();
    process.exit(130);
  };
  process.on('SIGINT', interrupt);
  process.on('SIGTERM', interrupt);

  await using stack = new AsyncDisposableStack();
  try {
    screen.print(
      `Loden: ${options.hosts} hosts, backend ${options.backend}, ${options.families.map((f) => `IPv${f}`).join(' and ')}\n`,
    );
    const cluster = await screen.step('etcd and a network between hosts', () =>
      Cluster.create({
        owner,
        families: options.families,
        backend: { Type: options.backend },
        args: ['--metrics-addr', `:${METRICS_PORT}`],
      }),
    );
    if (!options.keep) {
      stack.defer(() => screen.step('everything removed', () => cluster[Symbol.asyncDispose]()));
    }
    const { far, ...result } = await demo(cluster, options, screen);
    if (options.json) process.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
    if (options.keep) screen.print(lookAround(cluster, far, options.backend));
  } catch (error) {
    if (options.keep) owner.remove();
    throw error;
  }
}

try {
  await main();
} catch (error) {
  process.stderr.write(`demo: ${(error as Error).message}\n`);
  process.exitCode = 1;
}
