import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  constants,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeEach, describe, expect, test } from 'vitest';
import { CODE } from '../../src/cni/errors.ts';
import {
  type AddressRange,
  capacity,
  choose,
  matchRequests,
  rangeOf,
  whyNot,
} from '../../src/cni/ipam/choose.ts';
import { Ipam } from '../../src/cni/ipam/ipam.ts';
import type { Reservation } from '../../src/cni/ipam/store.ts';
import { addr, formatAddr } from '../../src/net/addr.ts';
import { prefix } from '../../src/net/prefix.ts';

const dir = mkdtempSync(join(tmpdir(), 'loden-ipam-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

let dataDir: string;
let count = 0;
beforeEach(() => {
  dataDir = join(dir, `${++count}`, 'networks');
});

const pods = () => ({ dataDir, network: 'pods' });
const file = (name: string) => join(dataDir, 'pods', name);
const ranges = (...texts: string[]): AddressRange[] => texts.map((t) => rangeOf(prefix(t)));
const owner = (containerId: string, ifname = 'eth0') => ({ containerId, ifname });
const ask = (
  containerId: string,
  more: Partial<{ ifname: string; subnets: string[]; ips: string[] }> = {},
): Reservation => ({
  owner: owner(containerId, more.ifname),
  ranges: ranges(...(more.subnets ?? ['10.42.1.0/24'])),
  requested: (more.ips ?? []).map(addr),
});
const texts = (addresses: readonly Parameters<typeof formatAddr>[0][]) => addresses.map(formatAddr);

describe('choice', () => {
  const range = rangeOf(prefix('10.42.1.0/29'));
  const pick = (last: string | undefined, taken: string[]) => {
    const set = new Set(taken.map((t) => addr(t).value));
    const a = choose(range, last === undefined ? undefined : addr(last), (v) => set.has(v));
    return a && formatAddr(a);
  };

  test.each([
    [undefined, [], '10.42.1.2'],
    ['10.42.1.2', [], '10.42.1.3'],
    ['10.42.1.6', [], '10.42.1.2'],
    ['10.42.1.5', ['10.42.1.6', '10.42.1.2'], '10.42.1.3'],
    // What was last in another subnet, or is none of this one's, is no place to begin.
    ['10.42.9.4', [], '10.42.1.2'],
    ['10.42.1.7', [], '10.42.1.2'],
    ['10.42.1.0', [], '10.42.1.2'],
    ['10.42.1.4', ['10.42.1.2', '10.42.1.3', '10.42.1.5', '10.42.1.6'], '10.42.1.4'],
    ['10.42.1.4', ['10.42.1.2', '10.42.1.3', '10.42.1.4', '10.42.1.5', '10.42.1.6'], undefined],
  ])('after %s with %j taken: %s', (last, taken, expected) => expect(pick(last, taken)).toBe(expected));

  test('of IPv6 has no broadcast address, and ends in a subnet that could never be looked through', () => {
    const wide = rangeOf(prefix('fd00:42:0:1::/64'));
    expect(formatAddr(choose(wide, undefined, () => false)!)).toBe('fd00:42:0:1::2');
    const narrow = rangeOf(prefix('fd00::/126'));
    expect(formatAddr(choose(narrow, addr('fd00::2'), () => false)!)).toBe('fd00::3');
    expect(capacity(wide)).toBe(2n ** 64n - 2n);
  });

  test.each([
    ['10.0.0.0/24', 253n],
    ['10.0.0.0/30', 1n],
    ['10.0.0.0/31', 0n],
    ['10.0.0.0/32', 0n],
    ['fd00::/126', 2n],
  ])('%s has %d for pods', (subnet, n) => {
    const r = rangeOf(prefix(subnet));
    expect(capacity(r)).toBe(n);
    if (n === 0n) expect(choose(r, undefined, () => false)).toBeUndefined();
  });

  test('gives away each address of a subnet exactly once, and none that is not for pods', () => {
    fc.assert(
      fc.property(fc.integer({ min: 24, max: 32 }), fc.nat(300), (len, start) => {
        const r = rangeOf(prefix(`10.9.8.0/${len}`));
        const given = new Set<bigint>();
        let last = { family: 4 as const, value: r.subnet.addr.value + BigInt(start) };
        for (;;) {
          const a = choose(r, last, (v) => given.has(v));
          if (!a) break;
          expect(whyNot(r, a)).toBeUndefined();
          expect(given.has(a.value)).toBe(false);
          given.add(a.value);
          last = a as typeof last;
        }
        expect(BigInt(given.size)).toBe(capacity(r));
      }),
      { numRuns: 100 },
    );
  });

  test.each([
    [['10.42.1.1'], 'it is the gateway of 10.42.1.0/29'],
    [['10.42.1.0'], 'it is the network address'],
    [['10.42.1.7'], 'it is the broadcast address'],
    [['10.42.2.2'], "it is not in this node's subnet 10.42.1.0/29"],
    [['fd00::2'], 'has no IPv6 subnet'],
    [['10.42.1.2', '10.42.1.3'], 'an interface gets one of each family'],
  ])('%j cannot be asked for: %s', (ips, why) => {
    expect(matchRequests([range], ips.map(addr))).toMatch(why);
  });

  test('the same address asked for twice is one', () => {
    expect(matchRequests([range], [addr('10.42.1.2'), addr('10.42.1.2')])).toEqual([addr('10.42.1.2')]);
  });
});

describe('a store', () => {
  test("has host-local's files, content and modes", async () => {
    const ipam = new Ipam();
    expect(
      texts(await ipam.reserve(pods(), ask('c1', { subnets: ['10.42.1.0/24', 'fd00:42:0:1::/64'] }))),
    ).toEqual(['10.42.1.2', 'fd00:42:0:1::2']);
    expect(readdirSync(join(dataDir, 'pods')).sort()).toEqual([
      '10.42.1.2',
      'fd00:42:0:1::2',
      'last_reserved_ip.0',
      'last_reserved_ip.1',
      'lock',
    ]);
    expect(readFileSync(file('10.42.1.2'), 'latin1')).toBe('c1\r\neth0');
    expect(readFileSync(file('last_reserved_ip.0'), 'latin1')).toBe('10.42.1.2');
    expect(readFileSync(file('last_reserved_ip.1'), 'latin1')).toBe('fd00:42:0:1::2');
    const mode = (path: string) => (statSync(path).mode & 0o777).toString(8);
    const umask = process.umask();
    expect(mode(file('10.42.1.2'))).toBe((0o644 & ~umask).toString(8));
    expect(mode(join(dataDir, 'pods'))).toBe((0o755 & ~umask).toString(8));
  });

  test('is gone through in turn, and what was freed last is used last', async () => {
    const ipam = new Ipam();
    const small = { subnets: ['10.42.1.0/29'] };
    const got: string[] = [];
    for (let i = 0; i < 7; i++) {
      got.push(...texts(await ipam.reserve(pods(), ask(`c${i}`, small))));
      await ipam.release(pods(), owner(`c${i}`), false);
    }
    expect(got).toEqual(['2', '3', '4', '5', '6', '2', '3'].map((n) => `10.42.1.${n}`));
  });

  test('a shorter last address leaves nothing of a longer one', async () => {
    mkdirSync(join(dataDir, 'pods'), { recursive: true });
    writeFileSync(file('last_reserved_ip.0'), '10.42.1.254');
    await new Ipam().reserve(pods(), ask('c'));
    expect(readFileSync(file('last_reserved_ip.0'), 'utf8')).toBe('10.42.1.2');
    writeFileSync(file('last_reserved_ip.0'), 'rubbish that is no address');
    await new Ipam().reserve(pods(), ask('d'));
    expect(readFileSync(file('last_reserved_ip.0'), 'utf8')).toBe('10.42.1.3');
  });

  test('is all or nothing over families', async () => {
    const ipam = new Ipam();
    const tiny = { subnets: ['10.42.1.0/24', 'fd00::/127'] };
    await expect(ipam.reserve(pods(), ask('c1', tiny))).rejects.toMatchObject({ code: CODE.usedUp });
    expect(await ipam.list(pods())).toEqual([]);
    expect(existsSync(file('10.42.1.2'))).toBe(false);
  });

  test('that is used up says how many of how many there are, and whose they are', async () => {
    const ipam = new Ipam();
    for (let i = 0; i < 5; i++) await ipam.reserve(pods(), ask(`c${i}`, { subnets: ['10.42.1.0/29'] }));
    await expect(ipam.reserve(pods(), ask('x', { subnets: ['10.42.1.0/29'] }))).rejects.toMatchObject({
      code: CODE.usedUp,
      message: expect.stringMatching(/10\.42\.1\.0\/29: all 5 are taken, 5 of them in .*\/pods/),
      details: expect.stringContaining('10.42.1.2: container c0, interface eth0'),
    });
    // Freed by somebody else, it is found; but not as long as the pod it was given to here is not known to be gone.
    rmSync(file('10.42.1.4'));
    await expect(ipam.reserve(pods(), ask('x', { subnets: ['10.42.1.0/29'] }))).rejects.toMatchObject({
      code: CODE.usedUp,
      message: expect.stringMatching(/all 5 are taken, 4 of them in/),
    });
    ipam.disown([addr('10.42.1.4')]);
    expect(texts(await ipam.reserve(pods(), ask('x', { subnets: ['10.42.1.0/29'] })))).toEqual(['10.42.1.4']);
  });

  test('refuses an interface that has an address already, in words of host-local', async () => {
    const ipam = new Ipam();
    await ipam.reserve(pods(), ask('c1'));
    await expect(ipam.reserve(pods(), ask('c1'))).rejects.toMatchObject({
      code: CODE.addressTaken,
      message: expect.stringContaining(
        '10.42.1.2 has been allocated to c1, duplicate allocation is not allowed',
      ),
    });
    // Another interface of it, and another subnet, are something else.
    expect(texts(await ipam.reserve(pods(), ask('c1', { ifname: 'eth1' })))).toEqual(['10.42.1.3']);
    expect(texts(await ipam.reserve(pods(), ask('c1', { subnets: ['10.42.7.0/24'] })))).toEqual([
      '10.42.7.2',
    ]);
  });

  test('gives an address that is asked for, and says who has it', async () => {
    const ipam = new Ipam();
    expect(texts(await ipam.reserve(pods(), ask('c1', { ips: ['10.42.1.77'] })))).toEqual(['10.42.1.77']);
    await expect(ipam.reserve(pods(), ask('c2', { ips: ['10.42.1.77'] }))).rejects.toMatchObject({
      code: CODE.addressTaken,
      message: expect.stringContaining('container c1, interface eth0 has it'),
    });
    await expect(ipam.reserve(pods(), ask('c2', { ips: ['10.42.1.1'] }))).rejects.toMatchObject({
      code: CODE.invalidConfig,
    });
    expect(texts(await ipam.reserve(pods(), ask('c3')))).toEqual(['10.42.1.78']);
  });

  test('never gives away what another network of the node has, wherever its store is', async () => {
    const ipam = new Ipam();
    mkdirSync(join(dataDir, 'cbr0'), { recursive: true });
    writeFileSync(join(dataDir, 'cbr0', '10.42.1.2'), 'old\r\neth0');
    expect(texts(await ipam.reserve(pods(), ask('c1')))).toEqual(['10.42.1.3']);
    const elsewhere = { dataDir: join(dataDir, '..', 'elsewhere'), network: 'other' };
    expect(texts(await ipam.reserve(elsewhere, ask('c2')))).toEqual(['10.42.1.2']);
    await expect(ipam.reserve(elsewhere, ask('c3', { ips: ['10.42.1.3'] }))).rejects.toMatchObject({
      code: CODE.addressTaken,
      message: expect.stringContaining('container c1 in network pods has it'),
    });
    await ipam.release(pods(), owner('c1'), false);
    expect(texts(await ipam.reserve(elsewhere, ask('c3', { ips: ['10.42.1.3'] })))).toEqual(['10.42.1.3']);
  });

  test('never gives away what a link to a store holds, or one of many, or one that changes within a tick', async () => {
    const ipam = new Ipam();
    mkdirSync(join(dataDir, 'pods'), { recursive: true });
    mkdirSync(join(dir, `far-${count}`));
    symlinkSync(join(dir, `far-${count}`), join(dataDir, 'aaa'));
    symlinkSync('pods', join(dataDir, 'same'));
    symlinkSync('nowhere', join(dataDir, 'broken'));
    for (let i = 0; i < 300; i++) mkdirSync(join(dataDir, `n${i}`));
    const last = readdirSync(dataDir).at(-1)!;
    writeFileSync(join(dir, `far-${count}`, '10.42.1.2'), 'old');
    writeFileSync(join(dataDir, last === 'pods' ? 'n7' : last, '10.42.1.3'), 'old');
    expect(texts(await ipam.reserve(pods(), ask('c1')))).toEqual(['10.42.1.4']);
    // The clock stands still: the directory looks as it did.
    const sibling = join(dataDir, 'n5');
    utimesSync(sibling, 1e9, 1e9);
    expect(texts(await ipam.reserve(pods(), ask('c2')))).toEqual(['10.42.1.5']);
    writeFileSync(join(sibling, '10.42.1.6'), 'new');
    utimesSync(sibling, 1e9, 1e9);
    expect(texts(await ipam.reserve(pods(), ask('c3')))).toEqual(['10.42.1.7']);
    // What has gone the same way is found before a subnet is said to be full.
    rmSync(join(sibling, '10.42.1.6'));
    utimesSync(sibling, 1e9, 1e9);
    const small = { subnets: ['10.42.1.4/30'] };
    expect(texts(await ipam.reserve(pods(), ask('c4', small)))).toEqual(['10.42.1.6']);
    await expect(ipam.reserve(pods(), ask('c5', small))).rejects.toMatchObject({ code: CODE.usedUp });
  });

  test('is not disturbed by what does not belong there', async () => {
    mkdirSync(join(dataDir, 'pods', 'sub'), { recursive: true });
    mkdirSync(file('10.42.1.3'));
    writeFileSync(file('10.42.1.2'), '');
    writeFileSync(file('10.42.1.4'), Buffer.alloc(1 << 20, 0xff));
    writeFileSync(file('10.42.1.5.tmp'), 'c1\r\neth0');
    writeFileSync(file('.loden'), 'a crash');
    writeFileSync(file('10.042.1.6'), 'c1\r\neth0');
    symlinkSync('/dev/zero', file('10.42.1.5'));
    const ipam = new Ipam();
    expect(texts(await ipam.reserve(pods(), ask('c1')))).toEqual(['10.42.1.6']);
    expect(await ipam.release(pods(), owner('c1'), false)).toEqual([addr('10.42.1.6')]);
    expect(await ipam.release(pods(), owner('c1'), false)).toEqual([]);
    await expect(ipam.reserve(pods(), ask('c2', { ips: ['10.42.1.2'] }))).rejects.toMatchObject({
      message: expect.stringContaining('an empty file has it'),
    });
    expect(readdirSync(join(dataDir, 'pods')).sort()).toEqual(
      [
        '10.042.1.6',
        '10.42.1.2',
        '10.42.1.3',
        '10.42.1.4',
        '10.42.1.5',
        '10.42.1.5.tmp',
        'last_reserved_ip.0',
        'lock',
        'sub',
      ].sort(),
    );
  });

  test.each(['lock', 'last_reserved_ip.0'])(
    'is refused with a pipe for %s, by name; nobody waits for its other end',
    async (name) => {
      mkdirSync(join(dataDir, 'pods'), { recursive: true });
      execFileSync('mkfifo', [file(name)]);
      for (const _ of [1, 2])
        await expect(new Ipam().reserve(pods(), ask('c1'))).rejects.toMatchObject({
          code: CODE.files,
          message: expect.stringContaining(name),
        });
      expect(readdirSync(join(dataDir, 'pods')).filter((n) => n.startsWith('10.'))).toEqual([]);
      // Somebody reads it: it opens, and is no file all the same.
      const reader = openSync(file(name), constants.O_RDONLY | constants.O_NONBLOCK);
      await expect(new Ipam().reserve(pods(), ask('c1'))).rejects.toMatchObject({
        message: expect.stringContaining('is no plain file'),
      });
      closeSync(reader);
    },
  );

  test.each(['a pipe', 'a link', 'a reservation that a killed ADD had just named'])(
    'makes nothing of a .loden that is %s',
    async (what) => {
      const ipam = new Ipam();
      await ipam.reserve(pods(), ask('c1'));
      if (what === 'a pipe') execFileSync('mkfifo', [file('.loden')]);
      else if (what === 'a link') symlinkSync(file('10.42.1.2'), file('.loden'));
      else linkSync(file('10.42.1.2'), file('.loden'));
      expect(texts(await ipam.reserve(pods(), ask('c2')))).toEqual(['10.42.1.3']);
      expect(readFileSync(file('10.42.1.2'), 'latin1')).toBe('c1\r\neth0');
      expect(readFileSync(file('10.42.1.3'), 'latin1')).toBe('c2\r\neth0');
      expect(existsSync(file('.loden'))).toBe(false);
    },
  );

  test.each([
    ['../x', '/var/lib/x'],
    ['..', '/var/lib/x'],
    ['.', '/var/lib/x'],
    ['', '/var/lib/x'],
    ['a/b', '/var/lib/x'],
    ['a\0b', '/var/lib/x'],
    ['pods', 'relative/x'],
    ['pods', '/x\0y'],
  ])('is refused for a network %j in %j', async (network, base) => {
    await expect(
      async () => await new Ipam().reserve({ dataDir: base, network }, ask('c')),
    ).rejects.toMatchObject({
      code: CODE.invalidConfig,
    });
  });

  test('takes slashes at the end of its directory', async () => {
    expect(
      texts(await new Ipam().reserve({ dataDir: `${dataDir}//`, network: 'pods' }, ask('c'))),
    ).toHaveLength(1);
    expect(existsSync(file('10.42.1.2'))).toBe(true);
  });
});

describe('release', () => {
  test("frees one interface's, and what an old host-local wrote for the container only where nothing else is", async () => {
    const ipam = new Ipam();
    mkdirSync(join(dataDir, 'pods'), { recursive: true });
    writeFileSync(file('10.42.1.9'), 'c1');
    await ipam.reserve(pods(), ask('c1', { ifname: 'eth1' }));
    expect(texts(await ipam.release(pods(), owner('c1', 'eth1'), false))).toEqual(['10.42.1.2']);
    expect(texts(await ipam.release(pods(), owner('c1', 'eth0'), true))).toEqual([]);
    expect(texts(await ipam.release(pods(), owner('c1', 'eth0'), false))).toEqual(['10.42.1.9']);
  });

  test('sees what was changed behind its back, and never removes what is not its own', async () => {
    const ipam = new Ipam();
    await ipam.reserve(pods(), ask('c1'));
    const stopClock = () => utimesSync(join(dataDir, 'pods'), 1e9, 1e9);
    stopClock();
    await ipam.list(pods());
    // Given to another within the same tick of the clock: the directory looks as we left it.
    rmSync(file('10.42.1.2'));
    writeFileSync(file('10.42.1.2'), 'other\r\neth0');
    stopClock();
    expect(await ipam.release(pods(), owner('c1'), false)).toEqual([]);
    expect(readFileSync(file('10.42.1.2'), 'utf8')).toBe('other\r\neth0');
    expect(texts(await ipam.release(pods(), owner('other'), false))).toEqual(['10.42.1.2']);
  });

  test.each([
    ['an id as long as may be', 'x'.repeat(1000), 'eth0'],
    ['an interface that ends in what only we trim', 'c1', 'eth0\ufeff'],
    ['one that ends in what only host-local trims', 'c1', 'eth0\u0085'],
    ['one that begins so', '\u3000c1', 'eth0'],
  ])('frees %s', async (_, containerId, ifname) => {
    for (const release of [new Ipam(), undefined]) {
      const ipam = new Ipam();
      await ipam.reserve(pods(), ask(containerId, { ifname }));
      await expect(ipam.reserve(pods(), ask(containerId, { ifname }))).rejects.toMatchObject({
        code: CODE.addressTaken,
      });
      expect(await (release ?? ipam).release(pods(), owner(containerId, ifname), true)).toHaveLength(1);
    }
  });

  test('of nothing reads no file that is known', async () => {
    const ipam = new Ipam();
    mkdirSync(join(dataDir, 'pods'), { recursive: true });
    for (let i = 10; i < 250; i++) writeFileSync(file(`10.42.1.${i}`), `old${i}`);
    await ipam.reserve(pods(), ask('c1'));
    await ipam.release(pods(), owner('c1'), false);
    // Of all threads of this process (proc_pid_io(5)).
    const reads = () => Number(/^syscr: (\d+)/m.exec(readFileSync('/proc/self/io', 'utf8'))![1]);
    const before = reads();
    expect(await ipam.release(pods(), owner('c1'), false)).toEqual([]);
    expect(reads() - before).toBeLessThan(200);
  });

  test('of nothing makes nothing', async () => {
    expect(await new Ipam().release(pods(), owner('c1'), false)).toEqual([]);
    expect(existsSync(dataDir)).toBe(false);
  });

  test('of a list leaves what has changed since', async () => {
    const ipam = new Ipam();
    await ipam.reserve(pods(), ask('c1'));
    await ipam.reserve(pods(), ask('c2'));
    const listed = await ipam.list(pods());
    writeFileSync(file('10.42.1.3'), 'other\r\neth0');
    expect(texts(await ipam.drop(pods(), listed))).toEqual(['10.42.1.2']);
    expect(readFileSync(file('10.42.1.3'), 'utf8')).toBe('other\r\neth0');
  });
});

describe('at once', () => {
  test('others have their turns while large stores are read', async () => {
    mkdirSync(join(dataDir, 'pods'), { recursive: true });
    for (let i = 0; i < 5000; i++) writeFileSync(file(`10.43.${i >> 8}.${i & 255}`), 'old');
    let turns = 0;
    let isOver = false;
    const count = () => {
      turns++;
      if (!isOver) setImmediate(count);
    };
    for (const work of ['reserve', 'list'] as const) {
      const ipam = new Ipam();
      turns = 0;
      isOver = false;
      count();
      const wide = ask(`c-${work}`, { subnets: ['10.43.0.0/16'] });
      if (work === 'list') await ipam.list(pods());
      else await ipam.reserve(pods(), wide);
      isOver = true;
      expect(turns, work).toBeGreaterThan(2);
    }
  });

  test('what pods hold is told from memory, and anew when a store has changed', async () => {
    const ipam = new Ipam();
    const holds = (text: string) => ipam.holds([dataDir], (a) => formatAddr(a) === text);
    await ipam.reserve(pods(), ask('c1'));
    expect(holds('10.42.1.2')).toBe(true);
    mkdirSync(join(dataDir, 'theirs'));
    writeFileSync(join(dataDir, 'theirs', '10.42.1.9'), 'x');
    expect(holds('10.42.1.9')).toBe(true);
    writeFileSync(join(dataDir, 'theirs', '10.42.1.10'), 'x');
    utimesSync(join(dataDir, 'theirs'), 1e9, 1e9);
    expect(holds('10.42.1.10')).toBe(true);
    rmSync(file('10.42.1.2'));
    utimesSync(join(dataDir, 'pods'), 1e9, 1e9);
    expect(holds('10.42.1.2')).toBe(false);
    rmSync(join(dataDir, 'theirs'), { recursive: true });
    expect(holds('10.42.1.10')).toBe(false);
    expect(ipam.holds(['/proc/version', '/nowhere'], (a) => formatAddr(a) === '10.42.1.2')).toBe(false);
  });

  test('a hundred get a hundred addresses, by several daemons too', async () => {
    const ipams = [new Ipam(), new Ipam()];
    const all = await Promise.all(
      Array.from({ length: 100 }, (_, i) => ipams[i % 2]!.reserve(pods(), ask(`c${i}`))),
    );
    expect(new Set(all.flatMap(texts)).size).toBe(100);
    await Promise.all(
      Array.from({ length: 100 }, (_, i) => ipams[i % 2]!.release(pods(), owner(`c${i}`), false)),
    );
    expect(await ipams[0]!.list(pods())).toEqual([]);
  });
});

test('what cannot be written is said with the directory and what to do', async () => {
  mkdirSync(dataDir, { recursive: true });
  writeFileSync(join(dataDir, 'pods'), 'a file');
  chmodSync(join(dataDir, 'pods'), 0o644);
  await expect(new Ipam().reserve(pods(), ask('c'))).rejects.toMatchObject({
    code: CODE.files,
    message: expect.stringMatching(/cannot lock the address store .*pods.*ENOTDIR.*disk/),
  });
});
