import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { table } from '../test/support/table.ts';
import {
  MORE_TESTS,
  type Sample,
  TESTS,
  type TestName,
  UNDERLAYS,
  type UnderlayName,
  VARIANTS,
  type VariantName,
} from './datapathFigures.ts';
import { makePair, type Pair } from './datapathPairs.ts';
import { markdown, tables } from './datapathReport.ts';
import { RUN, type Times } from './datapathTests.ts';
import { choice, decimal, warnIfBusy, whole } from './options.ts';
import { brief, merged } from './samples.ts';
import { ratiosSvg } from './svgRatios.ts';

const KNOWN_TESTS = [...TESTS, ...MORE_TESTS];

const USAGE = `npm run bench -- datapath [options]

  --only V[,V…]      ${VARIANTS.join(', ')} (all)
  --underlay U[,U…]  offload: super-packets cross the cable whole; wire: only packets do (both)
  --tests T[,T…]     ${KNOWN_TESTS.join(', ')} (all but the last two)
  --rounds N         each takes every variant in turn (3)
  --seconds S        measured of each test (2)
  --warm S           before that (0.5)
  --quick            one round, half a second
  --udp-args ARGS    more options for the daemons of the udp variant, e.g. '--udp-threads 2'
  --from F[,F…]      measure nothing: take what --json wrote into these files, rounds counted on
  --json             as JSON
  --markdown         as tables for the docs
  --svg FILE         also draw the ratios
`;

interface Options {
  readonly only: readonly VariantName[];
  readonly underlays: readonly UnderlayName[];
  readonly tests: readonly TestName[];
  readonly rounds: number;
  readonly times: Times;
  readonly udpArgs: readonly string[];
  readonly from: readonly string[];
  readonly format: 'json' | 'markdown' | 'text';
  readonly svg: string | undefined;
}

function parseOptions(argv: string[]): Options | 'help' {
  const { values } = parseArgs({
    args: argv,
    options: {
      only: { type: 'string', default: VARIANTS.join() },
      underlay: { type: 'string', default: UNDERLAYS.join() },
      tests: { type: 'string', default: TESTS.join() },
      rounds: { type: 'string' },
      seconds: { type: 'string' },
      warm: { type: 'string' },
      quick: { type: 'boolean', default: false },
      'udp-args': { type: 'string', default: '' },
      from: { type: 'string' },
      json: { type: 'boolean', default: false },
      markdown: { type: 'boolean', default: false },
      svg: { type: 'string' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) return 'help';
  const [rounds, seconds, warm] = values.quick ? ['1', '0.5', '0.2'] : ['3', '2', '0.5'];
  return {
    only: choice('only', values.only, VARIANTS),
    underlays: choice('underlay', values.underlay, UNDERLAYS),
    tests: choice('tests', values.tests, KNOWN_TESTS),
    rounds: whole('rounds', values.rounds ?? rounds, 1, 100),
    times: {
      seconds: decimal('seconds', values.seconds ?? seconds, 0.1, 600),
      warm: decimal('warm', values.warm ?? warm, 0, 60),
    },
    udpArgs: values['udp-args'].split(/\s+/).filter(Boolean),
    from: values.from?.split(',') ?? [],
    format: values.json ? 'json' : values.markdown ? 'markdown' : 'text',
    svg: values.svg,
  };
}

/** How fast pods of two hosts talk to each other, by the ways there are for it, compared within the same rounds. */
export async function datapath(argv: string[]): Promise<void> {
  const options = parseOptions(argv);
  if (options === 'help') {
    process.stdout.write(USAGE);
    return;
  }
  const samples = options.from.length > 0 ? merged<Sample>(options.from) : await measure(options);
  if (options.svg !== undefined) writeFileSync(options.svg, ratiosSvg(samples));
  if (options.format === 'json') {
    process.stdout.write(`${JSON.stringify({ times: options.times, samples }, null, 1)}\n`);
  } else {
    const render = options.format === 'markdown' ? markdown : (rows: string[][]) => table(rows);
    process.stdout.write(`${tables(samples).map(render).join('\n\n')}\n`);
  }
}

async function measure(options: Options): Promise<Sample[]> {
  warnIfBusy();
  const samples: Sample[] = [];
  for (const underlay of options.underlays) {
    process.stderr.write(`setting up ${options.only.join(', ')} on ${underlay}\n`);
    await using stack = new AsyncDisposableStack();
    const pairs = await makePairs(stack, underlay, options);
    for (let round = 1; round <= options.rounds; round++) {
      for (const test of options.tests) {
        // Whoever is first in one round is last in the next.
        for (const i of pairs.keys()) {
          const pair = pairs[(i + round - 1) % pairs.length]!;
          const figures = await RUN[test](pair, options.times);
          samples.push({ underlay, round, test, variant: pair.variant, figures });
          process.stderr.write(`${underlay} ${round} ${test} ${pair.variant}: ${brief(figures, 4)}\n`);
        }
      }
    }
  }
  return samples;
}

/** All at once, all of them disposed of by `stack`, also when one cannot be made. */
async function makePairs(
  stack: AsyncDisposableStack,
  underlay: UnderlayName,
  { only, udpArgs }: Options,
): Promise<Pair[]> {
  const made = await Promise.allSettled(
    only.map((variant) => makePair(variant, underlay, { args: udpArgs })),
  );
  for (const each of made) if (each.status === 'fulfilled') stack.use(each.value.cluster);
  return made.map((each) => {
    if (each.status === 'rejected') throw each.reason;
    return each.value;
  });
}
