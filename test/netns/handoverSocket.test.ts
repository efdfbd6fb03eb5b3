import { chmodSync, closeSync, fstatSync, openSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { addon, type NativeConnection } from '../../src/native/addon.ts';
import { thisProcess } from '../support/owner.ts';
import { CommandError, run, until } from '../support/proc.ts';

const descriptors = (): number => readdirSync('/proc/self/fd').length;
const threads = (): number => readdirSync('/proc/self/task').length;
const inode = (fd: number): number => fstatSync(fd).ino;
/** How many descriptors there are once those of earlier tests are closed. */
const settled = async (): Promise<number> => {
  let [before, now] = [-1, descriptors()];
  while (before !== now) {
    await sleep(100);
    [before, now] = [now, descriptors()];
  }
  return now;
};
const socketPath = (): string => join(thisProcess().tempDir('seq'), 'sock');

type Got = Exclude<ReturnType<NativeConnection['receive']>, undefined>;

/** A connection and all it received. */
class End implements Disposable {
  readonly got: Got[] = [];
  connection!: NativeConnection;

  readonly onReady = (): void => {
    for (;;) {
      const message = this.connection.receive();
      if (message === undefined) return;
      this.got.push(message);
      if (message === 'end') return;
    }
  };

  next(n = 1): Promise<Got> {
    return until(`${n} messages`, () => this.got[n - 1]);
  }

  [Symbol.dispose](): void {
    for (const message of this.got.splice(0)) if (typeof message === 'object') message.fds.forEach(closeSync);
    this.connection.close();
  }
}

/** A listener at `path` and the connections it accepted. */
function listen(path: string): { accepted: End[] } & Disposable {
  const accepted: End[] = [];
  const listener = addon().handoverListen(path, () => {
    for (;;) {
      const end = new End();
      const connection = listener.accept(end.onReady);
      if (!connection) return;
      end.connection = connection;
      accepted.push(end);
    }
  });
  return {
    accepted,
    [Symbol.dispose]: () => {
      for (const end of accepted) end[Symbol.dispose]();
      listener.close();
    },
  };
}

function connect(path: string): End {
  const end = new End();
  end.connection = addon().handoverConnect(path, end.onReady);
  return end;
}

/** A connected pair. */
async function pair(): Promise<{ here: End; there: End } & Disposable> {
  const path = socketPath();
  const listener = listen(path);
  const here = connect(path);
  const there = await until('a connection', () => listener.accepted[0]);
  return {
    here,
    there,
    [Symbol.dispose]: () => {
      here[Symbol.dispose]();
      listener[Symbol.dispose]();
    },
  };
}

/** Perl with a connected SEQPACKET socket $s; for what our own end would not send. */
const perl = (path: string, code: string, user?: number): Promise<string> => {
  const as = user === undefined ? [] : ['setpriv', '--reuid', String(user), '--clear-groups'];
  const script = `use Socket; socket(my $s, AF_UNIX, 5, 0) or die "socket: $!";
    connect($s, sockaddr_un($ARGV[0])) or die "connect: $!"; ${code}`;
  return run([...as, 'perl', '-e', script, path]);
};

describe('messages with descriptors', () => {
  test('arrive whole, in order, both ways, and stand for the same files', async () => {
    using ends = await pair();
    const file = openSync('/dev/null', 'r');
    const other = openSync('/proc/self/status', 'r');
    const { here, there } = ends;
    expect(here.connection.send(Buffer.from('one'), [file, other])).toBe(true);
    expect(here.connection.send(Buffer.alloc(65_536, 7), [])).toBe(true);
    expect(there.connection.send(Buffer.from('back'), [other])).toBe(true);
    const [one, two] = [await there.next(), await there.next(2)];
    const back = await here.next();
    if (typeof one !== 'object' || typeof two !== 'object' || typeof back !== 'object')
      throw new Error('no message');
    expect(Buffer.from(one.bytes).toString()).toBe('one');
    expect(one.fds.map(inode)).toEqual([inode(file), inode(other)]);
    expect(Buffer.from(two.bytes).equals(Buffer.alloc(65_536, 7))).toBe(true);
    expect(two.fds).toEqual([]);
    expect(back.fds.map(inode)).toEqual([inode(other)]);
    // O_CLOEXEC.
    for (const fd of [...one.fds, ...back.fds]) {
      const flags = /^flags:\s*([0-7]+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))![1]!;
      expect(Number.parseInt(flags, 8) & 0o2000000).not.toBe(0);
    }
    closeSync(file);
    closeSync(other);
  });

  test('carry as many descriptors as the kernel takes', async () => {
    using ends = await pair();
    const fd = openSync('/dev/null', 'r');
    const many = Array.from({ length: 253 }, () => fd);
    expect(ends.here.connection.send(Buffer.from('x'), many)).toBe(true);
    expect(await ends.there.next()).toMatchObject({ fds: { length: 253 } });
    expect(() => ends.here.connection.send(Buffer.from('x'), [...many, fd])).toThrow(TypeError);
    closeSync(fd);
    expect(() => ends.here.connection.send(Buffer.from('x'), [fd])).toThrow(
      expect.objectContaining({ code: 'EBADF' }),
    );
  });

  test('are what they must be', async () => {
    using ends = await pair();
    const { connection } = ends.here;
    for (const bytes of [Buffer.alloc(0), Buffer.alloc(65_537), 'text', undefined]) {
      expect(() => connection.send(bytes as Uint8Array, [])).toThrow(TypeError);
    }
    for (const fds of [[-1], [1.5], [2 ** 31], ['0'], {}, undefined]) {
      expect(() => connection.send(Buffer.from('x'), fds as number[])).toThrow(TypeError);
    }
  });

  test('are not waited for: who does not read is given no more', async () => {
    using ends = await pair();
    const message = Buffer.alloc(60_000);
    let taken = 0;
    // The other end reads on this very thread, so it reads nothing meanwhile.
    while (ends.here.connection.send(message, []) && taken < 1000) taken++;
    expect(taken).toBeGreaterThan(0);
    expect(taken).toBeLessThan(1000);
  });

  test('end when an end closes, after what it sent before', async () => {
    using ends = await pair();
    ends.here.connection.send(Buffer.from('last'), []);
    ends.here.connection.close();
    ends.here.connection.close();
    expect(() => ends.here.connection.send(Buffer.from('x'), [])).toThrow(
      expect.objectContaining({ code: 'EPIPE' }),
    );
    expect(await ends.there.next(2)).toBe('end');
    expect(ends.there.got[0]).toMatchObject({ bytes: Buffer.from('last') });
    expect(() => ends.there.connection.send(Buffer.from('x'), [])).toThrow(
      expect.objectContaining({ code: 'EPIPE' }),
    );
  });
});

test('the last words of an end that has not read everything are heard', async () => {
  using ends = await pair();
  ends.here.connection.send(Buffer.from('never read'), []);
  ends.there.connection.send(Buffer.from('last words'), []);
  ends.there.connection.close();
  expect(await ends.here.next(2)).toBe('end');
  expect(ends.here.got[0]).toMatchObject({ bytes: Buffer.from('last words') });
});

describe('the socket file', () => {
  test('is for its owner alone, and free once nobody listens', async () => {
    const path = socketPath();
    const umask = process.umask(0);
    {
      using _ = listen(path);
      process.umask(umask);
      expect(statSync(path).mode & 0o777).toBe(0o600);
      expect(() => addon().handoverListen(path, () => {})).toThrow(
        expect.objectContaining({ code: 'EADDRINUSE' }),
      );
    }
    expect(() => connect(path)).toThrow(expect.objectContaining({ code: 'ECONNREFUSED' }));
    expect(() => connect(`${path}-none`)).toThrow(expect.objectContaining({ code: 'ENOENT' }));
    expect(() => connect(`/${'x'.repeat(107)}`)).toThrow(expect.objectContaining({ code: 'ENAMETOOLONG' }));
  });

  test('tells who has connected, if they may', async () => {
    const path = socketPath();
    using listener = listen(path);
    await expect(perl(path, '', 65_534)).rejects.toThrow(/connect: Permission denied/);
    chmodSync(path, 0o666);
    chmodSync(join(path, '..'), 0o755);
    await perl(path, 'syswrite($s, "x")', 65_534);
    await perl(path, 'syswrite($s, "x")');
    const [stranger, self] = await until('two', () => listener.accepted.length === 2 && listener.accepted);
    expect(stranger!.connection.peer).toMatchObject({ uid: 65_534 });
    expect(self!.connection.peer).toMatchObject({ uid: process.getuid!() });
  });
});

describe('hostile ends', () => {
  test('what is too long is refused, an empty message is the end', async () => {
    const path = socketPath();
    using listener = listen(path);
    await perl(path, 'syswrite($s, "x" x 65537) or die $!; syswrite($s, "y"); send($s, "", 0); sleep 1');
    const [end] = listener.accepted;
    await until('the end', () => end!.got.at(-1) === 'end');
    expect(end!.got).toEqual(['refused', { bytes: Buffer.from('y'), fds: [] }, 'end']);
  });

  test('descriptors beyond our limit are refused, and those that came are closed', async () => {
    const path = socketPath();
    const before = await settled();
    // A process that may open few files gets many descriptors.
    const code = `
      const { addon } = await import(${JSON.stringify(new URL('../../src/native/addon.ts', import.meta.url).href)});
      const { readdirSync, writeSync } = await import('node:fs');
      const had = readdirSync('/proc/self/fd').length;
      const c = addon().handoverConnect(${JSON.stringify(path)}, () => {
        const got = c.receive();
        if (got === undefined) return;
        writeSync(1, (got.bytes ?? got) + ' ' + (readdirSync('/proc/self/fd').length - had) + '\\n');
        if (got === 'end') c.close();
      });
      c.send(Buffer.from('hello'), []);
    `;
    const listener = listen(path);
    const little = run([
      ...['prlimit', '--nofile=64', process.execPath, '--input-type=module-typescript', '--eval', code],
    ]);
    const end = await until('it', () => listener.accepted.find((e) => e.got.length === 1));
    const fd = openSync('/dev/null', 'r');
    end.connection.send(
      Buffer.from('many'),
      Array.from({ length: 200 }, () => fd),
    );
    closeSync(fd);
    await until('them to be out of our hands', () => end.connection.send(Buffer.from('x'), []));
    end.connection.close();
    // A connection is two more than it had.
    expect(await little).toBe('refused 2\nx 2\nend 2\n');
    listener[Symbol.dispose]();
    await until('the sockets to be closed', () => descriptors() === before);
  });

  test('a thousand connections leave nothing behind', async () => {
    const path = socketPath();
    const [files, tasks] = [await settled(), threads()];
    const fd = openSync('/dev/null', 'r');
    {
      using listener = listen(path);
      for (let i = 0; i < 1000; i++) {
        using end = connect(path);
        end.connection.send(Buffer.from('x'), [fd, fd]);
        const there = await until('it', () => listener.accepted[i], 5_000, 0);
        if (i % 2 === 0) await there.next();
        there[Symbol.dispose]();
      }
    }
    closeSync(fd);
    await until('all to be closed', () => descriptors() === files && threads() === tasks);
  });
});

describe('the end of a process or worker', () => {
  const url = JSON.stringify(new URL('../../src/native/addon.ts', import.meta.url).href);
  const program = (code: string) =>
    run([process.execPath, '--input-type=module-typescript', '--eval', code], { timeout: 20_000 });

  test('is not put off by a listener, but by a connection', async () => {
    const path = JSON.stringify(socketPath());
    const said = await program(`
      const { addon } = await import(${url});
      const l = addon().handoverListen(${path}, () => { l.accept(() => {})?.send(Buffer.from('x'), []); });
      const c = addon().handoverConnect(${path}, () => { console.log(c.receive().bytes.length); process.exit(); });
    `);
    expect(said).toBe('1\n');
    const path2 = JSON.stringify(socketPath());
    expect(
      await program(`(await import(${url})).addon().handoverListen(${path2}, () => {}); console.log('done')`),
    ).toBe('done\n');
  });

  test('closes what is open in it', async () => {
    const path = JSON.stringify(socketPath());
    const said = await program(`
      import { Worker } from 'node:worker_threads';
      const { addon } = await import(${url});
      const accepted = [];
      const l = addon().handoverListen(${path}, () => {
        const c = l.accept(() => { if (c.receive() === 'end') { console.log('end'); c.close(); l.close(); } });
      });
      const worker = new Worker(\`
        import(${url}).then(({ addon }) => addon().handoverConnect(${path.replaceAll('"', "'")}, () => {}));
      \`.replaceAll('"', "'"), { eval: true });
      setTimeout(() => worker.terminate(), 1000);
    `);
    expect(said).toBe('end\n');
  });

  test('an exception in a callback is an uncaught one', async () => {
    const path = JSON.stringify(socketPath());
    const ended = program(`
      const { addon } = await import(${url});
      addon().handoverListen(${path}, () => { throw new Error('thrown in the callback'); });
      addon().handoverConnect(${path}, () => {});
    `);
    await expect(ended).rejects.toThrow(CommandError);
    await expect(ended).rejects.toThrow(/thrown in the callback/);
  });
});
