import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Context } from '../../src/cni/context.ts';
import type { StoreEntry } from '../../src/cni/ipam/entry.ts';
import { KeyedMutex } from '../../src/cni/mutex.ts';
import { Recovery } from '../../src/cni/recovery.ts';
import { recallBoot, rememberBoot } from '../../src/cni/sweep.ts';
import { addr } from '../../src/net/addr.ts';
import { prefix } from '../../src/net/prefix.ts';
import { until } from '../support/proc.ts';

/** What a start after a reboot takes for dead, by the times of files, and that what fails is tried again. */

let dir: string;
let entries: Map<string, number>;
let broken: number;
let tidied: number;
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'loden-recovery-'));
  entries = new Map();
  broken = 0;
  tidied = 0;
});
afterEach(() => rmSync(dir, { recursive: true }));

const OVERLAY = [prefix('10.42.0.0/16')];
const HOUR = 3_600_000;
const NOW = 1_700_000_000_000;
const file = () => join(dir, 'cni/boot');
const entry = (name: string, mtimeMs: number): StoreEntry => ({
  address: addr(name),
  owner: 'c\r\neth0',
  name,
  mtimeMs,
});

/** Files of one store; `broken` times it cannot be listed. */
const context = () =>
  ({
    records: { all: () => [] },
    engine: {
      hostEnds: async () => new Set(),
      settle: async () => void tidied++,
    },
    mutex: new KeyedMutex(),
    ipam: {
      networks: async () => ['pods'],
      list: async () => {
        if (broken-- > 0) throw new Error('locked');
        return [...entries].map(([name, at]) => entry(name, at));
      },
      drop: async (_: unknown, dead: readonly StoreEntry[]) => {
        for (const e of dead) entries.delete(e.name);
        return dead.map((e) => e.address);
      },
    },
    log: { info: () => {}, warn: () => {}, error: () => {} },
  }) as unknown as Context;

const start = async (boot: { id: string; since: number }) => {
  const recovery = new Recovery(context(), boot, dir, 5);
  await recovery.run();
  await recovery.know(OVERLAY);
  return recovery;
};

test('dead is what was noted in the boot before: neither in this one, nor by a clock that was wrong', async () => {
  await rememberBoot(file(), { id: 'one', since: NOW - 10 * HOUR, dataDirs: [] });
  const since = NOW - HOUR;
  entries.set('10.42.1.2', NOW - 5 * HOUR);
  entries.set('10.42.1.3', NOW - HOUR / 2);
  // A node without a clock of its own: attached in this boot, before the clock was put right.
  entries.set('10.42.1.4', NOW - 50_000 * HOUR);
  entries.set('10.99.1.2', NOW - 5 * HOUR);
  const recovery = await start({ id: 'two', since });
  expect([...entries.keys()]).toEqual(['10.42.1.3', '10.42.1.4', '10.99.1.2']);
  // What bridges have kept for them goes too.
  expect(tidied).toBeGreaterThan(0);
  expect(await recallBoot(file())).toEqual({ id: 'two', since, dataDirs: [] });
  await recovery.stop();
});

test('a store that cannot be swept is swept later, and until then the boot is not done', async () => {
  await rememberBoot(file(), { id: 'one', since: NOW - 10 * HOUR, dataDirs: [] });
  entries.set('10.42.1.2', NOW - 5 * HOUR);
  broken = 3;
  const recovery = await start({ id: 'two', since: NOW - HOUR });
  expect([entries.size, readFileSync(file(), 'utf8').startsWith('one ')]).toEqual([1, true]);
  await until('it to be swept', () => entries.size === 0);
  await until('that to be noted', () => readFileSync(file(), 'utf8').startsWith('two '));
  await recovery.stop();
});

test('with a clock that is not set yet nothing is swept until it is', async () => {
  await rememberBoot(file(), { id: 'one', since: NOW - 10 * HOUR, dataDirs: [] });
  entries.set('10.42.1.2', NOW - 5 * HOUR);
  const boot = { id: 'two', since: NOW - 50_000 * HOUR };
  const recovery = await start(boot);
  expect([entries.size, (await recallBoot(file()))?.id]).toEqual([1, 'one']);
  boot.since = NOW - HOUR;
  await until('it to be swept', () => entries.size === 0);
  await recovery.stop();
});

test('attachments that cannot be looked at are looked at later', async () => {
  let looks = 0;
  const ctx = context();
  Object.assign(ctx.engine, {
    hostEnds: async () => {
      if (++looks < 3) throw new Error('no buffer space');
      return new Set();
    },
  });
  const recovery = new Recovery(ctx, { id: 'one', since: NOW }, dir, 5);
  await recovery.run();
  expect([looks, recovery.isDone]).toEqual([1, true]);
  await until('a third look', () => looks === 3);
  await recovery.stop();
});

test('what an earlier version has noted is read', async () => {
  await rememberBoot(file(), { id: 'one', since: undefined, dataDirs: ['/a b', '/c'] });
  expect(await recallBoot(file())).toEqual({ id: 'one', since: 0, dataDirs: ['/a b', '/c'] });
});
