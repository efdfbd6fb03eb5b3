import { openSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { RunOptions } from '../../src/config/run.ts';
import { Handover } from '../../src/daemon/handover.ts';
import { openLog } from '../../src/daemon/log.ts';
import { type Bundle, descriptorsOf } from '../../src/forwarder/bundle.ts';
import type { Forwarder } from '../../src/forwarder/forwarder.ts';
import { FdStore } from '../../src/handover/fdStore.ts';
import { addon } from '../../src/native/addon.ts';
import { Netns } from '../support/netns.ts';
import { NotifySocket } from '../support/notifySocket.ts';
import { thisProcess } from '../support/owner.ts';
import { until } from '../support/proc.ts';

const SRC = new URL('../../src/', import.meta.url).href;

/**
 * A process to which `open` (shell redirections) is passed as a service manager would, under these names; it takes what
 * it can, and prints that, what it was told, and what is open of 3 to 9 then.
 */
async function taken(netns: Netns, open: string, names: string, count = names.split(':').length) {
  const code = `
    const { FdStore } = await import('${SRC}handover/fdStore.ts');
    const { readlinkSync } = await import('node:fs');
    const { readFile } = await import('node:fs/promises');
    const links = () => [3, 4, 5, 6, 7, 8, 9].map((fd) => { try { return readlinkSync('/proc/self/fd/' + fd) } catch { return '' } });
    const before = links();
    const log = [];
    const bundle = new FdStore(process.env, (level, text, fields) => log.push({ level, text, ...fields })).take(process.env);
    const env = Object.keys(process.env).filter((name) => name.startsWith('LISTEN_'));
    // Node.js still works.
    await new Promise((resolve) => setTimeout(resolve, 5));
    const works = (await readFile('/proc/self/stat', 'utf8')).length > 0;
    const after = links();
    console.log(JSON.stringify({ bundle, log, env, works, closed: before.flatMap((link, i) => link && after[i] !== link ? [i + 3] : []) }));
  `;
  const node = `${process.execPath} --input-type=module-typescript --eval "$CODE"`;
  const script = `export LISTEN_PID=$$; exec ${node} ${open}`;
  const said = await netns.run(['sh', '-c', script], {
    env: { CODE: code, LISTEN_FDS: String(count), LISTEN_FDNAMES: names },
  });
  return JSON.parse(said) as {
    bundle?: Bundle;
    log: { level: string; text: string; fd: number; why: string }[];
    env: string[];
    works: boolean;
    closed: number[];
  };
}

describe('what a service manager passes', () => {
  test('is closed unless it is what its name says, and the environment forgets it', async () => {
    await using netns = await Netns.create(thisProcess(), 'listen');
    const got = await taken(netns, '3</dev/null 4</etc/passwd', 'loden-tun.0:http');
    expect(got).toMatchObject({ env: [], works: true, closed: [3, 4] });
    expect(got.bundle).toBeUndefined();
    expect(got.log.map(({ level, fd, why }) => `${level} ${fd} ${why}`)).toEqual([
      'warn 3 it is neither a queue of a TUN device nor a UDP socket',
      'warn 4 "http" is no name of ours',
    ]);
  });

  test('may be far less than it says: what is Node.js’s own is left alone', async () => {
    await using netns = await Netns.create(thisProcess(), 'listen');
    const names = Array.from({ length: 1000 }, (_, i) => `loden-tun.${i % 16}`).join(':');
    const got = await taken(netns, '', names);
    expect(got).toMatchObject({ env: [], works: true, closed: [] });
    expect(got.bundle).toBeUndefined();
  });

  test('is used when it is ours', async () => {
    await using netns = await Netns.create(thisProcess(), 'listen');
    await netns.ip('addr add 192.0.2.1/32 dev lo');
    // The addon opens them, and the process becomes the one they are passed to.
    const names = 'loden-udp4.0:loden-tun.0';
    const opener = `
      const { addon } = await import('${SRC}native/addon.ts');
      const { spawnSync } = await import('node:child_process');
      addon().tunCreate('flannel0');
      const [tun] = addon().tunAttach('flannel0', 1);
      const { sockets } = addon().udpOpen(Uint8Array.of(192, 0, 2, 1), 8285, 1);
      const { stdout } = spawnSync('sh', ['-c', 'export LISTEN_PID=$$; exec "$0" --input-type=module-typescript --eval "$CODE"', process.execPath], {
        stdio: ['ignore', 'pipe', 'inherit', sockets[0], tun],
        env: { ...process.env, LISTEN_FDS: '2', LISTEN_FDNAMES: '${names}' },
      });
      process.stdout.write(stdout);
    `;
    const code = `
      const { FdStore } = await import('${SRC}handover/fdStore.ts');
      const { readFileSync } = await import('node:fs');
      const bundle = new FdStore(process.env, () => {}).take(process.env);
      const flags = [3, 4].map((fd) => /flags:\\s*(\\d+)/.exec(readFileSync('/proc/self/fdinfo/' + fd, 'utf8'))[1]);
      console.log(JSON.stringify({ bundle, flags }));
    `;
    const said = await netns.run([process.execPath, '--input-type=module-typescript', '--eval', opener], {
      env: { CODE: code },
    });
    const { bundle, flags } = JSON.parse(said) as { bundle: Bundle; flags: string[] };
    expect(bundle).toEqual({
      device: 'flannel0',
      port: 8285,
      queues: [{ tun: 4, udp4: 3, udp6: -1, out4: -1, out6: -1 }],
    });
    // O_CLOEXEC: our children do not get them.
    for (const text of flags) expect(Number.parseInt(text, 8) & 0o2000000).not.toBe(0);
  });
});

describe('the store', () => {
  /** A descriptor of a new file. */
  const open = () => openSync(join(thisProcess().tempDir('stored'), 'file'), 'w');
  const bundle = (tun: number, udp4: number): Bundle => ({
    device: 'flannel0',
    port: 8285,
    queues: [{ tun, udp4, udp6: -1, out4: -1, out6: -1 }],
  });
  const STORED = [
    'FDSTORE=1',
    'FDPOLL=0',
    'FDNAME=loden-tun.0',
    'FDSTORE=1',
    'FDPOLL=0',
    'FDNAME=loden-udp4.0',
  ];
  const REMOVED = ['FDSTOREREMOVE=1', 'FDNAME=loden-tun.0', 'FDSTOREREMOVE=1', 'FDNAME=loden-udp4.0'];

  test('is told of each change once, and of a number that stands for another file', async () => {
    await using manager = await NotifySocket.listen();
    const store = new FdStore({ NOTIFY_SOCKET: manager.path }, () => {});
    const [a, b, c] = [open(), open(), open()];
    store.keep(undefined);
    store.keep(bundle(a, b));
    store.keep(bundle(a, b));
    await until('it to be told', () => manager.told.length >= STORED.length);
    expect(manager.told).toEqual(STORED);
    addon().closeFds([b]);
    // The lowest number that is free is given to the next, but others take numbers too.
    const more = [open()];
    while (more.at(-1) !== b && more.length < 1000) more.push(open());
    const again = more.at(-1)!;
    expect(again).toBe(b);
    store.keep(bundle(a, again));
    await until('it to be told', () => manager.told.length >= 2 * STORED.length + REMOVED.length);
    expect(manager.told).toEqual([...STORED, ...REMOVED, ...STORED]);
    store.keep(undefined);
    await until('it to be told', () => manager.told.length >= 2 * (STORED.length + REMOVED.length));
    expect(manager.told.slice(-REMOVED.length)).toEqual(REMOVED);
    addon().closeFds([a, c, ...more]);
  });

  test('that takes nothing is told of again, and given up', { timeout: 20_000 }, async () => {
    const path = join(thisProcess().tempDir('nobody'), 'socket');
    const said: string[] = [];
    const store = new FdStore({ NOTIFY_SOCKET: path }, (level, text) => said.push(`${level} ${text}`));
    const [a, b] = [open(), open()];
    store.keep(bundle(a, b));
    await until('it to be given up', () => said.length > 0);
    expect(said).toEqual([expect.stringMatching(/^warn .*a restart will lose packets/)]);
    addon().closeFds([a, b]);
  });

  test('keeps what it has when the daemon ends', async () => {
    await using manager = await NotifySocket.listen();
    const stored = bundle(open(), open());
    let changed = (): void => {};
    const forwarder = {
      running: true,
      bundle: stored as Bundle | undefined,
      onChange: (listener: () => void) => {
        changed = listener;
        return () => {
          changed = () => {};
        };
      },
    };
    const dir = thisProcess().tempDir('ends');
    const handover = new Handover({
      options: { runDir: dir, stateDir: dir, etcd: { prefix: '/p' }, takeover: false } as RunOptions,
      env: { NOTIFY_SOCKET: manager.path },
      log: openLog({ level: 'error', format: 'json' }).log,
      stop: { signal: new AbortController().signal, abort: () => {}, cause: () => undefined },
      forwarder: forwarder as unknown as Forwarder,
    });
    handover.listen();
    await handover.resume();
    await until('it to be told', () => manager.told.length >= STORED.length);
    handover.close();
    // The forwarder closes its descriptors, and tells so.
    forwarder.bundle = undefined;
    changed();
    handover.end();
    addon().sdNotify(manager.path, 'STOPPING=1');
    await manager.saying(/STOPPING/);
    expect(manager.told).toEqual([...STORED, 'STOPPING=1']);
    addon().closeFds(descriptorsOf(stored));
  });

  test('is not asked where there is none', () => {
    const store = new FdStore({}, () => expect.unreachable());
    store.keep(bundle(0, 1));
    store.keep(undefined);
  });
});
