import { execFileSync } from 'node:child_process';
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { addon } from '../../src/native/addon.ts';
import { Encoder } from '../../src/netlink/encoder.ts';
import * as rtnl from '../../src/netlink/rtnl.ts';
import { Netns } from '../support/netns.ts';
import { thisProcess } from '../support/owner.ts';
import { run, until } from '../support/proc.ts';

const SRC = new URL('../../src/', import.meta.url).href;

/** A program with `addon`, run to its own end; `ended` when nothing holds it any more. */
const program = (code: string): Promise<string> =>
  run(
    [
      ...[process.execPath, '--input-type=module-typescript', '--eval'],
      `const { addon } = await import(${JSON.stringify(`${SRC}native/addon.ts`)});
       import { Worker } from 'node:worker_threads';
       import { openSync, closeSync } from 'node:fs';
       ${code}`,
    ],
    { timeout: 20_000 },
  );

let dir: string;
let netns: Netns;
beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'ld-addon-'));
  netns = await Netns.create(thisProcess(), 'opened');
});
afterAll(async () => {
  await netns[Symbol.asyncDispose]();
  rmSync(dir, { recursive: true, force: true });
});

const descriptors = (): number => readdirSync('/proc/self/fd').length;
/** Threads of this process that help out. */
const helpers = (): number =>
  readdirSync('/proc/self/task').filter((tid) => {
    try {
      return readFileSync(`/proc/self/task/${tid}/comm`, 'utf8') === 'loden-helper\n';
    } catch {
      return false;
    }
  }).length;

describe('netnsOpen', () => {
  test('opens a namespace and tells which it is', async () => {
    const opened = await addon().netnsOpen(netns.path, 5_000);
    try {
      const { dev, ino } = statSync(netns.path, { bigint: true });
      expect(opened).toEqual({ fd: expect.any(Number), dev, ino });
      expect(readFileSync(`/proc/self/fdinfo/${opened.fd}`, 'utf8')).toMatch(/flags:\t0?2\d{6}/);
      const own = await addon().netnsOpen('/proc/self/ns/net', 5_000);
      expect(own.ino).toBe(statSync('/proc/self/ns/net', { bigint: true }).ino);
      expect(own.ino).not.toBe(opened.ino);
      closeSync(own.fd);
      using socket = netlinkIn(opened.fd);
      expect(await socket.native.sysctls([{ path: 'net/ipv4/conf/lo/forwarding' }])).toHaveLength(1);
    } finally {
      closeSync(opened.fd);
    }
  });

  test('is no work for a thread where the whole path is known', async () => {
    // It would come too late.
    const { fd, ino } = await addon().netnsOpen(netns.path, 0);
    closeSync(fd);
    expect(ino).toBe(statSync(netns.path, { bigint: true }).ino);
  });

  test.each([
    ['nothing', 'none', 'ENOENT', 'No such file'],
    ['a file', 'file', 'EINVAL', 'statfs'],
    ['a directory', '.', 'EINVAL', 'statfs'],
    ['a FIFO, which opening would wait for', 'fifo', 'EINVAL', 'statfs'],
    ['a device', '/dev/null', 'EINVAL', 'statfs'],
    ['another kind of namespace', '/proc/self/ns/uts', 'EINVAL', 'NS_GET_NSTYPE'],
    ['a path through a file', 'file/x', 'ENOTDIR', 'open'],
    ['a path too long', 'x'.repeat(300), 'ENAMETOOLONG', 'open'],
    ['a link to itself', 'loop', 'ELOOP', 'open'],
    ['no path', '', 'ENOENT', 'open'],
  ])('refuses %s', async (_, name, code, what) => {
    if (name === 'fifo') execFileSync('mkfifo', [join(dir, name)]);
    if (name === 'loop') execFileSync('ln', ['-s', name, join(dir, name)]);
    if (name.startsWith('file')) writeFileSync(join(dir, 'file'), '');
    const path = name === '' || name.startsWith('/') ? name : join(dir, name);
    const before = descriptors();
    const error = await addon()
      .netnsOpen(path, 5_000)
      .catch((e: unknown) => e);
    expect(error).toMatchObject({ code, message: expect.stringContaining(what) });
    expect((error as Error).message).toContain(`network namespace ${path}: `);
    // Sockets of tests before this one may close meanwhile.
    expect(descriptors()).toBeLessThanOrEqual(before);
  });

  test('throws for what is no path', () => {
    const call = addon().netnsOpen as (...args: unknown[]) => unknown;
    for (const args of [[5, 1], ['a\0b', 1], ['x'], ['x', -1], ['x', 1.5]]) {
      expect(() => call(...args)).toThrow(TypeError);
    }
  });

  // What /proc shows is never known beforehand, so it is opened on a thread.
  test.each(['known', 'unknown'])(
    'opens hundreds at once, with few threads, and leaks nothing: %s',
    async (what) => {
      const before = descriptors();
      const path = what === 'known' ? netns.path : '/proc/self/ns/net';
      const all = await Promise.all(Array.from({ length: 500 }, () => addon().netnsOpen(path, 20_000)));
      expect(new Set(all.map((o) => o.ino))).toEqual(new Set([statSync(path, { bigint: true }).ino]));
      expect(new Set(all.map((o) => o.fd)).size).toBe(500);
      expect(helpers()).toBeLessThanOrEqual(64);
      for (const { fd } of all) closeSync(fd);
      expect(descriptors()).toBe(before);
    },
  );

  test('of a path that hangs is given up; others are opened meanwhile', async () => {
    const before = descriptors();
    using hung = Hung.create(join(dir, 'hung'));
    const began = performance.now();
    const waiting = Array.from({ length: 3 }, () =>
      addon()
        .netnsOpen(join(hung.path, 'x'), 300)
        .catch((e: { code: string }) => e.code),
    );
    const opened = await addon().netnsOpen(netns.path, 5_000);
    closeSync(opened.fd);
    expect(await Promise.all(waiting)).toEqual(['ETIMEDOUT', 'ETIMEDOUT', 'ETIMEDOUT']);
    expect(performance.now() - began).toBeGreaterThan(290);
    hung.release();
    await until('the helpers are back', () => descriptors() === before);
  });

  test('that comes too late is closed', async () => {
    const before = descriptors();
    const all = await Promise.allSettled(
      Array.from({ length: 300 }, () => addon().netnsOpen('/proc/self/ns/net', 0)),
    );
    const late = all.filter((o) => o.status === 'rejected');
    expect(late.length).toBeGreaterThan(0);
    for (const each of late) expect(each.reason).toMatchObject({ code: 'ETIMEDOUT' });
    for (const each of all) if (each.status === 'fulfilled') closeSync(each.value.fd);
    await until('all are closed', () => descriptors() === before);
  });
});

/** A directory in which every look-up hangs, until it is released: a FUSE file system that nobody serves. */
class Hung {
  readonly path: string;
  readonly #fd: number;
  #released = false;
  private constructor(path: string, fd: number) {
    this.path = path;
    this.#fd = fd;
  }
  static create(path: string): Hung {
    mkdirSync(path);
    const fd = openSync('/dev/fuse', 'r+');
    const options = 'fd=3,rootmode=40000,user_id=0,group_id=0';
    execFileSync('mount', ['-i', '-t', 'fuse', '-o', options, 'hung', path], {
      stdio: ['ignore', 'pipe', 'pipe', fd],
    });
    return new Hung(path, fd);
  }
  release(): void {
    if (this.#released) return;
    this.#released = true;
    closeSync(this.#fd);
    execFileSync('umount', ['-l', this.path]);
  }
  [Symbol.dispose](): void {
    this.release();
  }
}

const netlinkIn = (fd: number) => {
  const native = addon().netlinkOpen(0, fd, 0);
  return { native, [Symbol.dispose]: () => native.close() };
};

describe('flockWait', () => {
  const two = (name: string): [number, number] => {
    const path = join(dir, name);
    writeFileSync(path, '');
    return [openSync(path, 'r'), openSync(path, 'r')];
  };

  test('takes what is free at once, and again', async () => {
    const [a, b] = two('free');
    expect(await addon().flockWait(a, 0)).toBe(true);
    expect(await addon().flockWait(a, 0)).toBe(true);
    expect(addon().flockTry(b)).toBe(false);
    closeSync(a);
    expect(addon().flockTry(b)).toBe(true);
    closeSync(b);
  });

  test('waits for another, and has it when that lets go', async () => {
    const [a, b] = two('waits');
    addon().flockTry(a);
    let had = false;
    const waiting = addon()
      .flockWait(b, 20_000)
      .then((got) => {
        had = true;
        return got;
      });
    for (let i = 0; i < 20; i++) await turn();
    expect(had).toBe(false);
    closeSync(a);
    expect(await waiting).toBe(true);
    const c = openSync(join(dir, 'waits'), 'r');
    expect(addon().flockTry(c)).toBe(false);
    closeSync(b);
    expect(addon().flockTry(c)).toBe(true);
    closeSync(c);
  });

  test('gives up when the time is over, and then has no lock, not later either', async () => {
    const [a, b] = two('over');
    addon().flockTry(a);
    const began = performance.now();
    expect(await addon().flockWait(b, 100)).toBe(false);
    expect(performance.now() - began).toBeGreaterThan(95);
    const { ino } = statSync(join(dir, 'over'));
    expect(readFileSync('/proc/locks', 'utf8').match(new RegExp(`:${ino} `, 'g'))).toHaveLength(1);
    closeSync(a);
    const c = openSync(join(dir, 'over'), 'r');
    expect(addon().flockTry(c)).toBe(true);
    closeSync(b);
    closeSync(c);
  });

  test('of many on one lock each has it once', async () => {
    const [a] = two('many');
    addon().flockTry(a);
    let inside = 0;
    const each = Array.from({ length: 100 }, async () => {
      const fd = openSync(join(dir, 'many'), 'r');
      expect(await addon().flockWait(fd, 20_000)).toBe(true);
      expect(++inside).toBe(1);
      await turn();
      inside--;
      closeSync(fd);
    });
    closeSync(a);
    await Promise.all(each);
  });

  test('more than there are threads for give up in time', async () => {
    const [a] = two('most');
    addon().flockTry(a);
    const fds = Array.from({ length: 100 }, () => openSync(join(dir, 'most'), 'r'));
    expect(new Set(await Promise.all(fds.map((fd) => addon().flockWait(fd, 200))))).toEqual(new Set([false]));
    for (const fd of [a, ...fds]) closeSync(fd);
  });

  test('waits on although the caller has closed its descriptor, and lets go what is had', async () => {
    const [a, b] = two('closed');
    addon().flockTry(a);
    const waiting = addon().flockWait(b, 20_000);
    closeSync(b);
    closeSync(a);
    expect(await waiting).toBe(true);
    const c = openSync(join(dir, 'closed'), 'r');
    await until('the lock is free', () => addon().flockTry(c));
    closeSync(c);
  });

  test('rejects for what is no file', async () => {
    await expect(addon().flockWait(9_999, 100)).rejects.toMatchObject({ code: 'EBADF' });
    const call = addon().flockWait as (...args: unknown[]) => unknown;
    for (const args of [[-1, 1], ['x', 1], [3], [3, -1]]) expect(() => call(...args)).toThrow(TypeError);
  });

  test('does not keep libuv’s threads: files are read meanwhile', async () => {
    const said = await program(`
      import { readFile } from 'node:fs/promises';
      const a = openSync(${JSON.stringify(dir)}, 'r');
      addon().flockTry(a);
      const all = Array.from({ length: 16 }, () => addon().flockWait(openSync(${JSON.stringify(dir)}, 'r'), 10_000));
      console.log((await readFile('/proc/self/comm', 'utf8')).length > 0);
      closeSync(a);
      const first = await Promise.race(all);
      console.log(first);
      process.exit(0);
    `);
    expect(said).toBe('true\ntrue\n');
  });
});

describe('the end of a process', () => {
  test('waits for a promise, not for the helpers behind it', async () => {
    const said = await program(`
      const began = performance.now();
      const { fd } = await addon().netnsOpen('/proc/self/ns/net', 60_000);
      process.on('exit', () => console.log(performance.now() - began < 9_000));
    `);
    expect(said).toBe('true\n');
  });

  test('and of workers, in the middle of waiting', async () => {
    const said = await program(`
      const code = \`
        import { workerData, parentPort } from 'node:worker_threads';
        import { openSync } from 'node:fs';
        import(workerData.addon).then(({ addon }) => {
          addon().flockTry(openSync(workerData.dir, 'r'));
          for (let i = 0; i < 5; i++) addon().flockWait(openSync(workerData.dir, 'r'), 500);
          for (let i = 0; i < 20; i++) addon().netnsOpen('/proc/self/ns/net', 1000);
          parentPort.postMessage('waiting');
        });
      \`;
      for (let i = 0; i < 10; i++) {
        const worker = new Worker(code, { eval: true, workerData: { addon: ${JSON.stringify(`${SRC}native/addon.ts`)}, dir: ${JSON.stringify(dir)} } });
        await new Promise((resolve) => worker.once('message', resolve));
        await worker.terminate();
      }
      await new Promise((resolve) => setTimeout(resolve, 700));
      console.log('done');
    `);
    expect(said).toBe('done\n');
  });
});

describe('sysctls', () => {
  test('are read and written in the socket’s namespace, in order', async () => {
    const { fd } = await addon().netnsOpen(netns.path, 5_000);
    using socket = netlinkIn(fd);
    closeSync(fd);
    const path = 'net/ipv4/conf/lo/arp_notify';
    const ours = readFileSync(`/proc/sys/${path}`, 'utf8').trim();
    const other = ours === '1' ? '0' : '1';
    expect(
      await socket.native.sysctls([
        { path },
        { path, value: other },
        { path },
        { path: 'net/ipv4/ping_group_range', value: '3 4' },
        { path: 'net/ipv4/ping_group_range' },
      ]),
    ).toEqual([expect.stringMatching(/^\d$/), true, other, true, '3\t4']);
    expect(readFileSync(`/proc/sys/${path}`, 'utf8').trim()).toBe(ours);
    expect(await netns.run(['cat', `/proc/sys/${path}`])).toBe(`${other}\n`);
  });

  test('beside exchanges, in the order they were asked for', async () => {
    using socket = netlinkIn(-1);
    const all = await Promise.all(
      Array.from({ length: 50 }, () => socket.native.sysctls([{ path: 'kernel/ostype' }])),
    );
    expect(new Set(all.flat())).toEqual(new Set(['Linux']));
    expect(await socket.native.sysctls([])).toEqual([]);
  });

  test.each([
    ['../../etc/passwd', 'EINVAL'],
    ['net/../kernel/ostype', 'EINVAL'],
    ['net/./ipv4/ip_forward', 'EINVAL'],
    ['/net/ipv4/ip_forward', 'EINVAL'],
    ['net//ipv4', 'EINVAL'],
    ['net/ipv4/', 'EINVAL'],
    ['', 'EINVAL'],
    ['net/ipv4/ip_forward\0', 'EINVAL'],
    [`net/${'x'.repeat(300)}`, 'EINVAL'],
    ['net/ipv4/none', 'ENOENT'],
    ['net/ipv4', 'EISDIR'],
  ])('%j is refused', async (path, code) => {
    using socket = netlinkIn(-1);
    expect(await socket.native.sysctls([{ path }, { path: 'kernel/ostype' }])).toEqual([{ code }, 'Linux']);
    expect(await socket.native.sysctls([{ path, value: '1' }])).toEqual([{ code: expect.any(String) }]);
  });

  test('what the kernel does not take is told', async () => {
    const { fd } = await addon().netnsOpen(netns.path, 5_000);
    using socket = netlinkIn(fd);
    closeSync(fd);
    const path = 'net/ipv4/conf/lo/forwarding';
    expect(
      await socket.native.sysctls([
        { path, value: 'x' },
        { path, value: 'x'.repeat(5_000) },
        { path: 'kernel/version', value: 'x' },
      ]),
    ).toEqual([{ code: 'EINVAL' }, { code: 'EINVAL' }, { code: expect.any(String) }]);
  });

  test('throw for what is no list of jobs, reject when it is closed', async () => {
    using socket = netlinkIn(-1);
    const call = socket.native.sysctls as (jobs: unknown) => unknown;
    for (const jobs of [
      undefined,
      {},
      [5],
      [{}],
      [{ path: 5 }],
      [{ path: 'x', value: 5 }],
      Array(1025).fill({ path: 'x' }),
    ]) {
      expect(() => call(jobs)).toThrow(TypeError);
    }
    socket.native.close();
    await expect(socket.native.sysctls([{ path: 'kernel/ostype' }])).rejects.toMatchObject({
      code: 'ECANCELED',
    });
  });
});

describe('a socket that is opened later', () => {
  test('is in its namespace, whatever becomes of the descriptor, and tells what went wrong when it is asked', async () => {
    const { fd } = await addon().netnsOpen(netns.path, 5_000);
    await netns.ip('link add later0 type bridge');
    const native = addon().netlinkOpen(0, fd, 0, true);
    closeSync(fd);
    expect(native.portId).toBeUndefined();
    const found = await native.sysctls([{ path: 'net/ipv4/conf/later0/forwarding' }]);
    expect(found).toEqual([expect.stringMatching(/^[01]$/)]);
    native.close();
    await netns.ip('link del later0');
    expect(() => addon().netlinkOpen(0, fd, 0, true)).toThrow(expect.objectContaining({ code: 'EBADF' }));
    const file = openSync('/proc/self/ns/uts', 'r');
    const none = addon().netlinkOpen(0, file, 0, true);
    closeSync(file);
    await expect(none.sysctls([{ path: 'kernel/ostype' }])).rejects.toMatchObject({ code: 'EINVAL' });
    const { bytes, lastSeq } = new Encoder().one(rtnl.link.dump({}), false);
    await expect(none.exchange(bytes, lastSeq, 1_000)).rejects.toMatchObject({ code: 'EINVAL' });
    none.close();
    await expect(none.exchange(bytes, lastSeq, 1_000)).rejects.toMatchObject({ code: 'ECANCELED' });
  });

  test('leaves nothing open that would keep the namespace alive', async () => {
    const { fd, ino } = await addon().netnsOpen(netns.path, 5_000);
    const those = (paths: string[]) =>
      paths.filter((path) => {
        try {
          return statSync(path, { bigint: true }).ino === ino;
        } catch {
          return false;
        }
      }).length;
    const open = () => those(readdirSync('/proc/self/fd').map((n) => `/proc/self/fd/${n}`));
    const inside = () => those(readdirSync('/proc/self/task').map((n) => `/proc/self/task/${n}/ns/net`));
    const sockets = Array.from({ length: 20 }, () => addon().netlinkOpen(0, fd, 0, true));
    await until('all to be inside', () => inside() === 20 && open() === 1);
    for (const socket of sockets) socket.close();
    await until('all to have left', () => inside() === 0);
    for (let i = 0; i < 20; i++) addon().netlinkOpen(0, fd, 0, true).close();
    await until('all to be closed at once', () => inside() === 0 && open() === 1);
    closeSync(fd);
  });
});

describe('a monitor', () => {
  test('of one type of notification is told of no other', async () => {
    const { fd } = await addon().netnsOpen(netns.path, 5_000);
    const told: number[] = [];
    const [RTM_NEWLINK, RTM_DELLINK] = [16, 17];
    const only = addon().netlinkMonitor(
      ...([0, [1], fd, 0] as const),
      (hints) => told.push(...hints.map((h) => h.type)),
      undefined,
      RTM_DELLINK,
    );
    closeSync(fd);
    try {
      await netns.ip('link add m0 type bridge');
      await netns.ip('link set m0 up');
      await netns.ip('link del m0');
      await until('the deletion to be told', () => told.includes(RTM_DELLINK));
      expect(told).not.toContain(RTM_NEWLINK);
    } finally {
      only.close();
    }
  });

  test('tells all of a burst by its end, though it is not woken for each', async () => {
    const { fd } = await addon().netnsOpen(netns.path, 5_000);
    const told = new Set<number>();
    let calls = 0;
    const monitor = addon().netlinkMonitor(0, [1], fd, 100, (hints, overrun) => {
      calls++;
      expect(overrun).toBe(false);
      for (const { type, ifindex } of hints) if (type === 17) told.add(ifindex);
    });
    closeSync(fd);
    try {
      const names = Array.from({ length: 40 }, (_, i) => `link add b${i} type bridge\nlink del b${i}\n`);
      execFileSync('ip', ['-n', netns.name, '-batch', '-'], { input: names.join('') });
      await until('all to be told', () => told.size === 40);
      expect(calls).toBeLessThan(80);
    } finally {
      monitor.close();
    }
  });
});
