import { parseArgs } from 'node:util';
import { Cluster } from '../test/support/cluster.ts';
import { table } from '../test/support/table.ts';
import { warnIfBusy, whole } from './options.ts';
import { NETWORK_CONFIG, peers } from './peers.ts';
import { longestStall, type Measured, measureRound } from './round.ts';
import { formatSpread, type Spread, spread } from './stats.ts';

const USAGE = `npm run bench -- control-plane [options]

  --peers N[,N…]   peers of the network (1000,5000)
  --rounds N       fresh hosts for each number of peers (3)
  --churn N        peers that come and go while it runs, one after the other (20)
  --idle SECONDS   over which idle CPU is measured (20)
  --json           as JSON
`;

interface Options {
  readonly peers: readonly number[];
  readonly rounds: number;
  readonly churn: number;
  readonly idle: number;
  readonly json: boolean;
}

function parseOptions(argv: string[]): Options | 'help' {
  const { values } = parseArgs({
    args: argv,
    options: {
      peers: { type: 'string', default: '1000,5000' },
      rounds: { type: 'string', default: '3' },
      churn: { type: 'string', default: '20' },
      idle: { type: 'string', default: '20' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) return 'help';
  return {
    peers: values.peers.split(',').map((text) => whole('peers', text, 1, 60_000)),
    rounds: whole('rounds', values.rounds, 1, 100),
    churn: whole('churn', values.churn, 0, 1_000),
    idle: whole('idle', values.idle, 0, 3_600),
    json: values.json,
  };
}

/** What is measured on two fresh hosts, one of them under observation. */
type Round = Measured & { readonly stallMs: number; readonly stallCpuMs: number };

/** A daemon in a network of thousands: what it costs and how long it takes, over several rounds on fresh hosts. */
export async function controlPlane(argv: string[]): Promise<void> {
  const options = parseOptions(argv);
  if (options === 'help') {
    process.stdout.write(USAGE);
    return;
  }
  warnIfBusy();
  const results: { peers: number; rounds: readonly Round[]; summary: Record<string, Spread> }[] = [];
  for (const count of options.peers) {
    await using cluster = await Cluster.create();
    await cluster.etcd.put('/coreos.com/network/config', JSON.stringify(NETWORK_CONFIG));
    const lease = await cluster.etcd.grant(86_400);
    await cluster.etcd.putMany(
      peers(count).map(({ key, value }) => [key, value] as const),
      lease,
    );
    const rounds: Round[] = [];
    for (let round = 1; round <= options.rounds; round++) {
      process.stderr.write(`${count} peers, round ${round} of ${options.rounds}\n`);
      const measured = await measureRound(cluster, { count, churn: options.churn, idle: options.idle });
      rounds.push({ ...measured, ...(await longestStall(cluster, count)) });
    }
    results.push({ peers: count, rounds, summary: summarize(rounds) });
  }
  process.stdout.write(options.json ? `${JSON.stringify(results, null, 2)}\n` : report(results));
}

const summarize = (rounds: readonly Round[]): Record<string, Spread> =>
  Object.fromEntries(
    ROWS.map(
      ([name]) => [name, rounds.map((round) => round[name]).filter((value) => value !== null)] as const,
    )
      .filter(([, values]) => values.length > 0)
      .map(([name, values]) => [name, spread(values)]),
  );

/** What is printed, in what order, with how many digits, and what it should stay below. */
const ROWS: readonly (readonly [name: keyof Round, about: string, digits: number, aim?: number])[] = [
  ['startToKernel', 'process start to all peers in the kernel, s', 2],
  ['snapshotToKernel', 'first snapshot to all peers in the kernel, s', 2, 2],
  ['startToReady', 'process start to ready, s', 2],
  ['cpuSeconds', 'CPU until ready, s', 2],
  ['netlinkMessages', 'netlink messages sent until ready', 0],
  ['etcdRequests', 'etcd requests until ready, as the daemon counts', 0],
  ['etcdSaw', 'etcd requests until ready, as etcd counts', 0],
  ['stallMs', 'longest the event loop was busy or kept waiting, ms', 1],
  ['stallCpuMs', 'most CPU it used in one go, ms', 1, 10],
  ['peerAddedMs', 'one peer more: put to its route, ms', 1],
  ['peerRemovedMs', 'one peer less: delete to its route gone, ms', 1],
  ['peakAtReady', 'peak RSS until ready, MB', 0, 120],
  ['peakAtEnd', 'peak RSS after churn and idling, MB', 0, 120],
  ['rssAtEnd', 'RSS after churn and idling, MB', 0],
  ['idleCpu', 'idle CPU, % of a core', 2, 1],
  ['restartToReady', 'restart, kernel already right, to ready, s', 2],
  ['restartNetlinkMessages', 'netlink messages of the restart', 0],
];

/** One column for each number of peers: median (minimum–maximum). */
function report(results: readonly { peers: number; summary: Record<string, Spread> }[]): string {
  const rows = ROWS.map(([name, about, digits, aim]) => [
    about,
    ...results.map(({ summary }) => (summary[name] ? formatSpread(summary[name], digits) : '–')),
    aim === undefined ? '' : `< ${aim}`,
  ]);
  return `${table([['', ...results.map(({ peers: n }) => `${n} peers`), 'aim'], ...rows])}\n`;
}
