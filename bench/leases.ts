import { parseArgs } from 'node:util';
import { Cluster } from '../test/support/cluster.ts';
import { until } from '../test/support/proc.ts';
import { warnIfBusy, whole } from './options.ts';
import { NETWORK_CONFIG, peers } from './peers.ts';
import { spread } from './stats.ts';

const USAGE = `npm run bench -- leases [options]

How long \`loden leases --json\` takes, from the process's start to its end, by the daemon and straight from etcd.

  --leases N   how many there are (default 10000)
  --rounds N   how often each is asked (default 9)
  --json       samples as JSON
`;

interface Sample {
  readonly command: string;
  readonly milliseconds: readonly number[];
  readonly bytes: number;
}

/** One daemon and one etcd in namespaces, both real; peers are invented. */
export async function leases(argv: string[]): Promise<void> {
  const { values } = parseArgs({
    args: argv,
    options: {
      leases: { type: 'string', default: '10000' },
      rounds: { type: 'string', default: '9' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) return void process.stdout.write(USAGE);
  const count = whole('leases', values.leases, 1, 60_000);
  const rounds = whole('rounds', values.rounds, 1, 1000);
  warnIfBusy();
  await using cluster = await Cluster.create({ config: NETWORK_CONFIG });
  await cluster.etcd.putMany(peers(count - 1).map(({ key, value }) => [key, value]));
  const host = await cluster.addHost();
  await host.start({ timeout: 120_000 });
  await until('all of them to be known', async () => {
    const list = await host.get<{ leases: readonly unknown[] }>('/v1/leases');
    return list.leases.length === count;
  });
  const etcd = ['--source', 'etcd', '--etcd-endpoints', cluster.etcd.endpoint()];
  const samples: Sample[] = [];
  for (const [command, args] of [
    ['leases --json (daemon)', ['leases', '--json']],
    ['leases --json (etcd)', ['leases', '--json', ...etcd]],
    ['leases (daemon)', ['leases']],
    ['leases (etcd)', ['leases', ...etcd]],
    ['version', ['version']],
  ] as const) {
    const milliseconds: number[] = [];
    let bytes = 0;
    for (let round = 0; round < rounds; round++) {
      const runDir = args[0] === 'version' ? [] : ['--run-dir', host.runDir];
      const started = performance.now();
      const text = await host.loden(...args, ...runDir);
      milliseconds.push(performance.now() - started);
      bytes = Buffer.byteLength(text);
      if (
        args.includes('--json' as never) &&
        (JSON.parse(text) as { leases: unknown[] }).leases.length !== count
      )
        throw new Error(`${command}: not all ${count} leases`);
    }
    samples.push({ command, milliseconds, bytes });
  }
  if (values.json)
    return void process.stdout.write(`${JSON.stringify({ leases: count, samples }, null, 2)}\n`);
  process.stdout.write(`${count} leases, ${rounds} rounds; median and worst of the whole command\n`);
  for (const { command, milliseconds, bytes } of samples) {
    const figures = `${Math.round(spread(milliseconds).median)} ms, ${Math.round(Math.max(...milliseconds))} ms`;
    process.stdout.write(`  ${command.padEnd(24)} ${figures.padEnd(18)} ${bytes} bytes\n`);
  }
}
