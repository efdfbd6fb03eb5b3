import fc from 'fast-check';
import { afterAll, expect, test } from 'vitest';
import { FakeKernel } from '../fake/kernel.ts';
import { type Change, carryOut, change, OTHERS, portrait, START, tell } from '../fake/sequence.ts';
import { kernelIn } from '../support/kernelIn.ts';
import { Netns } from '../support/netns.ts';
import { thisProcess } from '../support/owner.ts';

/** A new small world twice: in a namespace and in the model. The others' devices are such as are up at once. */
async function worlds() {
  const netns = await Netns.create(thisProcess(), 'model');
  await netns.ipBatch(
    OTHERS.flatMap((name, i) => [
      `link add ${name} mtu 1500 type vxlan id ${100 + i} dstport 4789`,
      `link set ${name} up`,
    ]),
  );
  const real = kernelIn(netns);
  const fake = new FakeKernel();
  for (const name of OTHERS) fake.addDevice(name);
  return {
    real,
    fake,
    async [Symbol.asyncDispose]() {
      real.close();
      await netns[Symbol.asyncDispose]();
    },
  };
}

afterAll(() => thisProcess().remove());

const SEED = Number(process.env.LODEN_MODEL_SEED ?? 20_260_101);

test('the model refuses and does what the kernel refuses and does', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(change, { minLength: 10, maxLength: 50 }), async (changes: Change[]) => {
      await using both = await worlds();
      const told: string[] = [];
      for (const what of [...START, ...changes]) {
        const said = { real: await carryOut(both.real, what), fake: await carryOut(both.fake, what) };
        told.push(`${tell(what)}: ${said.real}`);
        expect(said.fake, told.join('\n')).toBe(said.real);
        expect(await portrait(both.fake), told.join('\n')).toEqual(await portrait(both.real));
      }
    }),
    { numRuns: Number(process.env.LODEN_MODEL_RUNS ?? 60), seed: SEED, endOnFailure: false },
  );
}, 600_000);
