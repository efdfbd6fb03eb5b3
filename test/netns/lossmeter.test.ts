import { spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { measureLoss } from '../support/loss.ts';
import { Netns } from '../support/netns.ts';
import { thisProcess } from '../support/owner.ts';
import { CommandError, Proc, run } from '../support/proc.ts';

const METER = fileURLToPath(new URL('../../build/native/lossmeter', import.meta.url));

let netns: Netns;
let dir: string;
beforeAll(async () => {
  dir = thisProcess().tempDir('loss');
  netns = await Netns.create(thisProcess(), 'loss');
});
afterAll(() => netns?.[Symbol.asyncDispose]());

let logs = 0;
/** A receiver that listens; in the namespace, or on this machine's loopback. */
async function receiver(args: readonly string[], where?: Netns): Promise<{ proc: Proc; port: number }> {
  const argv = [METER, 'receive', ...args];
  const options = { log: join(dir, `receive-${logs++}`) };
  const proc = await (where ? where.start(argv, options) : Proc.start(argv, options));
  const [, port] = await proc.saying(/listening on port (\d+)/);
  return { proc, port: Number(port) };
}

/** The line of JSON it printed when it had ended. */
async function result(proc: Proc): Promise<Record<string, unknown>> {
  expect(await proc.exited).toBe('status 0');
  return JSON.parse(proc.output().split('\n').at(-2)!) as Record<string, unknown>;
}

describe('counting', () => {
  const DATA = 0;
  const END = 1;
  /** A datagram as the sender makes it; `magic` other than its own makes it foreign. */
  function datagram(kind: number, number: number, id = 5, magic = 0x4c444c4d): Uint8Array {
    const view = new DataView(new ArrayBuffer(24));
    view.setUint32(0, magic);
    view.setUint32(4, kind);
    view.setUint32(8, id);
    view.setBigUint64(16, BigInt(number));
    return new Uint8Array(view.buffer);
  }
  /** Sends them in order, on loopback, where order holds. */
  async function feed(port: number, datagrams: readonly Uint8Array[]): Promise<void> {
    const socket = createSocket('udp4');
    for (const d of datagrams) await new Promise((sent) => socket.send(d, port, '127.0.0.1', sent));
    socket.close();
  }

  test('lost, doubled and reordered ones, and those of others', async () => {
    const { proc, port } = await receiver(['--port', '0', '--bind', '127.0.0.1', '--seconds', '20']);
    await feed(port, [
      ...[2, 3, 5, 4, 4, 9, 2].map((n) => datagram(DATA, n)),
      datagram(DATA, 1, 6),
      datagram(DATA, 1, 5, 1),
      new Uint8Array(3),
      datagram(DATA, 2 ** 40),
      datagram(END, 12),
      datagram(END, 12),
    ]);
    expect(await result(proc)).toMatchObject({
      id: 5,
      received: 5,
      lost: 7,
      doubled: 2,
      reordered: 1,
      longestLossRun: 3,
      firstSeq: 2,
      lastSeq: 9,
      ended: true,
      numbers: 12,
      foreign: 3,
      droppedHere: 0,
    });
  });

  test('without an end, up to the last that came', async () => {
    const { proc, port } = await receiver(['--port', '0', '--bind', '127.0.0.1', '--until-idle', '100']);
    await feed(
      port,
      [1, 3].map((n) => datagram(DATA, n)),
    );
    expect(await result(proc)).toMatchObject({ received: 2, lost: 2, ended: false, numbers: 4 });
  });

  test('the gap is between arrivals, however late they are read', async () => {
    const { proc, port } = await receiver(['--port', '0', '--bind', '127.0.0.1', '--seconds', '20']);
    proc.kill('SIGSTOP');
    await feed(port, [datagram(DATA, 0)]);
    await sleep(300);
    await feed(port, [datagram(DATA, 1), datagram(DATA, 2), datagram(END, 3)]);
    await sleep(200);
    proc.kill('SIGCONT');
    const { longestGapMs, lost } = await result(proc);
    expect(lost).toBe(0);
    expect(longestGapMs).toBeGreaterThan(290);
  });

  test.each(['SIGTERM', 'SIGINT'] as const)('is told on %s', async (signal) => {
    const { proc, port } = await receiver(['--port', '0']);
    await feed(port, [datagram(DATA, 0)]);
    proc.kill(signal);
    expect(await result(proc)).toMatchObject({ received: 1, lost: 0, ended: false });
  });
});

describe('a stream', () => {
  const send = (args: string) =>
    netns.run([METER, 'send', ...args.split(' ')]).then((out) => JSON.parse(out));

  test.each(['127.0.0.1', '::1'])('to %s arrives whole', async (to) => {
    const { proc, port } = await receiver(['--port', '0', '--seconds', '20'], netns);
    const sent = await send(`--to ${to} --port ${port} --count 300 --size 1400 --id 77`);
    expect(sent).toMatchObject({ id: 77, numbers: 300, sent: 300, failed: 0, errors: {} });
    expect(await result(proc)).toMatchObject({
      id: 77,
      received: 300,
      lost: 0,
      doubled: 0,
      reordered: 0,
      ended: true,
      numbers: 300,
    });
  });

  test('keeps its rate from the start on, so that lateness does not add up', async () => {
    const { proc, port } = await receiver(['--port', '0', '--seconds', '20'], netns);
    const sent = await send(`--to 127.0.0.1 --port ${port} --rate 500 --seconds 0.5`);
    expect(sent.numbers).toBe(250);
    expect(sent.durationMs).toBeGreaterThan(490);
    expect(await result(proc)).toMatchObject({ received: 250, lost: 0 });
  });

  test('loses what an nft rule drops, and the gap is as long as the rule lived', async () => {
    const during = async () => {
      await sleep(150);
      await netns.nft(`
        table inet cut {
          chain input { type filter hook input priority 0; udp dport 5300 counter drop; }
        }
      `);
      await sleep(250);
      const rules = JSON.parse(await netns.run(['nft', '-j', 'list', 'table', 'inet', 'cut']));
      await netns.nft('delete table inet cut');
      await sleep(150);
      return rules;
    };
    let dropped = 0;
    const loss = await measureLoss(netns, netns, '127.0.0.1', {
      dir,
      during: async () => {
        const { nftables } = await during();
        for (const { rule } of nftables as { rule?: { expr: { counter?: { packets: number } }[] } }[]) {
          for (const { counter } of rule?.expr ?? []) dropped += counter?.packets ?? 0;
        }
      },
    });
    expect(dropped).toBeGreaterThan(100);
    // Some more are dropped between the look at the counter and the end of the rule.
    expect(loss.lost).toBeGreaterThanOrEqual(dropped);
    expect(loss).toMatchObject({ ended: true, doubled: 0, errors: {}, longestLossRun: loss.lost });
    expect(loss.longestGapMs).toBeGreaterThan(loss.lost / 2);
    expect(loss.received + loss.lost).toBe(loss.numbers);
  });

  test('counts what the sending host refuses as lost, by errno', async () => {
    const { proc, port } = await receiver(['--port', '0', '--seconds', '20', '--until-idle', '400'], netns);
    await netns.ip('addr add 192.0.2.9/32 dev lo');
    const sending = send(`--to 192.0.2.9 --port ${port} --seconds 0.6`);
    await sleep(150);
    await netns.ip('addr del 192.0.2.9/32 dev lo');
    await sleep(150);
    await netns.ip('addr add 192.0.2.9/32 dev lo');
    const sent = await sending;
    const refused = Object.values(sent.errors as Record<string, number>).reduce((a, b) => a + b, 0);
    expect(Object.keys(sent.errors).every((e) => e === 'ENETUNREACH' || e === 'EHOSTUNREACH')).toBe(true);
    expect(refused).toBeGreaterThan(50);
    expect(sent).toMatchObject({ numbers: 600, failed: refused, sent: 600 - refused });
    expect(await result(proc)).toMatchObject({ numbers: 600, lost: refused, received: 600 - refused });
  });

  test('twice is doubled', async () => {
    const { proc, port } = await receiver(['--port', '0', '--seconds', '20'], netns);
    const args = `--to 127.0.0.1 --port ${port} --count 600 --id 3`;
    await Promise.all([send(args), send(args)]);
    expect(await result(proc)).toMatchObject({ received: 600, doubled: 600, lost: 0 });
  });
});

test.each([
  [],
  ['neither'],
  ['send', '--to', '127.0.0.1'],
  ['send', '--to', 'localhost', '--port', '1', '--count', '1'],
  ['send', '--to', '127.0.0.1', '--port', '70000', '--count', '1'],
  ['send', '--to', '127.0.0.1', '--port', '1', '--count', '1', '--seconds', '1'],
  ['send', '--to', '127.0.0.1', '--port', '1', '--count', '1x'],
  ['receive', '--port', '1', '--colour', 'red'],
  ['receive', '--port'],
])('%j is wrong usage', async (...args) => {
  const failed = await run([METER, ...args]).catch((e: unknown) => e);
  expect(failed).toBeInstanceOf(CommandError);
  expect(failed).toMatchObject({ status: 64, stdout: '', stderr: expect.stringContaining('usage:') });
});

test('a port that is taken is told', async () => {
  const { proc, port } = await receiver(['--port', '0', '--bind', '127.0.0.1', '--seconds', '10']);
  const second = spawn(METER, ['receive', '--port', String(port), '--bind', '127.0.0.1']);
  let said = '';
  second.stderr.on('data', (data) => {
    said += data;
  });
  expect(await new Promise((resolve) => second.once('close', resolve))).toBe(1);
  expect(said).toMatch(/Address already in use/);
  await proc.stop();
});
