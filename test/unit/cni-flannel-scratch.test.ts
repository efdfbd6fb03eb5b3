import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { listScratch, loadScratch, removeScratch, saveScratch } from '../../src/cni/flannel/scratch.ts';

/** The delegates' configurations, kept for their DEL: in flannel's files, and for each interface of a container. */

let top: string;
let dir: string;
beforeEach(() => {
  top = mkdtempSync(join(tmpdir(), 'loden-scratch-'));
  dir = join(top, 'cni', 'flannel');
});
afterEach(() => rmSync(top, { recursive: true }));

const ETH0 = { containerId: 'c1', ifname: 'eth0' };
/** What no test looks at closer. */
const MARK = { containerID: 'c1', ifname: 'eth0', state: 'adding', since: expect.any(Number) };
const ETH1 = { containerId: 'c1', ifname: 'eth1' };
const config = (name: string, more: object = {}) => ({
  name,
  type: 'bridge',
  ipam: { type: 'host-local' },
  ...more,
});
const file = (name: string) => JSON.parse(readFileSync(join(dir, name), 'utf8'));
const names = () => readdirSync(dir).toSorted();
/** As flannel's plugin keeps one. */
const flannels = (containerId: string, content: unknown) =>
  writeFileSync(join(dir, containerId), typeof content === 'string' ? content : JSON.stringify(content));

test("the first interface has flannel's name for its file, the next one its own", async () => {
  await saveScratch(dir, ETH0, config('a', { mtu: 1450 }));
  await saveScratch(dir, ETH1, config('b'));
  expect(names()).toEqual(['c1', 'c1:eth1']);
  expect(file('c1')).toEqual({ ...config('a', { mtu: 1450 }), loden: MARK });
  expect(statSync(join(dir, 'c1')).mode & 0o7777).toBe(0o600);
  expect(statSync(join(dir, 'c1:eth1')).mode & 0o7777).toBe(0o600);
  expect(statSync(dir).mode & 0o7777).toBe(0o700);
  // The mark is not the delegate's business.
  expect(await loadScratch(dir, ETH0, 'a')).toMatchObject({
    path: join(dir, 'c1'),
    id: ETH0,
    config: config('a', { mtu: 1450 }),
    state: 'adding',
  });
  expect(await loadScratch(dir, ETH1, 'b')).toMatchObject({ id: ETH1, config: config('b') });
  expect(await loadScratch(dir, { ...ETH0, ifname: 'eth2' }, 'a')).toBeUndefined();
  expect(await loadScratch(dir, { ...ETH0, containerId: 'c2' }, 'a')).toBeUndefined();
});

test('nothing was kept, not even a directory', async () => {
  expect(await loadScratch(dir, ETH0, 'a')).toBeUndefined();
  expect(await listScratch(dir, 'a')).toEqual([]);
});

test('the same attachment again replaces its own, wherever that is', async () => {
  await saveScratch(dir, ETH0, config('a'));
  await saveScratch(dir, ETH1, config('b'));
  await saveScratch(dir, ETH0, config('a', { mtu: 1 }));
  await saveScratch(dir, ETH1, config('b', { mtu: 2 }));
  expect(names()).toEqual(['c1', 'c1:eth1']);
  expect((await loadScratch(dir, ETH0, 'a'))?.config).toEqual(config('a', { mtu: 1 }));
  expect((await loadScratch(dir, ETH1, 'b'))?.config).toEqual(config('b', { mtu: 2 }));
  // Once the first is gone its name is free: what is kept there then is the only one of that interface.
  await removeScratch((await loadScratch(dir, ETH0, 'a'))!);
  await saveScratch(dir, ETH1, config('b', { mtu: 3 }));
  expect(names()).toEqual(['c1']);
  expect((await loadScratch(dir, ETH1, 'b'))?.config).toEqual(config('b', { mtu: 3 }));
});

test('removing one leaves the other, and may be done twice', async () => {
  const first = await saveScratch(dir, ETH0, config('a'));
  await saveScratch(dir, ETH1, config('b'));
  await removeScratch(first);
  await removeScratch(first);
  expect(names()).toEqual(['c1:eth1']);
  expect(await loadScratch(dir, ETH0, 'a')).toBeUndefined();
  expect(await loadScratch(dir, ETH1, 'b')).toMatchObject({ id: ETH1 });
});

describe("flannel's own file", () => {
  beforeEach(async () => {
    await removeScratch(await saveScratch(dir, ETH0, config('x')));
    flannels('c1', config('a', { mtu: 1472 }));
  });

  test('is found for any interface of the network it is of', async () => {
    for (const id of [ETH0, ETH1])
      expect(await loadScratch(dir, id, 'a')).toEqual({
        state: 'attached',
        since: statSync(join(dir, 'c1')).mtimeMs,
        path: join(dir, 'c1'),
        config: config('a', { mtu: 1472 }),
      });
    expect(await loadScratch(dir, ETH0, 'b')).toBeUndefined();
  });

  test('is never written over', async () => {
    await saveScratch(dir, ETH1, config('b'));
    expect(names()).toEqual(['c1', 'c1:eth1']);
    expect(file('c1')).toEqual(config('a', { mtu: 1472 }));
    expect(await loadScratch(dir, ETH1, 'b')).toMatchObject({ id: ETH1 });
  });

  test('gives way to what was kept of the very interface', async () => {
    await saveScratch(dir, ETH1, config('a'));
    expect(await loadScratch(dir, ETH1, 'a')).toMatchObject({ id: ETH1, path: join(dir, 'c1:eth1') });
    expect(await loadScratch(dir, ETH0, 'a')).toMatchObject({ path: join(dir, 'c1') });
  });

  test('is not what is listed: only a DEL of its container ends it', async () => {
    await saveScratch(dir, ETH1, config('a'));
    expect((await listScratch(dir, 'a')).map((s) => s.id)).toEqual([ETH1]);
  });
});

test.each([
  '',
  '{',
  'null',
  '[]',
  '{"name":"a"}',
  '{"type":"bridge"}',
  '{"name":"a","type":"../x"}',
  '{"name":5,"type":"bridge"}',
])(
  'a file of %j is nothing anybody needs: a DEL goes by without it, an ADD takes its place',
  async (content) => {
    await removeScratch(await saveScratch(dir, ETH0, config('x')));
    flannels('c1', content);
    expect(await loadScratch(dir, ETH0, 'a')).toBeUndefined();
    expect(await listScratch(dir, 'a')).toEqual([]);
    await saveScratch(dir, ETH0, config('a'));
    expect(names()).toEqual(['c1']);
    expect(await loadScratch(dir, ETH0, 'a')).toMatchObject({ id: ETH0 });
  },
);

test('the list is of one network, and passes over what is left of a killed daemon', async () => {
  await saveScratch(dir, ETH0, config('a'));
  await saveScratch(dir, ETH1, config('b'));
  await saveScratch(dir, { containerId: 'c2', ifname: 'eth0' }, config('a'));
  flannels('.0123456789abcdef.tmp', { ...config('a'), loden: { containerID: 'c9', ifname: 'eth0' } });
  const ids = (await listScratch(dir, 'a')).map((s) => s.id!.containerId);
  expect(ids.toSorted()).toEqual(['c1', 'c2']);
});

test('ids may be longer than names of files', async () => {
  const ids = ['x'.repeat(200), 'x'.repeat(201), `${'x'.repeat(201)}y`, 'x'.repeat(5000)];
  for (const containerId of ids)
    for (const ifname of ['eth0', 'aaaaaaaaaaaaaaa'])
      await saveScratch(dir, { containerId, ifname }, config(`n${containerId.length}`));
  expect(names()).toHaveLength(8);
  for (const containerId of ids)
    for (const ifname of ['eth0', 'aaaaaaaaaaaaaaa'])
      expect(await loadScratch(dir, { containerId, ifname }, 'any')).toMatchObject({
        id: { containerId, ifname },
        config: config(`n${containerId.length}`),
      });
  // flannel's name, as long as that is possible.
  expect(names()).toContain('x'.repeat(200));
});

test('two interfaces at once get a file each', async () => {
  for (let round = 0; round < 20; round++) {
    const ids = ['eth0', 'eth1', 'eth2'].map((ifname) => ({ containerId: `r${round}`, ifname }));
    await Promise.all(ids.map((id) => saveScratch(dir, id, config(id.ifname))));
    for (const id of ids) expect((await loadScratch(dir, id, id.ifname))?.config).toEqual(config(id.ifname));
  }
  expect(names()).toHaveLength(60);
});

test('any sequence of saving and removing keeps exactly what was not removed', async () => {
  const step = fc.record({
    save: fc.boolean(),
    containerId: fc.constantFrom('a', 'b'),
    ifname: fc.constantFrom('e0', 'e1', 'e2'),
  });
  let run = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 20 }), async (steps) => {
      const at = join(top, String(run++));
      const model = new Map<string, number>();
      for (const [i, { save, ...id }] of steps.entries()) {
        const key = `${id.containerId}:${id.ifname}`;
        if (save) {
          await saveScratch(at, id, config('n', { mtu: i }));
          model.set(key, i);
        } else {
          const scratch = await loadScratch(at, id, 'n');
          expect(scratch?.config.mtu).toBe(model.get(key));
          if (scratch) await removeScratch(scratch);
          model.delete(key);
        }
      }
      const listed = (await listScratch(at, 'n')).map((s) => [
        `${s.id!.containerId}:${s.id!.ifname}`,
        s.config.mtu,
      ]);
      expect(new Map(listed as [string, number][])).toEqual(model);
      expect(listed).toHaveLength(model.size);
    }),
    { numRuns: 60 },
  );
});

test('what cannot be written or read is an error that says where', async () => {
  writeFileSync(join(top, 'cni'), 'a file in the place of a directory');
  await expect(saveScratch(dir, ETH0, config('a'))).rejects.toMatchObject({
    code: 105,
    message: expect.stringContaining(`cannot keep the delegate's configuration in ${dir}: `),
  });
  await expect(loadScratch(dir, ETH0, 'a')).rejects.toMatchObject({ code: 105 });
  await expect(
    removeScratch({ path: join(dir, 'c1'), config: config('a'), state: 'attached', since: 0 }),
  ).rejects.toMatchObject({
    code: 105,
  });
  await expect(saveScratch(top, ETH0, config('a', { x: 'y'.repeat(20_000) }))).rejects.toMatchObject({
    code: 7,
  });
  expect(readdirSync(top)).toEqual(['cni']);
});

test('a file of the greatest length can be read again', async () => {
  const long = config('a', { x: '語'.repeat(19_800) });
  await saveScratch(dir, ETH0, long);
  expect((await loadScratch(dir, ETH0, 'a'))?.config).toEqual(long);
});
