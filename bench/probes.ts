import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { thisProcess } from '../test/support/owner.ts';
import { until } from '../test/support/proc.ts';
import { table } from '../test/support/table.ts';
import { Tunnel } from '../test/support/tunnel.ts';
import { decimal, warnIfBusy, whole } from './options.ts';

const USAGE = `npm run bench -- probes [options]

What probing costs: one host with a real tunnel to another, which answers for all peers.

  --peers N[,N…]      peers (1000,5000)
  --interval SECONDS  between rounds (10)
  --seconds S         over which a steady state is measured (60)
  --json              as JSON
`;

const METER = fileURLToPath(new URL('probesMeter.mjs', import.meta.url));
/** As bin/loden starts the daemon, and with a way to ask for a collection of garbage. */
const NODE = [
  process.execPath,
  '--lite-mode',
  '--max-semi-space-size=1',
  '--max-old-space-size=512',
  '--expose-gc',
];

interface Spread {
  readonly median: number;
  readonly p95: number;
}

interface Measured {
  readonly peers: number;
  readonly sample: number;
  readonly setTargetsMs: number;
  readonly firstSeconds: number;
  readonly firstCpuSeconds: number;
  readonly firstPackets: number;
  readonly cpuPercent: number;
  readonly idleCpuPercent: number;
  readonly packetsPerSecond: number;
  readonly awayCpuPercent: number;
  readonly awayPacketsPerSecond: number;
  readonly heapMB: number;
  readonly quietMs: Spread;
  readonly busyLoopMs: Spread;
  /** Median round trip of a UDP datagram to a program at the other end and back, milliseconds. */
  readonly udpMs: number;
}

/** Probing among thousands of peers: CPU, packets, memory, and how right its round trips are. */
export async function probes(argv: string[]): Promise<void> {
  const { values } = parseArgs({
    args: argv,
    options: {
      peers: { type: 'string', default: '1000,5000' },
      interval: { type: 'string', default: '10' },
      seconds: { type: 'string', default: '60' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) return void process.stdout.write(USAGE);
  const counts = values.peers.split(',').map((text) => whole('peers', text, 1, 16_000));
  const interval = decimal('interval', values.interval, 0.1, 3_600) * 1_000;
  const seconds = whole('seconds', values.seconds, 1, 3_600);
  warnIfBusy();
  const results: Measured[] = [];
  for (const count of counts) {
    process.stderr.write(`${count} peers\n`);
    results.push(await measure(count, interval, seconds));
  }
  process.stdout.write(values.json ? `${JSON.stringify(results, null, 2)}\n` : report(results));
}

async function measure(peers: number, interval: number, seconds: number): Promise<Measured> {
  await using tunnel = await Tunnel.create(thisProcess());
  const { a, b } = tunnel;
  // The other end takes every address for its own.
  await b.netns.ip('route add local 10.64.0.0/10 dev lo');
  // And answers for each as often as each would.
  await b.netns.sysctl({ 'net/ipv4/icmp_ratemask': 0 });
  await a.netns.ip(`route add 10.64.0.0/10 via ${b.inner[4]} dev vx0 onlink`);
  const dir = thisProcess().tempDir('probes');
  const udpMs = await udpTrip(tunnel, dir);
  const { pid } = process;
  const meter = await a.netns.start(
    // The FIFO's other end is this process's shell: written to when the peers are gone.
    [
      'sh',
      '-c',
      `mkfifo ${dir}/go && exec ${[...NODE, METER, peers, interval, seconds].join(' ')} <>${dir}/go`,
    ],
    { log: join(dir, `meter-${pid}.log`) },
  );
  const phase = async (name: string, timeout: number): Promise<Record<string, never>> => {
    const [line] = await meter.saying(new RegExp(`^\\{"phase":"${name}".*\\}$`, 'm'), timeout);
    return JSON.parse(line) as Record<string, never>;
  };
  const first = await phase('first', 600_000);
  const steady = await phase('steady', seconds * 1_000 + 60_000);
  const { heapMB } = await phase('memory', 60_000);
  const { quietMs, busyLoopMs } = await phase('trips', 120_000);
  await b.netns.ip('link set eth0 down');
  await b.netns.run(['sh', '-c', `echo go >${dir}/go`]);
  const away = await phase('away', seconds * 1_000 + 120_000);
  await until('the meter to end', () => meter.ended !== undefined);
  return {
    peers,
    sample: steady.sample!,
    setTargetsMs: first.setTargetsMs!,
    firstSeconds: first.seconds!,
    firstCpuSeconds: first.cpuSeconds!,
    firstPackets: first.packets!,
    cpuPercent: steady.cpuPercent!,
    idleCpuPercent: steady.idleCpuPercent!,
    packetsPerSecond: steady.packetsPerSecond!,
    awayCpuPercent: away.cpuPercent!,
    awayPacketsPerSecond: away.packetsPerSecond!,
    heapMB: heapMB!,
    quietMs: quietMs!,
    busyLoopMs: busyLoopMs!,
    udpMs,
  };
}

const NETLOAD = fileURLToPath(new URL('../build/native/netload', import.meta.url));

/** What a program in user space, written in C++, finds between the same ends. */
async function udpTrip({ a, b }: Tunnel, dir: string): Promise<number> {
  await using server = await b.netns.start([NETLOAD, 'serve', '--port', '5201'], {
    log: join(dir, 'serve.log'),
  });
  await server.saying(/listening|serving|ready/i);
  const said = await a.netns.run([
    ...[NETLOAD, 'rtt', '--port', '5201', '--to', b.inner[4], '--seconds', '2', '--udp'],
  ]);
  const found = JSON.parse(said.split('\n').find((line) => line.startsWith('{'))!) as Record<string, number>;
  return found.p50! / 1_000;
}

const ROWS: readonly (readonly [about: string, of: (m: Measured) => string])[] = [
  ['peers asked in each round', (m) => String(m.sample)],
  ['CPU, % of a core', (m) => m.cpuPercent.toFixed(2)],
  ['the same without probing', (m) => m.idleCpuPercent.toFixed(2)],
  ['packets sent a second', (m) => m.packetsPerSecond.toFixed(2)],
  ['nobody answers: CPU, % of a core', (m) => m.awayCpuPercent.toFixed(2)],
  ['nobody answers: packets sent a second', (m) => m.awayPacketsPerSecond.toFixed(2)],
  ['all peers new: until each has been asked, s', (m) => m.firstSeconds.toFixed(0)],
  ['all peers new: CPU for that, s', (m) => m.firstCpuSeconds.toFixed(2)],
  ['all peers new: packets', (m) => String(m.firstPackets)],
  ['all peers new: longest the event loop is kept, ms', (m) => m.setTargetsMs.toFixed(1)],
  ['memory, MB of heap', (m) => m.heapMB.toFixed(2)],
  ['round trip reported, median and p95, µs', (m) => micros(m.quietMs)],
  ['the same while the event loop is busy 80 % of the time', (m) => micros(m.busyLoopMs)],
  ['a UDP datagram to a program and back, median, µs', (m) => (m.udpMs * 1_000).toFixed(0)],
];

const micros = ({ median, p95 }: Spread): string =>
  `${(median * 1_000).toFixed(0)}, ${(p95 * 1_000).toFixed(0)}`;

const report = (results: readonly Measured[]): string =>
  `${table([
    ['', ...results.map(({ peers }) => `${peers} peers`)],
    ...ROWS.map(([about, of]) => [about, ...results.map(of)]),
  ])}\n`;
