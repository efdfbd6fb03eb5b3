import { spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { addon } from '../../src/native/addon.ts';
import { Encoder } from '../../src/netlink/encoder.ts';
import * as rtnl from '../../src/netlink/rtnl.ts';
import { Netns } from '../support/netns.ts';
import { thisProcess } from '../support/owner.ts';
import { run } from '../support/proc.ts';

const SRC = new URL('../../src/', import.meta.url).href;

/** What every program below begins with: `addon`, and a dump of all links as bytes with sequence number 1. */
const PRELUDE = `
  import { Worker } from 'node:worker_threads';
  import { setTimeout as sleep } from 'node:timers/promises';
  const { addon } = await import(${JSON.stringify(`${SRC}native/addon.ts`)});
  const { Encoder } = await import(${JSON.stringify(`${SRC}netlink/encoder.ts`)});
  const { link } = await import(${JSON.stringify(`${SRC}netlink/rtnl.ts`)});
  const dump = new Encoder(1).one(link.dump({}), false).bytes.slice();
  /** Never answered: a message type below 16 is control, which the kernel takes in silence. */
  const mute = dump.slice();
  mute[4] = 1;
`;

/** Runs a program to its own end; rejects when it fails or must be killed. */
function program(code: string, netns?: Netns): Promise<string> {
  const argv = [process.execPath, '--expose-gc', '--input-type=module-typescript', '--eval', PRELUDE + code];
  return netns ? netns.run(argv, { timeout: 20_000 }) : run(argv, { timeout: 20_000 });
}

describe('the end of a process', () => {
  test('is not put off by idle sockets and monitors', async () => {
    const said = await program(`
      const nl = addon().netlinkOpen(0, -1, 0);
      addon().netlinkMonitor(0, [1], -1, 10, () => {});
      await nl.exchange(dump, 1, 5000);
      console.log('done');
    `);
    expect(said).toBe('done\n');
  });

  test('waits for an exchange under way, even if nothing else holds the socket', async () => {
    const said = await program(`
      addon().netlinkOpen(0, -1, 0).exchange(mute, 1, 300).catch((e) => console.log(e.code));
      for (let i = 0; i < 5; i++) { gc(); await new Promise((r) => setImmediate(r)); }
    `);
    expect(said).toBe('ETIMEDOUT\n');
  });

  test('by process.exit does not wait', async () => {
    const said = await program(`
      addon().netlinkOpen(0, -1, 0).exchange(mute, 1, 60_000);
      addon().netlinkMonitor(0, [1], -1, 10, () => {});
      console.log('bye');
      process.exit(0);
    `);
    expect(said).toBe('bye\n');
  });

  test('by an exception in a monitor’s callback is as of any other uncaught one', async () => {
    await using netns = await Netns.create(thisProcess(), 'thrower');
    const failed = await program(
      `
      process.on('uncaughtException', (e) => { console.log('caught', e.message); process.exit(3); });
      addon().netlinkMonitor(0, [1], -1, 0, () => { throw new Error('mine'); });
      const { execFileSync } = await import('node:child_process');
      execFileSync('ip', ['link', 'set', 'lo', 'mtu', '1500']);
      await sleep(5000);
    `,
      netns,
    ).catch((e: unknown) => e);
    expect(failed).toMatchObject({ status: 3, stdout: 'caught mine\n' });
  });
});

test('workers end in the middle of exchanges, by themselves and by force', async () => {
  const said = await program(`
    const busy = ${JSON.stringify(PRELUDE)} + \`
      const { parentPort } = await import('node:worker_threads');
      parentPort.once('message', () => process.exit(3));
      addon().netlinkMonitor(0, [1, 3, 5, 7], -1, 1, () => {});
      const nl = addon().netlinkOpen(0, -1, 0);
      const go = () => {
        for (let i = 0; i < 20; i++) nl.exchange(dump, 1, 1000).then(() => {}, () => {});
        addon().netlinkOpen(0, -1, 0).exchange(dump, 1, 1000).then(() => {}, () => {});
        gc();
        setImmediate(go);
      };
      go();
      parentPort.postMessage('busy');
    \`;
    const codes = [];
    for (let i = 0; i < 8; i++) {
      const worker = new Worker(new URL('data:text/javascript,' + encodeURIComponent(busy)));
      await new Promise((resolve) => worker.once('message', resolve));
      await sleep(5 + 3 * i);
      if (i % 2) codes.push(await worker.terminate());
      else {
        worker.postMessage('end');
        codes.push(await new Promise((resolve) => worker.once('exit', resolve)));
      }
    }
    console.log(codes.join(' '));
  `);
  expect(said).toBe('3 1 3 1 3 1 3 1\n');
});

describe('exchange', () => {
  const chunk = () => new Encoder(7).one(rtnl.link.dump({}), false);
  /** The same, as a control message, which is never answered. */
  const mute = () => {
    const bytes = chunk().bytes.slice();
    bytes[4] = 1;
    return bytes;
  };

  test('answers in order; its replies are of its own sequence numbers and port', async () => {
    const nl = addon().netlinkOpen(0, -1, 0);
    try {
      const replies = await Promise.all(
        [11, 12, 13].map((seq) => {
          const { bytes } = new Encoder(seq).one(rtnl.link.dump({}), false);
          return nl.exchange(bytes, seq, 5000);
        }),
      );
      for (const [i, { data, overrun }] of replies.entries()) {
        const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
        expect(overrun).toBe(false);
        for (let at = 0; at < data.length; at += (view.getUint32(at, true) + 3) & ~3) {
          expect(view.getUint32(at + 8, true)).toBe(11 + i);
          expect(view.getUint32(at + 12, true)).toBe(nl.portId);
        }
      }
    } finally {
      nl.close();
    }
  });

  test('gives up after its time, and the socket goes on', async () => {
    const nl = addon().netlinkOpen(0, -1, 0);
    try {
      await expect(nl.exchange(mute(), 7, 50)).rejects.toMatchObject({ code: 'ETIMEDOUT' });
      const before = nl.portId;
      const { data } = await nl.exchange(chunk().bytes, 7, 5000);
      expect(new DataView(data.buffer, data.byteOffset).getUint32(12, true)).toBe(before);
    } finally {
      nl.close();
    }
  });

  test('is rejected when the socket is closed, before and after', async () => {
    const nl = addon().netlinkOpen(0, -1, 0);
    const waiting = [nl.exchange(mute(), 7, 60_000), nl.exchange(mute(), 7, 60_000)];
    nl.close();
    nl.close();
    const ends = await Promise.allSettled([...waiting, nl.exchange(chunk().bytes, 7, 1000)]);
    expect(ends).toEqual(
      ends.map(() => ({ status: 'rejected', reason: expect.objectContaining({ code: 'ECANCELED' }) })),
    );
  });

  test('refuses what is no row of whole messages', async () => {
    const nl = addon().netlinkOpen(0, -1, 0);
    const good = chunk().bytes.slice();
    const long = good.slice();
    long[0] = 0xff;
    try {
      for (const [bytes, seq] of [
        [good, 8],
        [good.slice(0, 20), 7],
        [long, 7],
        [new Uint8Array(), 7],
        [new Uint8Array(2 << 20), 7],
      ] as const) {
        expect(() => nl.exchange(bytes, seq, 1000)).toThrow(TypeError);
      }
      expect(() => nl.exchange('x' as unknown as Uint8Array, 7, 1000)).toThrow(TypeError);
      expect(() => nl.exchange(good, 7, -1)).toThrow(TypeError);
    } finally {
      nl.close();
    }
  });

  test('believes only the kernel', async () => {
    const nl = addon().netlinkOpen(0, -1, 0);
    try {
      const waiting = nl.exchange(mute(), 7, 700);
      // Another process sends what would be the acknowledgement.
      const forge = `
        socket(my $s, 16, 3, 0) or die $!;
        my $ack = pack('LSSLLl', 36, 2, 0, 7, ${nl.portId}, 0) . ("\\0" x 16);
        send($s, $ack, 0, pack('SSLL', 16, 0, ${nl.portId}, 0)) or die $!;
      `;
      await run(['perl', '-e', forge]);
      await expect(waiting).rejects.toMatchObject({ code: 'ETIMEDOUT' });
    } finally {
      nl.close();
    }
  });
});

describe('single calls', () => {
  test('flockTry holds a file until it is closed', () => {
    const file = join(thisProcess().tempDir('flock'), 'lock');
    const [one, two] = [openSync(file, 'w'), openSync(file, 'w')];
    expect(addon().flockTry(one)).toBe(true);
    expect(addon().flockTry(one)).toBe(true);
    expect(addon().flockTry(two)).toBe(false);
    closeSync(one);
    expect(addon().flockTry(two)).toBe(true);
    closeSync(two);
    expect(() => addon().flockTry(two)).toThrow(expect.objectContaining({ code: 'EBADF' }));
  });

  test('peerCred names who is at the other end', async () => {
    const path = join(thisProcess().tempDir('peer'), 'sock');
    const seen = new Promise<ReturnType<ReturnType<typeof addon>['peerCred']>>((resolve, reject) => {
      const server = createServer((socket) => {
        server.close();
        try {
          resolve(addon().peerCred((socket as unknown as { _handle: { fd: number } })._handle.fd));
        } catch (error) {
          reject(error);
        }
        socket.destroy();
      }).listen(path, () => {
        child = spawn(process.execPath, ['-e', `require('net').connect(${JSON.stringify(path)})`]);
      });
    });
    let child: ReturnType<typeof spawn> | undefined;
    const peer = await seen;
    expect(peer).toEqual({ pid: child!.pid, uid: process.getuid!(), gid: process.getgid!() });
    const file = openSync('/dev/null', 'r');
    expect(() => addon().peerCred(file)).toThrow(expect.objectContaining({ code: 'ENOTSOCK' }));
    closeSync(file);
  });

  test.each(['path', 'abstract'])('sdNotify sends one datagram to a socket by %s', async (how) => {
    const path = join(thisProcess().tempDir('notify'), 'sock');
    const name = how === 'path' ? path : `@${path}`;
    expect(addon().sdNotify(name, 'READY=1')).toBe(false);
    const listen = `
      socket(my $s, 1, 2, 0) or die $!;
      $ARGV[0] =~ s/^@/\\0/;
      bind($s, pack('Sa*', 1, $ARGV[0])) or die $!;
      $| = 1;
      print "listening\\n";
      alarm 10;
      recv($s, my $got, 4096, 0) // die $!;
      print $got;
    `;
    const child = spawn('perl', ['-e', listen, name]);
    let said = '';
    const ended = new Promise((resolve) => child.once('close', resolve));
    child.stdout.on('data', (data) => {
      said += data;
      if (said === 'listening\n') expect(addon().sdNotify(name, 'READY=1\nSTATUS=all there')).toBe(true);
    });
    await ended;
    expect(said).toBe('listening\nREADY=1\nSTATUS=all there');
  });

  test('sdNotify refuses names that are none', () => {
    for (const name of ['', '/', 'relative', `/${'x'.repeat(200)}`]) {
      expect(() => addon().sdNotify(name, 'READY=1')).toThrow(TypeError);
    }
  });

  test('bootTimeMs goes on', async () => {
    const before = addon().bootTimeMs();
    const start = performance.now();
    await new Promise((resolve) => setTimeout(resolve, 20));
    const passed = addon().bootTimeMs() - before;
    expect(passed).toBeGreaterThan(15);
    expect(passed).toBeLessThanOrEqual(performance.now() - start + 1);
  });
});
