import { readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DEFAULTS, EXIT, FILES } from '../../src/contract.ts';
import { type Message, PROTOCOL } from '../../src/handover/protocol.ts';
import type { Cluster } from '../support/cluster.ts';
import { bothWays, flow, lossless } from '../support/flow.ts';
import type { Host, LogLine } from '../support/host.ts';
import { dump, foreignText, overlayText } from '../support/kernelText.ts';
import { pinnedCluster } from '../support/pinned.ts';
import { CommandError, until } from '../support/proc.ts';
import type { Workload } from '../support/workload.ts';

const SUBNETS = `${DEFAULTS.etcdPrefix}/subnets/`;

const state = async (host: Host): Promise<string> => {
  const d = await dump(host.netns);
  return overlayText(d) + foreignText(d);
};

/** Lines the daemons of a host have logged, from `since` on. */
const said = (host: Host, msg: string, since = 0): LogLine[] =>
  host
    .logs()
    .slice(since)
    .filter((line) => line.msg === msg);

let cluster: Cluster;
let pods: readonly [Workload, Workload];
let host: Host;

async function prepare(Type: string): Promise<void> {
  const args = Type === 'udp' ? ['--udp-threads', '3'] : [];
  cluster = await pinnedCluster([0, 0], { families: [4, 6], backend: { Type }, args });
  host = cluster.hosts[0]!;
  pods = [await host.workload(), await cluster.hosts[1]!.workload()];
}

/** Neither packets are lost, nor is anything in the kernel or of the lease touched. */
async function expectNothingHappens(during: () => Promise<unknown>): Promise<void> {
  const before = await state(host);
  const leases = await cluster.etcd.list(SUBNETS);
  await lossless(bothWays(...pods, cluster.families), during);
  expect(await state(host)).toBe(before);
  const kept = ({ key, lease }: { key: string; lease: string }) => ({ key, lease });
  expect((await cluster.etcd.list(SUBNETS)).map(kept)).toEqual(leases.map(kept));
}

/** `loden run --takeover` that is refused, with the host's options but for `changes`; resolves to its last word. */
async function refused(...changes: string[]): Promise<string> {
  const error = await host.netns.run([...host.command, '--takeover', ...changes]).then(
    () => undefined,
    (e: unknown) => e,
  );
  if (!(error instanceof CommandError)) throw new Error('it is not refused');
  expect(error.status).toBe(EXIT.busy);
  return error.stderr.split('\n').findLast((line) => line.startsWith('loden: '))!;
}

describe('by vxlan', () => {
  beforeAll(() => prepare('vxlan'));
  afterAll(() => cluster?.[Symbol.asyncDispose]());

  test('a takeover is a change of daemons and nothing else', async () => {
    await expectNothingHappens(async () => {
      for (let i = 0; i < 2; i++) await host.takeOver();
    });
    expect(said(host, 'taken over')).toMatchObject([{ bundle: false }, { bundle: false }]);
  });
});

describe('by udp', () => {
  beforeAll(() => prepare('udp'));
  afterAll(() => cluster?.[Symbol.asyncDispose]());

  test('20 takeovers lose no packet', { timeout: 300_000 }, async () => {
    await expectNothingHappens(async () => {
      for (let i = 0; i < 20; i++) await host.takeOver();
    });
    const taken = said(host, 'taken over');
    expect(taken).toHaveLength(20);
    expect(taken.every((line) => line.bundle === true)).toBe(true);
  });

  test('a daemon of another place is refused, and changes nothing', async () => {
    await expectNothingHappens(async () => {
      expect(await refused('--etcd-prefix', '/other')).toMatch(
        /cannot take over .*handover\.sock, which goes on: .* etcd prefix \/other, not \/coreos\.com\/network/,
      );
      expect(await refused('--state-dir', join(host.dir, 'other'))).toMatch(/state directory .*\/other, not/);
    });
    expect((await host.request('/readyz')).status).toBe(200);
  });

  test('a new one that cannot forward gives back what it got', async () => {
    const table = join(host.runDir, FILES.forwarderTable);
    const since = host.logs().length;
    renameSync(table, `${table}.away`);
    try {
      await expectNothingHappens(async () => {
        expect(await refused()).toMatch(
          /which goes on: there is no table to forward by in .*forwarder\.table/,
        );
        await until('the old one to forward again', () => said(host, 'forwarding', since).length === 1);
      });
    } finally {
      renameSync(`${table}.away`, table);
    }
  });

  test('a new one that could not go on afterwards takes nothing', async () => {
    const file = join(host.stateDir, FILES.nodeId);
    const id = readFileSync(file);
    const since = host.logs().length;
    writeFileSync(file, 'damaged');
    try {
      await expectNothingHappens(async () => {
        expect(await refused()).toMatch(/which goes on: .*node\.json holds no node id/);
      });
    } finally {
      writeFileSync(file, id);
    }
    expect(said(host, 'forwarding', since)).toEqual([]);
  });

  /** A new daemon that takes `steps` steps of a takeover, says so, and goes no further. */
  const dying = (steps: number): string[] => {
    const { dev, ino } = statSync(host.netns.path);
    const hello: Message = {
      type: 'hello',
      protocol: PROTOCOL,
      version: 'dying',
      place: { prefix: DEFAULTS.etcdPrefix, stateDir: host.stateDir, netns: `${dev}:${ino}` },
    };
    const code = `
      const { addon } = await import(${JSON.stringify(new URL('../../src/native/addon.ts', import.meta.url).href)});
      let heard = 0;
      const c = addon().handoverConnect(${JSON.stringify(join(host.runDir, FILES.handoverSocket))}, () => {
        for (let m = c.receive(); m !== undefined; m = c.receive()) {
          if (typeof m === 'string') { console.log(m); return; }
          const { type } = JSON.parse(m.bytes.toString());
          console.log(type, 'with', m.fds.length);
          if (++heard === 1 && ${steps} > 1) c.send(Buffer.from('{"type":"give"}'), []);
        }
      });
      if (${steps} > 0) c.send(Buffer.from(${JSON.stringify(JSON.stringify(hello))}), []);
      else console.log('connected');
      setTimeout(() => {}, 60_000);
    `;
    return [process.execPath, '--input-type=module-typescript', '--eval', code];
  };

  test.each([
    ['has connected', 0, /^connected$/m],
    ['has been greeted', 1, /^hello with 0$/m],
    ['has got the descriptors', 2, /^bundle with (?!0$)/m],
  ] as const)('a new one that dies when it %s loses no packet', async (_, steps, reached) => {
    const since = host.logs().length;
    await expectNothingHappens(async () => {
      await using doomed = await host.netns.start(dying(steps), {
        log: join(host.dir, `dying-${steps}.log`),
      });
      await doomed.saying(reached);
      doomed.kill('SIGKILL');
      await until('it to be noticed', () =>
        host
          .logs()
          .slice(since)
          .some(({ msg }) => /the daemon that was taking over is gone/.test(msg ?? '')),
      );
      // The next one is welcome.
      await host.takeOver();
    });
    expect(said(host, 'forwarding', since)).toHaveLength(steps === 2 ? 2 : 1);
  });

  test('a new one that is slow to forward is waited for, and then no longer', async () => {
    await expectNothingHappens(async () => {
      await using slow = await host.netns.start(dying(2), { log: join(host.dir, 'slow.log') });
      // Seconds of packets wait in the kernel's queues.
      await slow.saying(/^refusal with 0$/m);
      await slow.saying(/^end$/m);
    });
  });

  test('while etcd is away, packets go on over a takeover and come back after a kill', {
    timeout: 180_000,
  }, async () => {
    await cluster.etcd.stop();
    await lossless(bothWays(...pods, cluster.families), () => host.takeOver({ wait: false }));
    const since = host.logs().length;
    const loss = await flow([...pods], async () => {
      await host.stop('SIGKILL');
      await host.start({ wait: false });
      await host.logged(
        'that it forwards',
        ({ msg }) => msg === 'forwarding' && said(host, 'forwarding', since).length > 0,
      );
    });
    expect((await host.request('/readyz')).status).toBe(503);
    // What came while there was no process is lost, and nothing after it.
    expect(loss.longestLossRun).toBe(loss.lost);
    const [started] = said(host, 'loden starts', since);
    const [forwards] = said(host, 'forwarding', since);
    // Some 15 ms; nothing is waited for in between, so a slow machine makes it no second.
    expect(Date.parse(String(forwards!.time)) - Date.parse(String(started!.time))).toBeLessThan(1_000);
    await lossless(bothWays(...pods, cluster.families), async () => {
      await cluster.etcd.start();
      await host.ready();
    });
  });
});
