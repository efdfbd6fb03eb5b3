import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { type Commands, MissingCommand } from '../../src/kernel/command.ts';
import { Firewall, type FirewallDesired } from '../../src/kernel/firewall.ts';
import { NOTHING } from '../../src/kernel/firewallPass.ts';
import type { Family } from '../../src/net/addr.ts';
import { prefix } from '../../src/net/prefix.ts';

const NET = prefix('10.5.0.0/16');
const MASQUERADE: FirewallDesired = {
  masquerade: new Map([[4 as Family, { network: NET, subnet: prefix('10.5.7.0/24'), fullyRandom: true }]]),
  forward: new Map(),
};
const FORWARD: FirewallDesired = { masquerade: new Map(), forward: new Map([[4 as Family, NET]]) };

/** A kernel with nft tables that are either as written last or gone, and one FORWARD chain of iptables-nft. */
class Host implements Commands {
  /** The text that was written, by `ip loden`. */
  tables = new Map<string, string>();
  policy = 'ACCEPT';
  rules: string[] = [];
  legacy = '';
  missing = new Set<string>();
  /** What nft -f says instead of working. */
  refusal = '';
  looks = 0;
  writes = 0;
  hint: () => void = () => {};

  async run(
    argv: readonly string[],
    input = '',
  ): Promise<{ status: number; stdout: string; stderr: string }> {
    const [command, ...args] = argv as [string, ...string[]];
    const ok = (stdout = '') => ({ status: 0, stdout, stderr: '' });
    if (this.missing.has(command)) throw new MissingCommand(command);
    if (command === 'nft' && args[1] === 'tables') {
      this.looks++;
      return ok([...this.tables.keys()].map((name) => `table ${name}\n`).join(''));
    }
    if (command === 'nft' && args[0] === '-j') {
      const objects = [...this.tables].flatMap(([name, text]) => this.#objects(name, text));
      return ok(JSON.stringify({ nftables: objects }));
    }
    if (command === 'nft' && args[0] === 'delete') {
      const wasThere = this.tables.delete(args.slice(2).join(' '));
      return wasThere ? ok('') : { status: 1, stdout: '', stderr: 'No such file or directory' };
    }
    if (command === 'nft') {
      if (this.refusal) return { status: 1, stdout: '', stderr: this.refusal };
      for (const [, name] of input.matchAll(/^delete table (.*)$/gm)) this.tables.delete(name!);
      for (const [text, name] of input.matchAll(/^table (\S+ \S+) \{\n[\s\S]*?\n\}\n/gm))
        this.tables.set(name!, text);
      this.#wrote();
      return ok();
    }
    if (command === 'iptables-nft-save') {
      return ok(
        `*filter\n:FORWARD ${this.policy} [0:0]\n${this.rules.map((r) => `-A FORWARD ${r}\n`).join('')}COMMIT\n`,
      );
    }
    if (command === 'iptables-nft-restore') {
      for (const [, rule] of input.matchAll(/^-A FORWARD (.*)$/gm)) this.rules.push(rule!);
      this.#wrote();
      return ok();
    }
    if (command === 'iptables-nft' && args[0] === '-V') return ok('iptables v1.8.9 (nf_tables)');
    if (command === 'iptables-nft') return { status: 1, stdout: '', stderr: 'No chain by that name' };
    throw new MissingCommand(command);
  }

  #wrote(): void {
    this.writes++;
    setTimeout(() => this.hint(), 50);
  }

  /** As nft lists a table of ours; a foreign one is only named. */
  #objects(name: string, text: string): object[] {
    const [family, table] = name.split(' ') as [string, string];
    const chain = {
      family,
      table,
      name: 'postrouting',
      type: 'nat',
      hook: 'postrouting',
      prio: 100,
      policy: 'accept',
    };
    const rules = text.split('\n').filter((line) => /^\t\t(meta|ip)/.test(line));
    const expr = (line: string) =>
      line
        .trim()
        .split(/ (?=return|masquerade)| (?=ip daddr)/)
        .map((s) => {
          if (s === 'return') return { return: null };
          if (s.startsWith('masquerade')) return { masquerade: { flags: s.split(' ').slice(1) } };
          if (s.startsWith('meta')) {
            return { match: { op: '==', left: { '&': [{ meta: { key: 'mark' } }, 0x4000] }, right: 0x4000 } };
          }
          const [protocol, field, ...rest] = s.split(' ');
          const [addr, len] = rest.at(-1)!.split('/');
          const op = rest.length > 1 ? '!=' : '==';
          return {
            match: {
              op,
              left: { payload: { protocol, field } },
              right: { prefix: { addr, len: Number(len) } },
            },
          };
        });
    return [
      { table: { family, name: table } },
      ...(table === 'loden' ? [{ chain }] : []),
      ...rules.map((line) => ({ rule: { family, table, chain: 'postrouting', expr: expr(line) } })),
    ];
  }

  async read(): Promise<string | undefined> {
    return this.legacy;
  }
}

let host: Host;
let firewall: Firewall;
let events: string[];

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
  host = new Host();
  events = [];
  const say = (level: string) => (fields: object, message: string) => {
    events.push(`${level} ${message} ${JSON.stringify(fields)}`);
  };
  firewall = new Firewall({
    commands: host,
    log: { info: say('info'), warn: say('warn'), error: say('error') },
    monitor: (onHint) => {
      host.hint = onHint;
      return { close: () => {} };
    },
  });
});
afterEach(async () => {
  await firewall.stop();
  vi.useRealTimers();
});

/** Time in which hints come at an even pace. */
const hints = async (ms: number, every: number, before: () => void = () => {}): Promise<void> => {
  for (let t = 0; t < ms; t += every) {
    before();
    host.hint();
    await vi.advanceTimersByTimeAsync(every);
  }
};

describe('the firewall', () => {
  test('writes once, and a restart writes nothing', async () => {
    expect(await firewall.set(MASQUERADE)).toEqual({
      inSync: true,
      error: null,
      repairs: { masquerade: 0, forward: 0 },
      problems: [],
    });
    await vi.advanceTimersByTimeAsync(60_000);
    expect(host.writes).toBe(1);
    // The look that our own change called for, and no other.
    expect(host.looks).toBe(2);

    const restarted = new Firewall({ commands: host, log: console, monitor: () => ({ close() {} }) });
    expect((await restarted.set(MASQUERADE)).inSync).toBe(true);
    await restarted.stop();
    expect(host.writes).toBe(1);
  });

  test('asks nothing when the same is desired again', async () => {
    await firewall.set(MASQUERADE);
    await vi.advanceTimersByTimeAsync(1_000);
    const looks = host.looks;
    await firewall.set({ masquerade: new Map(MASQUERADE.masquerade), forward: new Map() });
    expect(host.looks).toBe(looks);
  });

  test('removes what is no longer desired, and sees the last of two quick wishes', async () => {
    await firewall.set(MASQUERADE);
    await Promise.all([firewall.set(NOTHING), firewall.set(MASQUERADE), firewall.set(NOTHING)]);
    expect([...host.tables.keys()]).toEqual([]);
  });

  test('puts right what others change, and counts it', async () => {
    await firewall.set(MASQUERADE);
    await vi.advanceTimersByTimeAsync(1_000);
    host.tables.clear();
    host.hint();
    await vi.advanceTimersByTimeAsync(1_000);
    expect(host.tables.has('ip loden')).toBe(true);
    expect(firewall.status().repairs).toEqual({ masquerade: 1, forward: 0 });
    expect(events.filter((e) => e.startsWith('warn'))).toHaveLength(1);
  });

  test('looks at most twice a second when another program writes all the time', async () => {
    await firewall.set(MASQUERADE);
    const before = host.looks;
    await hints(60_000, 50);
    expect(host.looks - before).toBeGreaterThan(100);
    expect(host.looks - before).toBeLessThanOrEqual(125);
  });

  test('does not fight a program that undoes its work, and says so', async () => {
    await firewall.set(MASQUERADE);
    await hints(60_000, 100, () => host.tables.clear());
    expect(host.writes).toBeGreaterThan(10);
    expect(host.writes).toBeLessThanOrEqual(35);
    expect(firewall.status().problems).toEqual([expect.stringContaining('another program undoes')]);
    expect(events.length).toBeLessThan(15);
    // It stops: we put the table back and the problem goes.
    host.hint();
    await vi.advanceTimersByTimeAsync(120_000);
    expect(host.tables.has('ip loden')).toBe(true);
    expect(firewall.status().problems).toEqual([]);
  });

  test('says which package is missing, and goes on when it is there', async () => {
    host.missing.add('nft');
    const status = await firewall.set(MASQUERADE);
    expect(status).toMatchObject({
      inSync: false,
      error: 'nft is not installed: install the package nftables',
    });
    await vi.advanceTimersByTimeAsync(10 * 60_000);
    expect(events).toHaveLength(1);
    host.missing.clear();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(firewall.status()).toMatchObject({ inSync: true, error: null });
    expect(host.tables.has('ip loden')).toBe(true);
  });

  test('repeats what failed, ever more slowly', async () => {
    host.refusal = 'Error: Could not process rule: Operation not permitted\ntable ip loden {\n^^^^';
    expect((await firewall.set(MASQUERADE)).error).toContain(
      'write nft table ip loden: Error: Could not process rule',
    );
    await vi.advanceTimersByTimeAsync(5 * 60_000);
    expect(host.looks).toBeGreaterThan(10);
    expect(host.looks).toBeLessThan(30);
    host.refusal = '';
    await vi.advanceTimersByTimeAsync(60_000);
    expect(firewall.status().inSync).toBe(true);
  });

  test('puts forward rules without nft, where iptables refuses', async () => {
    host.missing.add('nft');
    expect((await firewall.set(FORWARD)).inSync).toBe(true);
    // An untouched chain may be none at all: iptables shows one in any case.
    expect(host.rules).toEqual([]);
    host.policy = 'DROP';
    host.hint();
    await vi.advanceTimersByTimeAsync(1_000);
    expect(host.rules).toHaveLength(2);
    expect(firewall.status().repairs.forward).toBe(1);
  });

  test('looks at legacy iptables now and then, for it notifies nobody', async () => {
    await firewall.set(FORWARD);
    await vi.advanceTimersByTimeAsync(60_000);
    const looks = host.looks;
    expect(looks).toBe(1);
    host.legacy = 'nat\nfilter\n';
    await vi.advanceTimersByTimeAsync(60_000);
    expect(host.looks - looks).toBe(6);
    expect(firewall.status().problems).toEqual([expect.stringContaining('iptables-legacy is not installed')]);
  });

  test('looks at intervals when there are no notifications', async () => {
    await firewall.stop();
    firewall = new Firewall({
      commands: host,
      log: { info() {}, warn() {}, error() {} },
      monitor: () => {
        throw new Error('EPROTONOSUPPORT');
      },
    });
    await firewall.set(MASQUERADE);
    host.tables.clear();
    await vi.advanceTimersByTimeAsync(15_000);
    expect(host.tables.has('ip loden')).toBe(true);
  });

  test('removes what flanneld left once, then tells when it comes back', async () => {
    host.tables.set('ip flannel-ipv4', '');
    await firewall.set(MASQUERADE);
    expect([...host.tables.keys()]).toEqual(['ip loden']);
    host.tables.set('ip6 flannel-ipv6', '');
    host.hint();
    await vi.advanceTimersByTimeAsync(1_000);
    expect(host.tables.has('ip6 flannel-ipv6')).toBe(true);
    expect(firewall.status().problems).toEqual([
      expect.stringContaining('flanneld seems to run beside loden'),
    ]);
  });

  test('leaves flanneld’s rules alone until its own are in', async () => {
    host.tables.set('ip flannel-ipv4', '');
    host.refusal = 'Error: no';
    await firewall.set(MASQUERADE);
    expect(host.tables.has('ip flannel-ipv4')).toBe(true);
  });

  test('writes nothing after it was stopped', async () => {
    await firewall.set(MASQUERADE);
    await firewall.stop();
    host.tables.clear();
    host.hint();
    await vi.advanceTimersByTimeAsync(60_000);
    await firewall.set(MASQUERADE);
    expect(host.writes).toBe(1);
  });

  test('cleans up its own and nothing else', async () => {
    await firewall.set(MASQUERADE);
    await firewall.stop();
    host.tables.set('ip foreign', '');
    host.tables.set('netdev loden-peers', '');
    expect(await Firewall.cleanup(host)).toEqual({
      removed: ['table ip loden', 'table netdev loden-peers'],
      problems: [],
    });
    expect([...host.tables.keys()]).toEqual(['ip foreign']);
    expect(await Firewall.cleanup(host)).toEqual({ removed: [], problems: [] });
    host.missing.add('nft');
    expect(await Firewall.cleanup(host)).toEqual({ removed: [], problems: [] });
  });
});
