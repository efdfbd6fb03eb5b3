import { parseArgs } from 'node:util';
import { NFT_COUNTERS } from '../src/contract.ts';
import { counterChanges } from '../src/kernel/peerCountersText.ts';
import { table } from '../test/support/table.ts';
import { makePair, NETLOAD, type Pair, PORT } from './datapathPairs.ts';
import { iperf } from './iperf.ts';
import { choice, decimal, warnIfBusy, whole } from './options.ts';
import { busySeconds } from './procStats.ts';
import { formatSpread, spread } from './stats.ts';

const DEVICE = 'flannel.1';

/** Ways to count packets to and from each peer; the first is not to. */
const VARIANTS = ['none', 'ours', 'intervals', 'empty', 'inet', 'inetIntervals', 'inetEmpty'] as const;
type Variant = (typeof VARIANTS)[number];

const USAGE = `npm run bench -- peer-counters [options]

  --only V[,V…]   ${VARIANTS.join(', ')} (all); none is always measured
  --peers N       in the sets (1000)
  --rounds N      each takes every variant in turn (10)
  --seconds S     of 64 B datagrams, in each round (0.5)
  --tcp           TCP for a second, too
`;

/** A table by hand: in the device's hooks or in those of all packets, with a lookup or without. */
function byHand(subnets: readonly string[], inet: boolean, how: 'hash' | 'intervals' | 'empty'): string {
  const elements = how === 'intervals' ? subnets.map((subnet) => `${subnet}/24`) : subnets;
  const flags = how === 'intervals' ? 'flags interval;' : '';
  const mask = how === 'intervals' ? '' : '& 255.255.255.0 ';
  const sides = [
    { name: 'out', field: 'daddr', hook: inet ? 'postrouting priority 300' : 'egress', dev: 'oifname' },
    { name: 'in', field: 'saddr', hook: inet ? 'prerouting priority -450' : 'ingress', dev: 'iifname' },
  ].map(({ name, field, hook, dev }) => {
    const where = inet ? hook : `${hook} device "${DEVICE}" priority 0`;
    const only = inet ? `${dev} "${DEVICE}" ` : '';
    const rule = how === 'empty' ? only : `${only}ip ${field} ${mask}@${name}`;
    return `set ${name} { typeof ip ${field}; ${flags} counter; elements = { ${elements.join(', ')} }; }
chain ${name}side { type filter hook ${where}; policy accept; ${rule}; }`;
  });
  return `table ${inet ? 'ip' : 'netdev'} ${NFT_COUNTERS} {\n${sides.join('\n')}\n}\n`;
}

function ours(subnets: readonly string[]): string {
  const rows = new Map(subnets.map((subnet, row) => [subnet, row]));
  const wish = { devices: new Set([DEVICE]), subnets: new Map([['4_24', rows]]), rows: rows.size };
  return [...counterChanges(wish, undefined)].join('');
}

const TEXT: Readonly<Record<Variant, (subnets: readonly string[]) => string>> = {
  none: () => '',
  ours,
  intervals: (subnets) => byHand(subnets, false, 'intervals'),
  empty: (subnets) => byHand(subnets, false, 'empty'),
  inet: (subnets) => byHand(subnets, true, 'hash'),
  inetIntervals: (subnets) => byHand(subnets, true, 'intervals'),
  inetEmpty: (subnets) => byHand(subnets, true, 'empty'),
};

/** On both hosts, instead of what was there. */
async function put({ cluster }: Pair, text: string): Promise<void> {
  for (const { netns } of cluster.hosts) {
    const remove = ['ip', 'netdev'].map(
      (f) => `add table ${f} ${NFT_COUNTERS}\ndelete table ${f} ${NFT_COUNTERS}\n`,
    );
    await netns.nft(remove.join('') + text);
  }
}

/** The hosts' own subnets and invented ones. */
async function subnetsOf({ cluster }: Pair, peers: number): Promise<string[]> {
  const leases = await cluster.hosts[0]!.get<{ leases: { subnets: string[] }[] }>('/v1/leases');
  const real = leases.leases.map(({ subnets }) => subnets[0]!.replace(/\/.*/, ''));
  const invented = Array.from({ length: peers - real.length }, (_, i) => `10.${100 + (i >> 8)}.${i & 255}.0`);
  return [...real, ...invented];
}

interface Figures {
  readonly kpps: number;
  /** CPU seconds of the machine for a million packets. */
  readonly cpu: number;
  readonly gbps: number;
}

async function load(pair: Pair, seconds: number, tcp: boolean): Promise<Figures> {
  const busy = busySeconds();
  const args = ['--to', pair.address, '--port', `${PORT}`, '--size', '64', '--seconds', `${seconds}`];
  const out = await pair.from.run([NETLOAD, 'udp', ...args], { timeout: (seconds + 20) * 1000 });
  const cpu = busySeconds() - busy;
  const result = JSON.parse(out) as { received: number; seconds: number };
  const options = { seconds: 1, streams: 1, bothWays: false, congestion: 'cubic' };
  return {
    kpps: result.received / result.seconds / 1e3,
    cpu: (cpu / result.received) * 1e6,
    gbps: tcp ? (await iperf(pair.from, pair.address, options)).bitsPerSecond / 1e9 : Number.NaN,
  };
}

/** What it costs the data path to count packets to and from each peer, as ratios to the same round without. */
export async function peerCounters(argv: string[]): Promise<void> {
  const { values } = parseArgs({
    args: argv,
    options: {
      only: { type: 'string', default: VARIANTS.join() },
      peers: { type: 'string', default: '1000' },
      rounds: { type: 'string', default: '10' },
      seconds: { type: 'string', default: '0.5' },
      tcp: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) return void process.stdout.write(USAGE);
  const rounds = whole('rounds', values.rounds, 1, 1_000);
  const seconds = decimal('seconds', values.seconds, 0.1, 60);
  const variants = [...new Set<Variant>(['none', ...choice('only', values.only, VARIANTS)])];
  warnIfBusy();
  const pair = await makePair('vxlan', 'offload');
  await using _ = pair.cluster;
  const subnets = await subnetsOf(pair, whole('peers', values.peers, 2, 30_000));
  const found = new Map<Variant, Figures[]>(variants.map((variant) => [variant, []]));
  for (let round = 0; round < rounds; round++) {
    for (const i of variants.keys()) {
      // Whoever is first in one round is last in the next.
      const variant = variants[(i + round) % variants.length]!;
      await put(pair, TEXT[variant](subnets));
      found.get(variant)!.push(await load(pair, seconds, values.tcp));
    }
  }
  const rows = [['', 'kpps', 'CPU µs a packet', 'ratio', 'of CPU', ...(values.tcp ? ['of TCP'] : [])]];
  for (const [variant, figures] of found) {
    const of = (name: keyof Figures) => figures.map((f) => f[name]);
    const ratios = (name: keyof Figures) => of(name).map((v, i) => v / found.get('none')![i]![name]);
    rows.push([
      variant,
      formatSpread(spread(of('kpps')), 0),
      formatSpread(spread(of('cpu')), 2),
      formatSpread(spread(ratios('kpps')), 2),
      formatSpread(spread(ratios('cpu')), 2),
      ...(values.tcp ? [formatSpread(spread(ratios('gbps')), 2)] : []),
    ]);
  }
  process.stdout.write(`${table(rows)}\n`);
}
