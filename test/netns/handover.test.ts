import {
  chmodSync,
  closeSync,
  existsSync,
  fstatSync,
  openSync,
  readdirSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, onTestFinished, test } from 'vitest';
import { EXIT } from '../../src/contract.ts';
import type { Bundle } from '../../src/forwarder/bundle.ts';
import { formatMessage, type Message, type Place, PROTOCOL } from '../../src/handover/protocol.ts';
import { HandoverServer, type ServerParts } from '../../src/handover/server.ts';
import { takeOver } from '../../src/handover/takeOver.ts';
import { addon } from '../../src/native/addon.ts';
import { thisProcess } from '../support/owner.ts';
import { Proc, run, until } from '../support/proc.ts';

const PLACE: Place = { prefix: '/coreos.com/network', stateDir: '/var/lib/loden', netns: '4:1' };
const descriptors = (): number => readdirSync('/proc/self/fd').length;
const inode = (fd: number): number => fstatSync(fd).ino;
const HELLO: Message = { type: 'hello', protocol: PROTOCOL, version: '1', place: PLACE };

/** How many descriptors there are once all that is being closed is closed. */
async function settled(): Promise<number> {
  let [before, now] = [-1, descriptors()];
  while (before !== now) {
    await sleep(100);
    [before, now] = [now, descriptors()];
  }
  return now;
}

/** A bundle of `queues` queues of five distinct files. */
function someBundle(queues: number): Bundle {
  const dir = thisProcess().tempDir('files');
  const file = (name: string) => openSync(join(dir, name), 'w+');
  return {
    device: 'flannel0',
    port: 8285,
    queues: Array.from({ length: queues }, (_, i) => ({
      tun: file(`tun${i}`),
      udp4: file(`udp4${i}`),
      udp6: file(`udp6${i}`),
      out4: file(`out4${i}`),
      out6: file(`out6${i}`),
    })),
  };
}

const all = ({ queues }: Bundle): number[] =>
  queues.flatMap(({ tun, udp4, udp6, out4, out6 }) => [tun, udp4, udp6, out4, out6]);

/** A running daemon, as far as handovers go, and what was done to it. */
class Old {
  readonly path = join(thisProcess().tempDir('handover'), 'handover.sock');
  readonly did: string[] = [];
  readonly said: string[] = [];
  bundle: Bundle | undefined;
  readonly server: HandoverServer;

  constructor(parts: Partial<ServerParts> = {}) {
    this.server = new HandoverServer(this.path, {
      place: PLACE,
      release: async () => {
        this.did.push('release');
        return this.bundle;
      },
      resume: () => this.did.push('resume'),
      end: () => this.did.push('end'),
      log: (level, text) => this.said.push(`${level}: ${text}`),
      ...parts,
    });
    onTestFinished(() => this.server.end());
  }
}

/** A new daemon that takes over, and what was done to it. */
function takes(old: { path: string }, parts: Partial<Parameters<typeof takeOver>[1]> = {}) {
  const did: string[] = [];
  const got: Bundle[] = [];
  const outcome = takeOver(old.path, {
    place: PLACE,
    prepare: async () => void did.push('prepare'),
    start: async (bundle) => {
      did.push('start');
      got.push(bundle);
      onTestFinished(() => all(bundle).forEach(closeSync));
    },
    stop: async () => void did.push('stop'),
    log: () => {},
    ...parts,
  });
  // It is looked at later.
  outcome.catch(() => {});
  return { did, got, outcome };
}

/** A connection that says what it likes; every message it got. */
function stranger(path: string) {
  const got: unknown[] = [];
  const connection = addon().handoverConnect(path, () => {
    for (;;) {
      const message = connection.receive();
      if (message === undefined) return;
      got.push(typeof message === 'string' ? message : JSON.parse(Buffer.from(message.bytes).toString()));
      if (typeof message !== 'string') message.fds.forEach(closeSync);
      if (message === 'end') return connection.close();
    }
  });
  onTestFinished(() => connection.close());
  return {
    got,
    connection,
    say: (...messages: Message[]) => {
      for (const m of messages) connection.send(formatMessage(m), []);
    },
  };
}

describe('a takeover', () => {
  test.each([1, 16])('passes the very descriptors of %i queues', async (queues) => {
    const old = new Old();
    old.bundle = someBundle(queues);
    const taker = takes(old);
    await until('the end of the old one', () => old.did.includes('end'));
    expect(taker.did).toEqual(['prepare', 'start']);
    const [got] = taker.got;
    expect(all(got!).map(inode)).toEqual(all(old.bundle).map(inode));
    expect(new Set([...all(got!), ...all(old.bundle)]).size).toBe(queues * 10);
    // It waits until the other one is gone.
    await sleep(100);
    expect(await Promise.race([taker.outcome, 'waiting'])).toBe('waiting');
    old.server.end();
    expect(await taker.outcome).toEqual({ kind: 'taken', bundle: true });
    expect(old.did).toEqual(['release', 'end']);
    expect(existsSync(old.path)).toBe(false);
  });

  test('passes the place of a daemon that has no descriptors', async () => {
    const old = new Old({ end: () => old.server.end() });
    const taker = takes(old);
    expect(await taker.outcome).toEqual({ kind: 'taken', bundle: false });
    expect(taker.did).toEqual(['prepare']);
  });

  test('from nobody is none', async () => {
    const path = join(thisProcess().tempDir('none'), 'handover.sock');
    expect(await takes({ path }).outcome).toMatchObject({ kind: 'alone' });
    new Old().server.end();
    addon()
      .handoverListen(path, () => {})
      .close();
    expect(await takes({ path }).outcome).toMatchObject({ kind: 'alone' });
  });

  test.each([
    ['that cannot prepare', { prepare: () => Promise.reject(new Error('no memory')) }, /no memory/, []],
    [
      'that cannot start',
      { start: () => Promise.reject(new Error('no thread')) },
      /no thread/,
      ['release', 'resume'],
    ],
    [
      'of another network',
      { place: { ...PLACE, prefix: '/other' } },
      /etcd prefix \/other, not \/coreos/,
      [],
    ],
  ] as const)('by a daemon %s leaves everything as it was', async (_, parts, why, did) => {
    const old = new Old();
    old.bundle = someBundle(2);
    const before = await settled();
    const refused = takes(old, parts).outcome;
    await expect(refused).rejects.toThrow(why);
    await expect(refused).rejects.toMatchObject({ exitCode: EXIT.busy });
    await until('it to go on', () => old.said.some((line) => /goes on|forwards again/.test(line)));
    expect(old.did).toEqual(did);
    expect(await settled()).toBe(before);
    // The next one may.
    expect(await Promise.race([takes(old).outcome, until('the end', () => old.did.includes('end'))])).toBe(
      true,
    );
  });

  test('whose old daemon dies having given goes on; before that there is nothing', async () => {
    const old = new Old();
    old.bundle = someBundle(1);
    const begun = Promise.withResolvers<void>();
    const go = Promise.withResolvers<void>();
    const taker = takes(old, {
      start: async () => {
        begun.resolve();
        await go.promise;
      },
    });
    await begun.promise;
    old.server.end();
    await sleep(50);
    go.resolve();
    expect(await taker.outcome).toEqual({ kind: 'taken', bundle: true });

    const other = new Old();
    expect(await takes(other, { prepare: async () => other.server.end() }).outcome).toMatchObject({
      kind: 'alone',
    });
  });

  test('is one at a time', async () => {
    const old = new Old();
    const go = Promise.withResolvers<void>();
    const first = takes(old, { prepare: () => go.promise });
    await until('it to be greeted', () => old.said.length > 0);
    await expect(takes(old).outcome).rejects.toThrow(/another daemon is taking over/);
    go.resolve();
    await until('the end', () => old.did.includes('end'));
    await expect(takes(old).outcome).rejects.toThrow(/the daemon is ending/);
    old.server.end();
    expect(await first.outcome).toMatchObject({ kind: 'taken' });
  });

  test('of one that took too long is taken back', { timeout: 20_000 }, async () => {
    const old = new Old();
    old.bundle = someBundle(1);
    const go = Promise.withResolvers<void>();
    const taker = takes(old, { start: () => go.promise });
    await until('it to go on', () => old.did.includes('resume'));
    go.resolve();
    await expect(taker.outcome).rejects.toThrow(/took too long/);
    expect(taker.did).toEqual(['prepare', 'stop']);
    expect(old.did).toEqual(['release', 'resume']);
  });
});

describe('the socket', () => {
  test('is for its owner alone', async () => {
    const old = new Old();
    expect(statSync(old.path).mode & 0o777).toBe(0o600);
    // Even if it were not: who it is counts.
    chmodSync(old.path, 0o666);
    chmodSync(dirname(old.path), 0o755);
    const perl = `use Socket; socket(my $s, AF_UNIX, 5, 0) or die; connect($s, sockaddr_un($ARGV[0])) or die "connect: $!";
      syswrite($s, $ARGV[1]); print defined(sysread($s, my $got, 65536)) && length $got ? $got : 'closed';`;
    const as = ['setpriv', '--reuid', '65534', '--clear-groups', 'perl', '-e', perl];
    expect(await run([...as, old.path, Buffer.from(formatMessage(HELLO)).toString()])).toBe('closed');
    expect(old.said).toEqual(['warn: somebody else asked for a takeover: refused']);
  });

  test('of a dead daemon is replaced, of a living one not, and nothing else is', async () => {
    const path = join(thisProcess().tempDir('stale'), 'handover.sock');
    const parts: ServerParts = {
      place: PLACE,
      release: async () => undefined,
      resume: () => {},
      end: () => {},
      log: () => {},
    };
    addon()
      .handoverListen(path, () => {})
      .close();
    expect(existsSync(path)).toBe(true);
    const server = new HandoverServer(path, parts);
    onTestFinished(() => server.end());
    expect(() => new HandoverServer(path, parts)).toThrow(
      expect.objectContaining({ exitCode: EXIT.busy, message: expect.stringContaining(path) }),
    );
    await sleep(50);
    expect(await Promise.race([takes({ path }).outcome, sleep(100, 'served')])).toBe('served');
    server.end();
    writeFileSync(path, 'precious');
    expect(() => new HandoverServer(path, parts)).toThrow(/in the way of our socket/);
  });

  test('refuses what is no message of its time, and goes on', async () => {
    const old = new Old();
    const before = await settled();
    const cases: ((s: ReturnType<typeof stranger>) => void)[] = [
      ({ connection }) => connection.send(Buffer.from('garbage'), []),
      ({ connection }) => connection.send(Buffer.alloc(65_536, '['), []),
      ({ say }) => say({ type: 'give' }),
      ({ say }) => say({ type: 'forwarding' }),
      ({ say }) => say({ type: 'bundle', manifest: null, descriptors: 0 }),
      ({ say }) => say(HELLO, { type: 'forwarding' }),
      ({ say }) => say(HELLO, HELLO),
      ({ connection }) => connection.send(formatMessage(HELLO), [0, 1, 2]),
      ({ connection }) => connection.send(Buffer.from('{"type":"hello","protocol":2}'), []),
    ];
    for (const [i, act] of cases.entries()) {
      const one = stranger(old.path);
      act(one);
      await until(`case ${i} to be refused`, () => one.got.at(-1) === 'end');
      expect(one.got.at(-2), `case ${i}`).toMatchObject({ type: 'refusal' });
    }
    expect(old.did).toEqual([]);
    expect(await settled()).toBe(before);
    old.server.close();
  });

  test('takes back what a stranger was given who then says nonsense, or nothing', async () => {
    const old = new Old();
    old.bundle = someBundle(1);
    for (const act of [
      (s: ReturnType<typeof stranger>) => s.connection.close(),
      (s: ReturnType<typeof stranger>) => s.say({ type: 'give' }),
      (s: ReturnType<typeof stranger>) => s.say({ type: 'refusal', code: 'failed', reason: 'no' }),
    ]) {
      old.did.length = 0;
      const one = stranger(old.path);
      one.say(HELLO, { type: 'give' });
      await until('the bundle', () => one.got.some((m) => (m as Message).type === 'bundle'));
      act(one);
      await until('it to go on', () => old.did.includes('resume'));
      expect(old.did).toEqual(['release', 'resume']);
    }
  });

  test('listens again after it could accept nobody', async () => {
    // A process of its own, which runs out of descriptors and gets some back.
    const dir = thisProcess().tempDir('full');
    const path = join(dir, 'handover.sock');
    const src = new URL('../../src/', import.meta.url).href;
    const code = `
      const { HandoverServer } = await import('${src}handover/server.ts');
      const { openSync, closeSync } = await import('node:fs');
      const place = ${JSON.stringify(PLACE)};
      const log = (level, text) => console.log(text);
      new HandoverServer('${path}', { place, release: async () => undefined, resume() {}, end() {}, log });
      const taken = [];
      try { for (;;) taken.push(openSync('/dev/null')); } catch {}
      console.log('full');
      setTimeout(() => taken.forEach((fd) => closeSync(fd)), 2_000);
      setInterval(() => {}, 1_000);
    `;
    const argv = [process.execPath, '--input-type=module-typescript', '--eval', code];
    await using full = await Proc.start(['prlimit', '--nofile=100', ...argv], { log: join(dir, 'log') });
    await full.saying(/^full$/m);
    const lost = stranger(path);
    await full.saying(/cannot accept a connection/);
    await until('it to be let go', () => lost.got.includes('end'));
    await until('it to listen again, and to answer', async () => {
      const one = stranger(path);
      one.say(HELLO);
      await sleep(50);
      return one.got.some((m) => (m as Message).type === 'hello');
    });
  });

  test('leaves nothing behind of a hundred takeovers that fail', async () => {
    const old = new Old();
    old.bundle = someBundle(4);
    const before = await settled();
    for (let i = 0; i < 100; i++) {
      await expect(takes(old, { start: () => Promise.reject(new Error('no')) }).outcome).rejects.toThrow();
      await until('it to go on', () => old.did.at(-1) === 'resume', 5_000, 1);
    }
    expect(await settled()).toBe(before);
  });
});

describe('a false daemon', () => {
  /** Listens and answers hello with `answers`. */
  function impostor(answers: readonly (readonly [Uint8Array, readonly number[]])[]): { path: string } {
    const path = join(thisProcess().tempDir('false'), 'handover.sock');
    const listener = addon().handoverListen(path, () => {
      const connection = listener.accept(() => {
        for (let m = connection!.receive(); m !== undefined; m = connection!.receive()) {
          if (m === 'end') return connection!.close();
          if (typeof m === 'object' && JSON.parse(Buffer.from(m.bytes).toString()).type === 'give') {
            for (const [bytes, fds] of answers) connection!.send(bytes, fds);
          }
        }
      });
      connection?.send(formatMessage(HELLO), []);
      onTestFinished(() => connection?.close());
    });
    onTestFinished(() => listener.close());
    return { path };
  }
  const manifest = {
    device: 'flannel0',
    port: 8285,
    queues: [{ tun: 0, udp4: 1, udp6: -1, out4: -1, out6: -1 }],
    descriptors: 2,
  };
  const bundle = (descriptors = 2) => Buffer.from(JSON.stringify({ type: 'bundle', manifest, descriptors }));

  test.each<[string, (fd: number) => [Uint8Array, number[]][]]>([
    ['too many descriptors', (fd) => [[bundle(), [fd, fd, fd]]]],
    [
      'too many in the end',
      (fd) => [
        [bundle(), [fd]],
        [Buffer.from('{"type":"more"}'), [fd, fd]],
      ],
    ],
    [
      'none where some were due',
      (fd) => [
        [bundle(), [fd]],
        [Buffer.from('{"type":"more"}'), []],
      ],
    ],
    ['a manifest that does not fit', (fd) => [[bundle(3), [fd, fd, fd]]]],
    ['descriptors with garbage', (fd) => [[Buffer.from('x'), [fd, fd]]]],
    ['a hello once more', (fd) => [[formatMessage(HELLO), [fd]]]],
  ])('that gives %s is refused, and nothing of it stays open', async (_, answers) => {
    const fd = openSync('/dev/null', 'r');
    onTestFinished(() => closeSync(fd));
    const { path } = impostor(answers(fd));
    const before = await settled();
    const taker = takes({ path });
    await expect(taker.outcome).rejects.toMatchObject({ exitCode: EXIT.busy });
    expect(taker.did).toEqual(['prepare']);
    await until('all to be closed', () => descriptors() <= before);
  });
});
