import { parseArgs } from 'node:util';
import { Cluster } from '../test/support/cluster.ts';
import { Netns } from '../test/support/netns.ts';
import { table } from '../test/support/table.ts';
import { type Sample, VARIANTS, type VariantName } from './cniFigures.ts';
import { tables } from './cniReport.ts';
import { measure } from './cniTests.ts';
import { makeVariant, type Variant } from './cniVariants.ts';
import { markdown } from './datapathReport.ts';
import { choice, warnIfBusy, whole } from './options.ts';
import { brief, merged } from './samples.ts';

const USAGE = `npm run bench -- cni [options]

  --only V[,V…]    ${VARIANTS.join(', ')} (all)
  --pods N         attached and detached one after the other; with 100 or more, also 100 at once (100)
  --rounds N       each takes every variant in turn (5)
  --quick          one round, 20 pods
  --from F[,F…]    measure nothing: take what --json wrote into these files, rounds counted on
  --json           as JSON
  --markdown       as tables for the docs
`;

interface Options {
  readonly only: readonly VariantName[];
  readonly pods: number;
  readonly rounds: number;
  readonly from: readonly string[];
  readonly format: 'json' | 'markdown' | 'text';
}

function parseOptions(argv: string[]): Options | 'help' {
  const { values } = parseArgs({
    args: argv,
    options: {
      only: { type: 'string', default: VARIANTS.join() },
      pods: { type: 'string' },
      rounds: { type: 'string' },
      quick: { type: 'boolean', default: false },
      from: { type: 'string' },
      json: { type: 'boolean', default: false },
      markdown: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) return 'help';
  const [rounds, pods] = values.quick ? ['1', '20'] : ['5', '100'];
  return {
    only: choice('only', values.only, VARIANTS),
    // A /24 has 253 addresses for pods.
    pods: whole('pods', values.pods ?? pods, 2, 250),
    rounds: whole('rounds', values.rounds ?? rounds, 1, 100),
    from: values.from?.split(',') ?? [],
    format: values.json ? 'json' : values.markdown ? 'markdown' : 'text',
  };
}

/** How long a runtime waits for a pod's network, by our plugin and by the usual ones, compared within the same rounds. */
export async function cni(argv: string[]): Promise<void> {
  const options = parseOptions(argv);
  if (options === 'help') {
    process.stdout.write(USAGE);
    return;
  }
  const samples = options.from.length > 0 ? merged<Sample>(options.from) : await measureAll(options);
  if (options.format === 'json') {
    process.stdout.write(`${JSON.stringify({ pods: options.pods, samples }, null, 1)}\n`);
  } else {
    const render = options.format === 'markdown' ? markdown : (rows: string[][]) => table(rows);
    process.stdout.write(`${tables(samples).map(render).join('\n\n')}\n`);
  }
}

async function measureAll(options: Options): Promise<Sample[]> {
  warnIfBusy();
  process.stderr.write(`setting up ${options.only.join(', ')} and ${options.pods} pods\n`);
  await using cluster = await Cluster.create();
  const variants: Variant[] = [];
  for (const [i, name] of options.only.entries()) variants.push(await makeVariant(cluster, name, i));
  await using stack = new AsyncDisposableStack();
  const namespace = async (label: string) => stack.use(await Netns.create(cluster.owner, label));
  const pods: Netns[] = [];
  for (let i = 1; i <= options.pods; i++) pods.push(await namespace(`pod${i}`));
  const scratch = await namespace('scratch');

  const samples: Sample[] = [];
  for (let round = 1; round <= options.rounds; round++) {
    // Whoever is first in one round is last in the next.
    for (const i of variants.keys()) {
      const variant = variants[(i + round - 1) % variants.length]!;
      const figures = await measure(variant, pods, scratch);
      samples.push({ round, variant: variant.name, figures });
      process.stderr.write(`${round} ${variant.name}: ${brief(figures, 3)}\n`);
    }
  }
  return samples;
}
