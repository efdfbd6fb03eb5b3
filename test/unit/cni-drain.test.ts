import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { DelQueue, type DrainParts } from '../../src/cni/drain.ts';
import { CODE } from '../../src/cni/errors.ts';
import { keyOf } from '../../src/cni/records.ts';
import type { DelegateOutcome, PluginAnswer, PluginCall } from '../../src/cni/types.ts';
import { thisProcess } from '../support/owner.ts';
import { until } from '../support/proc.ts';

let dir: string;
let queue: DelQueue;
/** Containers in the order in which their DELs were asked for. */
let asked: string[];
let logs: { level: string; msg: string }[];
let answer: (id: string, call: PluginCall) => PluginAnswer | Promise<PluginAnswer>;

const done: PluginAnswer = { kind: 'done' };
const refused = (code: number): PluginAnswer => ({
  kind: 'error',
  error: { cniVersion: '1.0.0', code, msg: `code ${code}` },
});
const say = (level: string) => (_: unknown, msg: string) => void logs.push({ level, msg });
const open = (more: Partial<DrainParts> = {}): DelQueue => {
  queue = new DelQueue({
    dir,
    handle: async (call) => {
      asked.push(call.env.CNI_CONTAINERID!);
      return await answer(call.env.CNI_CONTAINERID!, call);
    },
    runDelegate: async () => ({ exit: 0, stdout: '' }),
    log: { info: say('info'), warn: say('warn'), error: say('error') },
    backoff: { first: 600_000, most: 600_000 },
    ...more,
  });
  return queue;
};
const key = (containerId: string) => keyOf({ containerId, ifname: 'eth0' });
const text = (id: string, more: object = {}) =>
  JSON.stringify({
    env: { CNI_COMMAND: 'DEL', CNI_CONTAINERID: id, CNI_IFNAME: 'eth0', ...more },
    stdin: '{"name":"pods"}',
  });
/** As the plugin writes one, `ms` after the epoch. */
const put = (id: string, ms: number, content = text(id)) => {
  const name = `${BigInt(ms) * 1_000_000n}-7.json`;
  writeFileSync(join(dir, `.${name}`), content);
  renameSync(join(dir, `.${name}`), join(dir, name));
  return name;
};
/** What resolves when a DEL of this container is asked for, and keeps it so until told. */
const held = (id: string) => {
  const [reached, go] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const before = answer;
  answer = async (which, call) => {
    if (which !== id) return await before(which, call);
    reached.resolve();
    await go.promise;
    return done;
  };
  return { reached: reached.promise, go: go.resolve };
};
const files = () => readdirSync(dir).sort();

beforeEach(() => {
  dir = join(thisProcess().tempDir('queue'), 'cni', 'del');
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  [asked, logs, answer] = [[], [], () => done];
});
afterEach(() => queue.stop());

test('DELs are carried out, each once; one that comes while we run too', async () => {
  put('b', 2000);
  put('a', 1000);
  writeFileSync(join(dir, 'README'), '');
  await open().start();
  expect([asked.toSorted(), files(), queue.waiting]).toEqual([['a', 'b'], ['README'], 0]);
  put('c', 3000);
  await until('the late one', () => asked.length === 3 && files().length === 1);
});

test('the oldest of an attachment is first by its time, not by its name', async () => {
  const times = Array.from({ length: 40 }, (_, i) => 1 + ((i * 37) % 1200));
  for (const ms of times) put('a', ms);
  const moments: number[] = [];
  const handle = async (_: PluginCall, at: number) => {
    moments.push(at);
    return done;
  };
  await open({ handle }).start();
  expect(moments).toEqual(times.toSorted((a, b) => a - b));
});

test('those of one attachment come one after the other, others do not wait for a slow one', async () => {
  const slow = held('a');
  put('a', 1000);
  put('a', 1500);
  for (let i = 0; i < 20; i++) put(`x${i}`, 2000 + i);
  const starting = open().start();
  await slow.reached;
  await until('the others', () => asked.filter((id) => id.startsWith('x')).length === 20);
  expect(asked.filter((id) => id === 'a')).toHaveLength(1);
  slow.go();
  await starting;
  expect([asked.filter((id) => id === 'a').length, files()]).toEqual([2, []]);
});

test('no more than eight attachments at once', async () => {
  let [inside, most] = [0, 0];
  answer = async () => {
    most = Math.max(most, ++inside);
    await sleep(5);
    inside--;
    return done;
  };
  for (let i = 0; i < 40; i++) put(`x${i}`, 1000 + i);
  await open().start();
  expect([most, files()]).toEqual([8, []]);
});

describe('a call of an attachment', () => {
  test('has its own DELs carried out first, though a slow one and many others are before it', async () => {
    const slow = Array.from({ length: 8 }, (_, i) => held(`s${i}`));
    for (let i = 0; i < 8; i++) put(`s${i}`, 1000 + i);
    put('mine', 9000);
    const starting = open().start();
    await Promise.all(slow.map((s) => s.reached));
    expect(asked).not.toContain('mine');
    await queue.before(key('mine'));
    expect([asked.at(-1), files().length]).toEqual(['mine', 8]);
    for (const s of slow) s.go();
    await starting;
    expect(asked.filter((id) => id === 'mine')).toHaveLength(1);
  });

  test('waits until it is known what is queued', async () => {
    for (let i = 0; i < 300; i++) put(`x${i}`, 1000 + i);
    await sleep(60);
    const starting = open().start();
    while (!asked.includes('x299')) {
      expect(queue.before(key('x299'))).toBeDefined();
      await nextTurn();
    }
    await starting;
    expect(asked.filter((id) => id === 'x299')).toHaveLength(1);
  });

  test('waits for its own that is under way', async () => {
    const slow = held('mine');
    put('mine', 1000);
    const starting = open().start();
    await slow.reached;
    let isPast = false;
    const waiting = queue.before(key('mine'))!.then(() => {
      isPast = true;
    });
    await sleep(20);
    expect(isPast).toBe(false);
    slow.go();
    await Promise.all([waiting, starting]);
    expect(asked).toEqual(['mine']);
  });

  test('has what waits to be tried again tried now', async () => {
    answer = () => (asked.length === 1 ? refused(CODE.kernel) : done);
    put('mine', 1000);
    await open().start();
    expect([asked.length, queue.waiting]).toEqual([1, 1]);
    await queue.before(key('mine'));
    expect([asked.length, files()]).toEqual([2, []]);
  });

  test('costs nothing where nothing is queued', async () => {
    await open().start();
    await sleep(60);
    await queue.before(key('mine'));
    expect(queue.before(key('mine'))).toBeUndefined();
  });

  test('that has succeeded outdates what was queued of it before, and that alone', async () => {
    answer = () => refused(CODE.tryAgainLater);
    put('mine', 1000);
    const later = put('mine', 5000);
    const network = put('mine', 1500, text('mine').replace('pods', 'other'));
    const other = put('other', 1000 + 1);
    await open().start();
    await queue.done(key('mine'), 'pods', 3000);
    expect(files()).toEqual([later, network, other].sort());
    expect(queue.waiting).toBe(3);
  });

  test('a queued one that has succeeded outdates those before it', async () => {
    answer = () => (asked.length === 1 ? refused(CODE.tryAgainLater) : done);
    put('mine', 1000);
    put('mine', 2000);
    await open().start();
    expect([asked.length, files()]).toEqual([2, []]);
  });
});

describe('what fails', () => {
  test.each([CODE.tryAgainLater, CODE.kernel, CODE.files, CODE.internal])(
    'with %d is tried again, more and more slowly',
    async (code) => {
      const times: number[] = [];
      answer = () => {
        times.push(performance.now());
        return times.length < 4 ? refused(code) : done;
      };
      put('a', 1000);
      await open({ backoff: { first: 20, most: 1000 } }).start();
      expect([queue.waiting, times.length]).toEqual([1, 1]);
      await until('it to be done', () => files().length === 0);
      const waits = times.slice(1).map((t, i) => t - times[i]!);
      expect(waits.every((w, i) => w >= 20 * 2 ** i)).toBe(true);
      // What is the same is said once.
      expect(logs.filter((l) => l.level === 'error')).toHaveLength(1);
    },
  );

  test.each([1, 4, 6, 7, 8])('with %d is set aside, and said once', async (code) => {
    answer = () => refused(code);
    const name = put('a', 1000);
    await open().start();
    await queue.drain();
    expect([files(), queue.waiting, asked.length]).toEqual([[`${name}.bad`], 0, 1]);
    expect(logs).toEqual([{ level: 'error', msg: expect.stringContaining(`code ${code}`) }]);
  });

  test('in a delegate is tried again, whatever number the delegate gives', async () => {
    answer = (_, { delegated }) =>
      delegated
        ? refused(CODE.invalidConfig)
        : { kind: 'delegates', delegates: [{ plugin: 'x', env: {}, config: {} }] };
    const name = put('a', 1000);
    const outcome: DelegateOutcome = { exit: 1, stdout: '' };
    await open({ runDelegate: async () => outcome }).start();
    expect([files(), asked.length]).toEqual([[name], 2]);
    answer = () => done;
    await queue.before(key('a'));
    expect(files()).toEqual([]);
  });

  test('to be read is set aside; a hundred of such are kept', async () => {
    const [broken, noDel] = [put('a', 1000, '{"env":'), put('b', 2000, text('b', { CNI_COMMAND: 'ADD' }))];
    await open().start();
    expect([files(), asked]).toEqual([[`${broken}.bad`, `${noDel}.bad`].sort(), []]);
    for (let i = 0; i < 150; i++) writeFileSync(join(dir, `${10_000 + i}-1.json.bad`), '');
    await queue.drain();
    expect(files()).toHaveLength(100);
    expect(files().at(-1)).toContain('.bad');
  });
});

describe('the directory', () => {
  test('that cannot be watched is drained all the same, and looked at with each call', async () => {
    put('a', 1000);
    const busy = () => {
      throw Object.assign(new Error('too many'), { code: 'EMFILE' });
    };
    await open({ watch: busy as unknown as typeof import('node:fs').watch }).start();
    expect([asked, files()]).toEqual([['a'], []]);
    put('b', 2000);
    put('mine', 3000);
    await queue.before(key('mine'));
    expect(asked).toContain('mine');
    await until('the other', () => asked.includes('b') && files().length === 0);
    expect(logs.filter((l) => l.level === 'warn')).toEqual([
      { level: 'warn', msg: expect.stringContaining('cannot watch') },
    ]);
  });

  test.each([
    ['others may write', () => chmodSync(dir, 0o702), /others may write.*702/],
    ['its group may write', () => chmodSync(dir, 0o770), /others may write.*770/],
    ['another owns it', () => chownSync(dir, 65534, 0), /user 65534 owns it/],
    [
      'a file is in its place',
      () => {
        rmSync(dir, { recursive: true });
        writeFileSync(dir, '');
      },
      /del/,
    ],
  ])('is refused loudly where %s', async (_, spoil, words) => {
    put('a', 1000);
    spoil();
    await open().start();
    await queue.before(key('a'));
    await queue.drain();
    expect([asked, queue.waiting]).toEqual([[], 0]);
    expect(queue.problem).toMatch(words);
    expect(logs.filter((l) => l.level === 'error')).toHaveLength(1);
  });

  test('is made, for nobody else, and used again when it has been put right', async () => {
    rmSync(dir, { recursive: true });
    await open().start();
    expect(existsSync(dir)).toBe(true);
    chmodSync(dir, 0o777);
    put('a', 1000);
    await queue.before(key('a'));
    expect(asked).toEqual([]);
    chmodSync(dir, 0o700);
    await queue.before(key('a'));
    expect([asked, queue.problem, files()]).toEqual([['a'], undefined, []]);
  });

  test('may be fuller than is looked at at once', async () => {
    for (let i = 0; i < 4200; i++) put(`x${i}`, 10_000 + i);
    await open().start();
    await until('all of them', () => files().length === 0, 20_000);
    expect(new Set(asked).size).toBe(4200);
  }, 30_000);
});

test('a stop leaves in the queue what is not done', async () => {
  const slow = held('a');
  put('a', 1000);
  put('a', 1001);
  const starting = open().start();
  await slow.reached;
  const stopping = queue.stop();
  slow.go();
  await Promise.all([starting, stopping]);
  expect([asked, files().length]).toEqual([['a'], 1]);
});
