import {
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, expect, test } from 'vitest';
import { rangeOf } from '../../src/cni/ipam/choose.ts';
import { Ipam } from '../../src/cni/ipam/ipam.ts';
import { Spares } from '../../src/cni/spares.ts';
import { formatAddr } from '../../src/net/addr.ts';
import { prefix } from '../../src/net/prefix.ts';

const root = mkdtempSync(join(tmpdir(), 'loden-spares-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

let dir: string;
let spares: string;
let count = 0;
beforeEach(() => {
  dir = join(root, `${++count}`);
  spares = join(dir, 'spares');
  mkdirSync(join(dir, 'pods'), { recursive: true });
});
const file = (name: string) => join(dir, 'pods', name);
const made = (name: string, text = name) => {
  writeFileSync(file(name), text);
  return file(name);
};
const at = () => ({ dataDir: dir, network: 'pods' });
const owner = (containerId: string) => ({ containerId, ifname: 'eth0' });
const take = async (ipam: Ipam, containerId: string) => {
  const ranges = [rangeOf(prefix('10.42.1.0/24'))];
  const [a] = await ipam.reserve(at(), { owner: owner(containerId), ranges, requested: [] });
  return formatAddr(a!);
};

test('what was put away is taken again, in this life and the next', () => {
  const first = new Spares(spares);
  expect(first.take()).toBeUndefined();
  const { ino } = statSync(made('a'));
  first.put(file('a'));
  expect(existsSync(file('a'))).toBe(false);
  first.put(file('a'));
  const second = new Spares(spares);
  second.put(made('b'));
  expect(readdirSync(spares).sort()).toEqual(['0', '1']);
  const taken = [second.take()!, second.take()!];
  expect(taken.map((path) => readFileSync(path, 'utf8')).sort()).toEqual(['a', 'b']);
  expect(taken.map((path) => statSync(path).ino)).toContain(ino);
  expect(second.take()).toBeUndefined();
});

test('no more than some are kept', () => {
  const kept = new Spares(spares);
  for (let i = 0; i < 200; i++) kept.put(made(`${i}`));
  expect(readdirSync(spares)).toHaveLength(128);
  expect(readdirSync(join(dir, 'pods'))).toEqual([]);
});

test('a directory that is gone, or cannot be made, is no failure', () => {
  const gone = new Spares(spares);
  gone.put(made('a'));
  rmSync(spares, { recursive: true });
  gone.put(made('b'));
  expect(existsSync(file('b'))).toBe(false);
  writeFileSync(spares, '');
  const none = new Spares(join(spares, 'below'));
  none.put(made('c'));
  expect(existsSync(file('c'))).toBe(false);
  expect(none.take()).toBeUndefined();
});

test('an address gets the file of an earlier one, with its own content', async () => {
  const ipam = new Ipam(spares);
  expect(await take(ipam, 'a-long-name-of-a-container')).toBe('10.42.1.2');
  const { ino } = statSync(file('10.42.1.2'));
  await ipam.release(at(), owner('a-long-name-of-a-container'), true);
  expect(readdirSync(spares)).toHaveLength(1);
  expect(await take(ipam, 'b')).toBe('10.42.1.3');
  expect(statSync(file('10.42.1.3'))).toMatchObject({ ino, nlink: 1 });
  expect(readFileSync(file('10.42.1.3'), 'latin1')).toBe('b\r\neth0');
  expect(readdirSync(spares)).toEqual([]);
});

test('a file that was given its new name by who was killed then is not written again', async () => {
  mkdirSync(spares);
  made('10.42.1.2', 'a\r\neth0');
  linkSync(file('10.42.1.2'), join(spares, '7'));
  expect(await take(new Ipam(spares), 'b')).toBe('10.42.1.3');
  expect(readFileSync(file('10.42.1.2'), 'latin1')).toBe('a\r\neth0');
  expect(readFileSync(file('10.42.1.3'), 'latin1')).toBe('b\r\neth0');
  expect(readdirSync(spares)).toEqual([]);
});

test('what lies there and is no plain file is left alone, a file that has gone is made anew', async () => {
  mkdirSync(join(spares, '3'), { recursive: true });
  writeFileSync(join(spares, 'note'), 'mine');
  const ipam = new Ipam(spares);
  await take(ipam, 'a');
  await ipam.release(at(), owner('a'), true);
  rmSync(join(spares, '4'));
  expect(await take(ipam, 'b')).toBe('10.42.1.3');
  expect(readFileSync(file('10.42.1.3'), 'latin1')).toBe('b\r\neth0');
  expect(readdirSync(spares).sort()).toEqual(['3', 'note']);
});

test('the last address is as others leave it', async () => {
  const ipam = new Ipam(spares);
  expect(await take(ipam, 'a')).toBe('10.42.1.2');
  made('10.42.1.9', 'other\r\neth0');
  made('last_reserved_ip.0', '10.42.1.9');
  expect(await take(ipam, 'b')).toBe('10.42.1.10');
});
