import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { ForwarderTable } from '../../src/backends/backend.ts';
import { encodeTable } from '../../src/backends/udp/tableBytes.ts';
import { FILES } from '../../src/contract.ts';
import { descriptorsOf } from '../../src/forwarder/bundle.ts';
import { Forwarder } from '../../src/forwarder/forwarder.ts';
import { forwarderJson, peersText } from '../../src/forwarder/stats.ts';
import { decodeSaved, encodeSaved, SavedFile } from '../../src/forwarder/tableFile.ts';
import { chooseThreads, threadsFor } from '../../src/forwarder/threads.ts';
import type { ForwarderWish } from '../../src/forwarder/wanted.ts';
import { addr } from '../../src/net/addr.ts';
import { prefix } from '../../src/net/prefix.ts';
import { FakeForwarderAddon } from '../fake/forwarderAddon.ts';

const table = (n = 1): ForwarderTable => ({
  mtu: 1472,
  tun: [addr('10.5.1.0')],
  own: [prefix('10.5.1.0/24')],
  peers: Array.from({ length: n }, (_, i) => ({
    slot: i + 3,
    endpoints: [addr(`192.0.2.${i + 2}`)],
    prefixes: [prefix(`10.5.${i + 2}.0/24`)],
  })),
});
const TABLE = table();
const NETWORK = '/coreos.com/network';

const wish = (change: Partial<ForwarderWish> = {}): ForwarderWish => ({
  device: 'flannel0',
  ifindex: 7,
  port: 8285,
  local: [addr('192.0.2.1')],
  threads: 2,
  table: TABLE,
  ...change,
});

let dir: string;
const made: Forwarder[] = [];
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'loden-forwarder-'));
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
});
afterEach(async () => {
  // What is still being written would make the directory again.
  await Promise.allSettled(made.splice(0).map((forwarder) => forwarder.stop()));
  vi.useRealTimers();
  rmSync(dir, { recursive: true, force: true });
});

/** A host with a device, and a forwarder with nothing to do. */
function setUp(native = new FakeForwarderAddon(), network = NETWORK) {
  if (native.devices.size === 0) native.device('flannel0', 7);
  const notes: string[] = [];
  const forwarder = new Forwarder({
    native,
    runDir: dir,
    network,
    onNote: (level, message) => notes.push(`${level}: ${message}`),
  });
  made.push(forwarder);
  return { native, forwarder, notes };
}

const openFds = (native: FakeForwarderAddon, of: 'tun' | 'udp') =>
  [...native.open.values()].filter((fd) => fd.of === of).length;
const savedFile = () => join(dir, FILES.forwarderTable);

describe('the forwarder', () => {
  test('attaches, binds, and forwards by the table; the same wish again changes nothing', () => {
    const { native, forwarder } = setUp();
    forwarder.set(wish());
    expect(native.calls).toEqual(
      ['bind 192.0.2.1 8285 2', 'attach flannel0 2', 'swap', 'start 2'].map((c) =>
        c.replace('192.0.2.1', '192.0.2.1'),
      ),
    );
    expect(native.last.queues).toHaveLength(2);
    expect(native.last.queues[0]).toMatchObject({ udp6: -1, out6: -1 });
    expect(native.last.table).toEqual(encodeTable(TABLE));
    expect([forwarder.running, forwarder.threads, forwarder.problems]).toEqual([true, 2, []]);
    native.calls.length = 0;
    forwarder.set(wish());
    expect(native.calls).toEqual([]);
  });

  test('exchanges the table without a stop', () => {
    const { native, forwarder } = setUp();
    forwarder.set(wish());
    native.calls.length = 0;
    const next = table(3);
    forwarder.set(wish({ table: next }));
    expect(native.calls).toEqual(['swap']);
    expect(native.last.table).toEqual(encodeTable(next));
  });

  test('attaches anew to a device that was made anew, and keeps the sockets', () => {
    const { native, forwarder } = setUp();
    forwarder.set(wish());
    native.device('flannel0', 8);
    native.calls.length = 0;
    forwarder.set(wish({ ifindex: 8 }));
    expect(native.calls).toEqual(['attach flannel0 2', 'stop', 'close 2', 'start 2']);
    expect(native.tunIdentity(native.last.queues[0]!.tun).ifindex).toBe(8);
  });

  test('lets packets from peers wait in the sockets while the device is away', () => {
    const { native, forwarder } = setUp();
    let told = 0;
    forwarder.onChange(() => told++);
    forwarder.set(wish());
    expect(told).toBe(1);
    native.devices.clear();
    native.last.lose();
    expect(told).toBe(2);
    expect(forwarder.running).toBe(false);
    expect([openFds(native, 'tun'), openFds(native, 'udp')]).toEqual([0, 4]);
    expect(forwarder.problems).toEqual(['waiting for the device flannel0']);
    forwarder.set(wish({ ifindex: undefined }));
    expect(forwarder.problems).toEqual(['waiting for the device flannel0']);
    native.device('flannel0', 9);
    native.calls.length = 0;
    forwarder.set(wish({ ifindex: 9 }));
    expect(native.calls).toEqual(['attach flannel0 2', 'start 2']);
    expect(forwarder.problems).toEqual([]);
  });

  test('believes the device, not an old look at it', () => {
    const { native, forwarder } = setUp();
    native.device('flannel0', 8);
    forwarder.set(wish({ ifindex: 7 }));
    expect(forwarder.running).toBe(false);
    expect(openFds(native, 'tun')).toBe(0);
    expect(forwarder.problems).toEqual(['waiting for a look at the device flannel0']);
    forwarder.set(wish({ ifindex: 8 }));
    expect(forwarder.running).toBe(true);
  });

  test('starts again when a worker gave up on a device that is there, but not all the time', () => {
    const { native, forwarder } = setUp();
    forwarder.set(wish());
    native.calls.length = 0;
    native.last.lose(5);
    expect(native.calls).toEqual(['stop', 'start 2']);
    native.calls.length = 0;
    native.last.lose(5);
    native.last.lose(5);
    expect(native.calls).toEqual(['stop']);
    expect(forwarder.problems).toEqual(['the device flannel0 gives errors']);
    vi.advanceTimersByTime(1_000);
    expect(forwarder.running).toBe(true);
    expect(forwarder.problems).toEqual([]);
  });

  test('does not start again because it has told of that', () => {
    const { native, forwarder } = setUp();
    // As the daemon does it: every change brings the wish again.
    forwarder.onChange(() => queueMicrotask(() => forwarder.set(wish())));
    forwarder.set(wish());
    native.last.lose(5);
    native.last.lose(5);
    native.calls.length = 0;
    for (let i = 0; i < 9; i++) {
      vi.advanceTimersByTime(100);
      forwarder.set(wish());
    }
    expect([native.calls, forwarder.problems]).toEqual([[], ['the device flannel0 gives errors']]);
    vi.advanceTimersByTime(100);
    expect([native.calls, forwarder.problems]).toEqual([['start 2'], []]);
    // Another device is another matter.
    native.last.lose(5);
    native.device('flannel0', 8);
    forwarder.set(wish({ ifindex: 8 }));
    expect([forwarder.running, forwarder.problems]).toEqual([true, []]);
  });

  test('binds anew when address or port change, the new ones before the old are closed', () => {
    const { native, forwarder } = setUp();
    forwarder.set(wish({ local: [addr('192.0.2.1'), addr('2001:db8::1')] }));
    expect(openFds(native, 'udp')).toBe(8);
    native.calls.length = 0;
    forwarder.set(wish({ local: [addr('192.0.2.9'), addr('2001:db8::1')] }));
    expect(native.calls).toEqual(['bind 192.0.2.9 8285 2', 'stop', 'close 4', 'start 2']);
    native.calls.length = 0;
    forwarder.set(wish({ local: [addr('192.0.2.9')], port: 9000 }));
    expect(native.calls).toEqual(['bind 192.0.2.9 9000 2', 'stop', 'close 8', 'start 2']);
    expect(openFds(native, 'udp')).toBe(4);
  });

  test('says who has the port, forwards in the other family, and tries again', () => {
    const { native, forwarder } = setUp();
    native.taken.add('192.0.2.1 8285');
    forwarder.set(wish({ local: [addr('192.0.2.1'), addr('2001:db8::1')] }));
    expect(forwarder.problems).toEqual([
      expect.stringMatching(
        /^cannot listen on UDP 192\.0\.2\.1:8285: EADDRINUSE: another program listens there/,
      ),
    ]);
    expect(native.last.queues[0]).toMatchObject({ udp4: -1 });
    expect(forwarder.running).toBe(true);
    native.taken.clear();
    let told = 0;
    forwarder.onChange(() => told++);
    vi.advanceTimersByTime(1_000);
    expect(forwarder.problems).toEqual([]);
    expect(native.last.queues[0]!.udp4).toBeGreaterThan(0);
    expect(told).toBe(1);
  });

  test('names the module that is missing, and the address that is gone', () => {
    const { native, forwarder } = setUp();
    native.devices.set('flannel0', { ifindex: 7, busy: 'ENOENT' });
    native.foreign.add('192.0.2.1');
    forwarder.set(wish());
    expect(forwarder.problems).toEqual([
      expect.stringContaining('EADDRNOTAVAIL: the address is not on this host any more'),
      expect.stringContaining('load the kernel module tun (modprobe tun)'),
    ]);
    expect(openFds(native, 'udp')).toBe(0);
  });

  test('keeps no queue of a device that goes while it is attached to', () => {
    const { native, forwarder } = setUp();
    const attach = native.tunAttach.bind(native);
    native.tunAttach = (name, count) => {
      const queues = attach(name, count);
      native.devices.delete(name);
      return queues;
    };
    forwarder.set(wish());
    expect(openFds(native, 'tun')).toBe(0);
    expect(forwarder.problems).toEqual([expect.stringContaining('cannot attach to the device flannel0')]);
  });

  test('that may not start says so and tries again', () => {
    const { native, forwarder } = setUp();
    forwarder.set(wish({ ifindex: undefined }));
    native.last.fault = 'EAGAIN';
    forwarder.set(wish());
    expect(forwarder.problems).toEqual(['cannot start to forward: EAGAIN: no']);
    native.last.fault = undefined;
    vi.advanceTimersByTime(1_000);
    expect(forwarder.running).toBe(true);
  });

  test('says why its counters are not in their file', () => {
    const { native, forwarder, notes } = setUp();
    native.statsNote = 'there is no room';
    forwarder.set(wish());
    expect(notes.filter((n) => n.includes('counters'))).toEqual([
      'warn: the counters of the forwarder are kept by this process alone',
    ]);
    expect(forwarder.running).toBe(true);
  });

  test('tells once what the kernel leaves to it', () => {
    const { native, forwarder, notes } = setUp();
    forwarder.set(wish());
    native.last.lose();
    expect(notes.filter((n) => n.includes('leaves some work'))).toHaveLength(1);
  });

  test('goes on when the uplink refuses trains, and says so once', () => {
    const { native, forwarder, notes } = setUp();
    forwarder.set(wish());
    const before = native.calls.length;
    const told = notes.length;
    native.last.refuseTrains();
    native.last.refuseTrains();
    expect(native.calls.slice(before)).toEqual([]);
    expect(forwarder.running).toBe(true);
    expect(forwarder.ability?.gso).toBe(false);
    expect(notes.slice(told)).toEqual(['info: the kernel leaves some work to us']);
  });

  test('closes everything when nothing is wished any more, and forgets what is saved', async () => {
    const { native, forwarder } = setUp();
    forwarder.set(wish());
    await forwarder.release();
    forwarder.resume();
    expect(() => statSync(savedFile())).not.toThrow();
    forwarder.set(undefined);
    expect(native.open.size).toBe(0);
    expect(native.last.running).toBe(false);
    await forwarder.stop();
    expect(() => statSync(savedFile())).toThrow('ENOENT');
  });

  test('stops: nothing is open, what is saved stays', async () => {
    const { native, forwarder } = setUp();
    forwarder.set(wish());
    await forwarder.stop();
    expect(native.open.size).toBe(0);
    expect(statSync(savedFile()).mode & 0o777).toBe(0o600);
    forwarder.set(wish());
    expect(native.open.size).toBe(0);
  });
});

describe('what is saved', () => {
  test('is forwarded by the next daemon before it knows anything', async () => {
    const first = setUp();
    first.forwarder.set(wish({ threads: 1 }));
    await first.forwarder.stop();
    const { native, forwarder } = setUp();
    expect(await forwarder.resumeSaved(2)).toBe(true);
    expect(forwarder.running).toBe(true);
    expect(forwarder.threads).toBe(2);
    expect(native.last.table).toEqual(encodeTable(TABLE));
    // Then all is known, and is the same: nothing is touched.
    native.calls.length = 0;
    forwarder.set(wish({ table: forwarder.table! }));
    expect(native.calls).toEqual([]);
  });

  test('is not forwarded by a daemon of another network, nor are its descriptors', async () => {
    const first = setUp();
    first.forwarder.set(wish());
    const bundle = await first.forwarder.release();
    const { native, forwarder, notes } = setUp(first.native, '/other');
    expect(await forwarder.resumeSaved(1)).toBe(false);
    await expect(forwarder.adopt(bundle!)).rejects.toThrow(/no table to forward by/);
    expect(notes[0]).toBe('warn: what is saved of the forwarder is not used');
    expect(native.forwarders).toHaveLength(1);
  });

  test('waits for its device', async () => {
    const first = setUp();
    first.forwarder.set(wish());
    await first.forwarder.stop();
    const native = new FakeForwarderAddon();
    native.device('other', 1);
    const { forwarder } = setUp(native);
    await forwarder.resumeSaved(1);
    expect(forwarder.running).toBe(false);
    native.device('flannel0', 20);
    vi.advanceTimersByTime(1_000);
    expect(forwarder.running).toBe(true);
  });

  test('is nothing when it cannot be believed, and that is said', async () => {
    writeFileSync(savedFile(), 'nonsense');
    const { forwarder, notes, native } = setUp();
    expect(await forwarder.resumeSaved(1)).toBe(false);
    expect(notes).toEqual(['warn: what is saved of the forwarder is not used']);
    expect(native.forwarders).toEqual([]);
  });

  test('is removed when nothing is to be forwarded, also what could not be used', async () => {
    writeFileSync(savedFile(), 'nonsense');
    const { forwarder } = setUp();
    await forwarder.resumeSaved(1);
    forwarder.set(undefined);
    await forwarder.stop();
    expect(() => statSync(savedFile())).toThrow('ENOENT');
  });

  test('does not count against what is known already', async () => {
    const first = setUp();
    first.forwarder.set(wish());
    await first.forwarder.stop();
    const { forwarder } = setUp();
    const resuming = forwarder.resumeSaved(1);
    const newer = table(4);
    forwarder.set(wish({ table: newer }));
    expect(await resuming).toBe(false);
    expect(forwarder.table).toBe(newer);
  });

  test('is the last of many wishes', async () => {
    const { forwarder } = setUp();
    for (let n = 1; n < 20; n++) forwarder.set(wish({ table: table(n) }));
    await forwarder.stop();
    const read = decodeSaved(readFileSync(savedFile()), NETWORK);
    expect('saved' in read && read.saved.table).toEqual(table(19));
  });

  test('says when it cannot be written, and forwards', async () => {
    rmSync(dir, { recursive: true });
    writeFileSync(dir, 'a file');
    const { forwarder, notes } = setUp();
    forwarder.set(wish());
    expect(forwarder.running).toBe(true);
    await forwarder.release();
    expect(forwarder.warnings).toEqual([expect.stringContaining('forwarder.table')]);
    expect(notes[0]).toContain('counters');
  });

  test('is written when it comes as another one has just been written', async () => {
    const saved = { device: 'flannel0', port: 8285, local: [addr('192.0.2.1')], table: TABLE };
    const next = { ...saved, port: 9000 };
    let written = 0;
    const file = new SavedFile(savedFile(), NETWORK, () => {
      if (++written === 1) queueMicrotask(() => file.save(next));
    });
    file.save(saved);
    await vi.waitFor(() => expect(written).toBe(2));
    await file.close();
    expect(decodeSaved(readFileSync(savedFile()), NETWORK)).toEqual({ saved: next });
  });

  test('is tried again while it cannot be written, until there is something newer or it is closed', async () => {
    const saved = { device: 'flannel0', port: 8285, local: [addr('192.0.2.1')], table: TABLE };
    const told: boolean[] = [];
    const file = new SavedFile(savedFile(), NETWORK, (problem) => told.push(problem === undefined));
    const remake = (as: 'file' | 'directory') => {
      rmSync(dir, { recursive: true, force: true });
      if (as === 'file') writeFileSync(dir, '');
      else mkdirSync(dir);
    };
    remake('file');
    file.save(saved);
    await file.settled();
    vi.advanceTimersByTime(1_000);
    await file.settled();
    expect(told).toEqual([false, false]);
    remake('directory');
    vi.advanceTimersByTime(1_000);
    await file.settled();
    expect(told).toEqual([false, false, true]);
    expect(decodeSaved(readFileSync(savedFile()), NETWORK)).toEqual({ saved });
    vi.advanceTimersByTime(5_000);
    await file.settled();
    expect(told).toHaveLength(3);

    remake('file');
    file.save({ ...saved, port: 9000 });
    await file.close();
    remake('directory');
    vi.advanceTimersByTime(5_000);
    await file.settled();
    expect(told).toEqual([false, false, true, false]);
    expect(() => statSync(savedFile())).toThrow('ENOENT');
  });

  test('is written down once, to be put in force and to be saved', async () => {
    const { forwarder, native } = setUp();
    let looks = 0;
    const watched = {
      ...TABLE,
      get peers() {
        looks++;
        return TABLE.peers;
      },
    };
    forwarder.set(wish({ table: watched }));
    await forwarder.stop();
    expect(looks).toBe(1);
    const read = decodeSaved(readFileSync(savedFile()), NETWORK);
    expect('saved' in read && encodeTable(read.saved.table)).toEqual(native.last.table);
  });

  test('is read as it was written; cut or changed anywhere it is refused or means something as right', () => {
    const saved = {
      device: 'flannel0',
      port: 8285,
      local: [addr('192.0.2.1'), addr('2001:db8::1')],
      table: table(3),
    };
    const bytes = encodeSaved(saved, NETWORK);
    expect(decodeSaved(bytes, NETWORK)).toEqual({ saved });
    for (let n = 0; n < bytes.length; n++)
      expect(decodeSaved(bytes.subarray(0, n), NETWORK)).toHaveProperty('wrong');
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(bytes.length - 1), fc.nat(255)), { minLength: 1 }), (changes) => {
        const changed = bytes.slice();
        for (const [at, to] of changes) changed[at] = to;
        const read = decodeSaved(changed, NETWORK);
        if ('saved' in read) expect(decodeSaved(encodeSaved(read.saved, NETWORK), NETWORK)).toEqual(read);
      }),
      { numRuns: 500 },
    );
  });
});

describe('a bundle', () => {
  /** A forwarder at work, and the descriptors it gives away. */
  async function given(threads = 3) {
    const old = setUp();
    old.forwarder.set(wish({ threads, local: [addr('192.0.2.1'), addr('2001:db8::1')] }));
    const bundle = await old.forwarder.release();
    return { ...old, bundle: bundle! };
  }

  test('is given with everything stopped, and nothing closed', async () => {
    const { native, forwarder, bundle } = await given();
    expect(native.last.running).toBe(false);
    expect(bundle).toMatchObject({ device: 'flannel0', port: 8285 });
    expect(bundle.queues).toHaveLength(3);
    expect(descriptorsOf(bundle)).toHaveLength(15);
    expect(descriptorsOf(bundle).every((fd) => native.open.has(fd))).toBe(true);
    // Wishes wait.
    const next = table(5);
    native.calls.length = 0;
    forwarder.set(wish({ table: next, threads: 3 }));
    vi.advanceTimersByTime(5_000);
    expect(native.calls).toEqual([]);
    forwarder.resume();
    expect(native.last.running).toBe(true);
    expect(native.last.table).toEqual(encodeTable(next));
  });

  test('is taken as it is, with its own number of threads', async () => {
    const { native, bundle } = await given();
    const { forwarder } = setUp(native);
    await forwarder.prepare();
    expect(native.last.running).toBe(false);
    await forwarder.adopt(bundle);
    expect(native.forwarders).toHaveLength(2);
    expect(forwarder.running).toBe(true);
    expect(native.last.queues).toEqual(bundle.queues);
    native.calls.length = 0;
    forwarder.set(
      wish({ threads: 1, local: [addr('192.0.2.1'), addr('2001:db8::1')], table: forwarder.table! }),
    );
    expect(native.calls).toEqual([]);
    expect(forwarder.threads).toBe(3);
    expect(forwarder.bundle).toEqual(bundle);
  });

  test('is taken with nothing left to do but to start', async () => {
    const { native, bundle, forwarder: old } = await given(1);
    const { forwarder } = setUp(native);
    await forwarder.prepare();
    native.calls.length = 0;
    await forwarder.adopt(bundle);
    expect(native.calls).toEqual(['start 1']);
    // Unless there is another table by then.
    const later = setUp(native);
    await later.forwarder.prepare();
    old.set(wish({ table: table(3) }));
    await forwarder.release();
    await old.release();
    native.calls.length = 0;
    await later.forwarder.adopt(bundle);
    expect(native.calls).toEqual(['swap', 'start 1']);
    expect(native.last.table).toEqual(encodeTable(table(3)));
  });

  test('with senders missing everywhere is one of a single thread', async () => {
    const { native, bundle } = await given(1);
    expect(bundle.queues[0]).toMatchObject({ out4: -1, out6: -1 });
    const { forwarder } = setUp(native);
    await forwarder.adopt(bundle);
    expect(forwarder.threads).toBe(1);
  });

  test('is refused when it is not what it says, and stays whose it was', async () => {
    const { native, bundle } = await given(2);
    const [one, two] = bundle.queues as [(typeof bundle.queues)[0], (typeof bundle.queues)[0]];
    native.device('other', 99);
    const [alien] = native.tunAttach('other', 1);
    const stray = native.udpOpen(Uint8Array.of(192, 0, 2, 77), 8285, 1).sockets[0]!;
    const count = native.open.size;
    const { forwarder } = setUp(native);
    for (const [changed, reason] of [
      [{ ...bundle, device: 'flannel1' }, /not all of flannel1/],
      [{ ...bundle, port: 8286 }, /port 8286/],
      [{ ...bundle, queues: [] }, /no queue/],
      [{ ...bundle, queues: [one, { ...two, tun: alien! }] }, /queues are of flannel0, other/],
      [{ ...bundle, queues: [one, { ...two, udp4: stray }] }, /not all bound to one address/],
      [{ ...bundle, queues: [one, { ...two, udp4: -1 }] }, /not all bound to one address/],
      [{ ...bundle, queues: [one, { ...two, out4: -1 }] }, /others have none/],
      [
        { ...bundle, queues: [one, two].map((q) => ({ ...q, udp4: q.udp6, udp6: q.udp4 })) },
        /another family/,
      ],
      [{ ...bundle, queues: [one, two].map((q) => ({ ...q, udp4: -1, udp6: -1 })) }, /no socket/],
      [{ ...bundle, queues: [one, { ...two, tun: two.udp4 }] }, /ENOTTY/],
      [{ ...bundle, queues: [{ ...one, udp4: 5555 }, two] }, /EBADF/],
    ] as const) {
      await expect(forwarder.adopt(changed)).rejects.toThrow(reason);
      expect(forwarder.running).toBe(false);
      expect(native.open.size).toBe(count);
    }
    native.devices.delete('flannel0');
    await expect(forwarder.adopt(bundle)).rejects.toThrow(/EBADFD/);
    await forwarder.stop();
    expect(native.open.size).toBe(count);
  });

  test('whose device goes at that moment stays whose it was', async () => {
    const { native, bundle } = await given(2);
    const { forwarder } = setUp(native);
    const count = native.open.size;
    const look = native.udpIdentity.bind(native);
    native.udpIdentity = (fd) => {
      native.devices.delete('flannel0');
      return look(fd);
    };
    await expect(forwarder.adopt(bundle)).rejects.toThrow(/EBADFD/);
    expect(native.open.size).toBe(count);
    await forwarder.stop();
    expect(native.open.size).toBe(count);
  });

  test('whose device has been made anew meanwhile is attached to that', async () => {
    const { native, bundle } = await given(2);
    const { forwarder } = setUp(native);
    await forwarder.adopt(bundle);
    await forwarder.release();
    native.device('flannel0', 55);
    forwarder.resume();
    expect(forwarder.running).toBe(true);
    expect(native.tunIdentity(native.last.queues[0]!.tun).ifindex).toBe(55);
    expect(native.last.queues[0]!.udp4).toBe(bundle.queues[0]!.udp4);
  });

  test('is refused without a table, and when it cannot be started', async () => {
    const { native, bundle } = await given();
    const { forwarder } = setUp(native);
    rmSync(savedFile());
    await expect(forwarder.adopt(bundle)).rejects.toThrow(/no table to forward by/);
  });

  test('there is none before there is everything', () => {
    const { forwarder } = setUp();
    expect(forwarder.bundle).toBeUndefined();
    forwarder.set(wish({ ifindex: undefined }));
    expect(forwarder.bundle).toBeUndefined();
  });
});

test('however devices, addresses and wishes change, no descriptor leaks or is misused', () => {
  const step = fc.oneof(
    fc.record({ do: fc.constant('device' as const), ifindex: fc.integer({ min: 0, max: 3 }) }),
    fc.record({ do: fc.constant('take' as const), at: fc.constantFrom('192.0.2.1 8285', '192.0.2.2 8285') }),
    fc.record({ do: fc.constant('lose' as const) }),
    fc.record({ do: fc.constant('wait' as const) }),
    fc.record({ do: fc.constant('release' as const) }),
    fc.record({ do: fc.constant('resume' as const) }),
    fc.record({
      do: fc.constant('wish' as const),
      seen: fc.boolean(),
      port: fc.constantFrom(8285, 9000),
      local: fc.subarray(['192.0.2.1', '2001:db8::1']),
      nothing: fc.nat(5).map((n) => n === 0),
    }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), fc.integer({ min: 1, max: 3 }), (steps, threads) => {
      const native = new FakeForwarderAddon();
      const { forwarder } = setUp(native);
      for (const s of steps) {
        const device = native.devices.get('flannel0');
        if (s.do === 'device') {
          if (s.ifindex === 0) native.devices.delete('flannel0');
          else native.device('flannel0', s.ifindex);
        } else if (s.do === 'take') {
          if (!native.taken.delete(s.at)) native.taken.add(s.at);
        } else if (s.do === 'lose') native.forwarders.at(-1)?.lose();
        else if (s.do === 'wait') vi.advanceTimersByTime(1_000);
        else if (s.do === 'release') void forwarder.release();
        else if (s.do === 'resume') forwarder.resume();
        else if (s.nothing) forwarder.set(undefined);
        else
          forwarder.set(
            wish({ ifindex: s.seen ? device?.ifindex : 1, port: s.port, local: s.local.map(addr), threads }),
          );
        const tuns = openFds(native, 'tun');
        expect([0, threads]).toContain(tuns);
        if (native.forwarders.length > 0) expect(native.last.running).toBe(forwarder.running);
      }
      forwarder.resume();
      void forwarder.stop();
      expect(native.open.size).toBe(0);
    }),
    { numRuns: 400 },
  );
});

test('the status has no forwarder where nothing is to be forwarded', async () => {
  const { native, forwarder } = setUp();
  // A takeover of a daemon with another backend.
  await forwarder.prepare();
  expect([forwarderJson(forwarder, native), native.forwarders]).toEqual([null, []]);
  forwarder.set(wish());
  expect(forwarderJson(forwarder, native)).not.toBeNull();
  forwarder.set(undefined);
  expect(forwarderJson(forwarder, native)).toBeNull();
});

test('the status tells counters by name, drops by reason and ratios', () => {
  const { native, forwarder } = setUp();
  expect(forwarderJson(forwarder, native)).toBeNull();
  forwarder.set(wish({ table: table(2) }));
  expect(forwarderJson(forwarder, native)).toEqual({
    running: true,
    threads: 2,
    refused: ['UDP segmentation of the TUN device'],
    counters: {
      out_packets: 100,
      out_trains: 10,
      out_calls: 5,
      in_packets: 60,
      in_datagrams: 3,
      in_supers: 6,
    },
    drops: { out: { truncated: 1 }, in: { unknown_peer: 7 } },
    ratios: { packetsPerTrain: 10, packetsPerSendCall: 20, packetsPerDatagram: 20, packetsPerSuper: 10 },
  });
  expect(JSON.parse([...peersText(forwarder)].join(''))).toEqual([
    { subnets: ['10.5.2.0/24'], outPackets: 31, outBytes: 32, inPackets: 33, inBytes: 34 },
    { subnets: ['10.5.3.0/24'], outPackets: 41, outBytes: 42, inPackets: 43, inBytes: 44 },
  ]);
});

test('threads', () => {
  expect([chooseThreads(3), chooseThreads(99)]).toEqual([3, 16]);
  expect(chooseThreads(0)).toBeGreaterThan(0);
  for (let cpus = 1; cpus < 300; cpus++) {
    expect(threadsFor(cpus)).toBeGreaterThan(0);
    expect(threadsFor(cpus)).toBeLessThanOrEqual(16);
  }
});
