import { closeSync, openSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { addon } from '../../src/native/addon.ts';
import {
  decodeResults,
  encodeProbes,
  type NativeProber,
  openProber,
  type Probe,
  type ProbeResult,
} from '../../src/native/prober.ts';
import { addr, addrBytes } from '../../src/net/addr.ts';
import { FORGERIES, forge } from '../support/echoForger.ts';
import type { Netns } from '../support/netns.ts';
import { thisProcess } from '../support/owner.ts';
import { run, until } from '../support/proc.ts';
import { Tunnel } from '../support/tunnel.ts';

/** The sockets that probes leave by, in namespaces. */

/** Sends probes and keeps results, the last of each token. */
class Sender implements Disposable {
  readonly results = new Map<number, ProbeResult>();
  /** How many results there were. */
  count = 0;
  readonly #native: NativeProber;
  #token = 0;

  constructor(netns: Netns) {
    const fd = openSync(netns.path, 'r');
    this.#native = openProber(addon(), fd, (values) => {
      for (const result of decodeResults(values)) {
        this.results.set(result.token, result);
        this.count++;
      }
    });
    closeSync(fd);
  }

  send(...probes: readonly (Partial<Probe> & { readonly to: string })[]): number[] {
    const whole = probes.map(({ to, ...probe }) => ({
      token: ++this.#token,
      address: addrBytes(addr(to)),
      kind: 'echo' as const,
      size: 104,
      port: 0,
      ...probe,
    }));
    expect(this.#native.send(encodeProbes(whole))).toBe(true);
    return whole.map(({ token }) => token);
  }

  /** The results of these, when all are there. */
  all(tokens: readonly number[]): Promise<(ProbeResult & { token: number })[]> {
    return until(`results of ${tokens}`, () => {
      const found = tokens.map((token) => this.results.get(token));
      return found.every((result) => result !== undefined) && (found as ProbeResult[]);
    });
  }

  async one(probe: Partial<Probe> & { readonly to: string }): Promise<ProbeResult> {
    return (await this.all(this.send(probe)))[0]!;
  }

  [Symbol.dispose](): void {
    this.#native.close();
  }
}

test.concurrent('what the kernel refuses, and what is too large for a router', async () => {
  await using t = await Tunnel.create(thisProcess());
  using sender = new Sender(t.a.netns);
  const inner = t.b.inner[4];
  expect(await sender.one({ to: inner, size: 1450 })).toMatchObject({ what: 'answered' });
  // EMSGSIZE, ENETUNREACH
  expect(await sender.one({ to: inner, size: 1451 })).toMatchObject({ what: 'not-sent', errno: 90 });
  expect(await sender.one({ to: '203.0.113.1' })).toMatchObject({ what: 'not-sent', errno: 101 });
  // What a route was lowered to is not what is asked.
  await t.a.netns.ipBatch([
    `route change ${inner}/24 via ${inner} dev vx0 onlink mtu 1300`,
    `route change ${t.b.inner[6]}/48 via ${t.b.inner[6]} dev vx0 onlink mtu 1300`,
  ]);
  expect(await sender.one({ to: inner, size: 1450 })).toMatchObject({ what: 'answered' });
  expect(await sender.one({ to: t.b.inner[6], size: 1450 })).toMatchObject({ what: 'answered' });
  expect(await sender.one({ to: t.b.inner[6], size: 1451 })).toMatchObject({ what: 'not-sent', errno: 90 });
  // A firewall's word for it: EPERM.
  await t.a.netns.nft(
    'table ip no { chain c { type filter hook output priority 0; icmp type echo-request drop\n }\n }',
  );
  expect(await sender.one({ to: inner })).toMatchObject({ what: 'not-sent', errno: 1 });
  await t.a.netns.nft('delete table ip no');

  // Behind the other end there is a network that takes less, and it says so.
  await t.b.netns.ipBatch([
    'link add behind mtu 1400 type veth peer name unused',
    'link set unused up',
    'addr add 10.99.0.1/24 dev behind',
    'addr add fd00:99::1/64 dev behind',
    'link set behind up',
  ]);
  await t.b.netns.sysctl({ 'net/ipv4/ip_forward': 1, 'net/ipv6/conf/all/forwarding': 1 });
  await t.a.netns.ipBatch([
    `route add 10.99.0.0/24 via ${inner} dev vx0 onlink`,
    `route add fd00:99::/64 via ${t.b.inner[6]} dev vx0 onlink`,
  ]);
  for (const to of ['10.99.0.7', 'fd00:99::7']) {
    expect(await sender.one({ to, size: 1450 })).toMatchObject({ what: 'too-big', mtu: 1400 });
  }
});

test.concurrent('a forged answer does not count, a doubled one counts once', async () => {
  await using t = await Tunnel.create(thisProcess());
  const log = join(thisProcess().tempDir('forger'), 'log');
  await using forger = await forge(t.b, log, FORGERIES);
  using sender = new Sender(t.a.netns);
  for (let n = 1; n <= FORGERIES.length; n++) {
    sender.send({ to: t.b.inner[4] });
    await forger.saying(new RegExp(`answered ${n}\n`));
  }
  const honest = ['none', 'twice'].map((name) => FORGERIES.indexOf(name as 'none') + 1);
  const results = await sender.all(honest);
  expect(results.map(({ what }) => what)).toEqual(['answered', 'answered']);
  // What came before them has been read before them, and the second of two right after the first.
  expect([...sender.results.keys()]).toEqual(honest);
  await sender.all(sender.send({ to: '203.0.113.1' }));
  expect(sender.count).toBe(3);
});

/** The threads of the probers in this process. */
const threads = (): string[] =>
  readdirSync('/proc/self/task').filter((tid) => {
    try {
      return readFileSync(`/proc/self/task/${tid}/comm`, 'utf8') === 'loden-prober\n';
    } catch {
      return false;
    }
  });

/** How often a thread has gone to sleep. */
const sleeps = (tid: string): number =>
  Number(
    /^voluntary_ctxt_switches:\s+(\d+)/m.exec(readFileSync(`/proc/self/task/${tid}/status`, 'utf8'))![1],
  );

test("answers to others' echo requests, a flood of them, wake nobody", async () => {
  await using t = await Tunnel.create(thisProcess());
  const others = new Set(threads());
  using sender = new Sender(t.a.netns);
  const [thread, ...more] = threads().filter((tid) => !others.has(tid));
  expect(more).toEqual([]);
  await sender.one({ to: t.b.inner[4] });
  await until('quiet', async () => {
    const before = sleeps(thread!);
    await sleep(50);
    return sleeps(thread!) === before;
  });
  const before = sleeps(thread!);
  using other = new Sender(t.a.netns);
  for (const family of [4, 6] as const) {
    const to = t.b.inner[family];
    const flood = Array.from({ length: 500 }, (_, i) =>
      i % 100 === 0 ? { to, kind: 'udp' as const, port: 61_000 + i } : { to },
    );
    await other.all(other.send(...flood));
  }
  expect(sleeps(thread!) - before).toBe(0);
  await sender.one({ to: t.b.inner[4] });
  expect(sleeps(thread!)).toBeGreaterThan(before);
});

test('without CAP_NET_RAW it says what is missing', async () => {
  const src = new URL('../../src/', import.meta.url).href;
  const said = await run([
    ...['setpriv', '--bounding-set=-net_raw', '--inh-caps=-net_raw', '--'],
    ...[process.execPath, '--input-type=module-typescript', '--eval'],
    `const { Prober } = await import('${src}probe/prober.ts');
     try { new Prober({ interval: 0 }); } catch (error) { console.log(error.name, error.message, error.cause.code); }`,
  ]);
  expect(said).toMatch(/^NativeError cannot open sockets for probes: socket: EPERM .*CAP_NET_RAW.* EPERM\n$/);
});
