import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { hostIfName } from '../../src/cni/attach/names.ts';
import { CODE } from '../../src/cni/errors.ts';
import type { PluginAnswer } from '../../src/cni/types.ts';
import { nodeOf, ServiceHost } from '../support/cniService.ts';
import { Netns } from '../support/netns.ts';
import { type Owner, thisProcess } from '../support/owner.ts';
import { run, until } from '../support/proc.ts';

/**
 * Random lives of a node: ADD, DEL, CHECK, GC, kills at every step, restarts, pods that die, reboots, and host-local that works on the same
 * store. After each step, files and kernel are exactly what the model says: no address twice, none leaked, nothing foreign touched.
 */

const SUBNET = '10.42.1.0/28';
/** Addresses for pods in it. */
const ROOM = 13;
const PODS = 3;
const KILLED_ADD = ['begun', 'reserved', 'attached', 'recorded'] as const;
const KILLED_DEL = ['detached', 'released'] as const;

type Op =
  | {
      readonly op: 'add';
      readonly pod: number;
      readonly ifname: string;
      readonly mode: string;
      readonly ip?: number;
    }
  | {
      readonly op: 'addKilled';
      readonly pod: number;
      readonly ifname: string;
      readonly at: (typeof KILLED_ADD)[number];
    }
  | { readonly op: 'del' | 'check'; readonly pod: number; readonly ifname: string; readonly isGone: boolean }
  | {
      readonly op: 'delKilled';
      readonly pod: number;
      readonly ifname: string;
      readonly at: (typeof KILLED_DEL)[number];
    }
  | { readonly op: 'gc'; readonly keep: readonly number[]; readonly foreign: boolean }
  | { readonly op: 'restart' | 'kill' | 'reboot' }
  | { readonly op: 'die'; readonly pod: number }
  | { readonly op: 'foreignAdd' | 'foreignDel'; readonly id: number };

const pod = fc.nat(PODS - 1);
const ifname = fc.constantFrom('eth0', 'eth1');
const anyOp: fc.Arbitrary<Op> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      op: fc.constant('add' as const),
      pod,
      ifname,
      mode: fc.constantFrom('bridge', 'ptp'),
      ip: fc.option(fc.integer({ min: 2, max: 14 }), { nil: undefined, freq: 4 }),
    }) as fc.Arbitrary<Op>,
  },
  {
    weight: 3,
    arbitrary: fc.record({
      op: fc.constant('addKilled' as const),
      pod,
      ifname,
      at: fc.constantFrom(...KILLED_ADD),
    }),
  },
  { weight: 4, arbitrary: fc.record({ op: fc.constant('del' as const), pod, ifname, isGone: fc.boolean() }) },
  {
    weight: 2,
    arbitrary: fc.record({ op: fc.constant('check' as const), pod, ifname, isGone: fc.constant(false) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      op: fc.constant('delKilled' as const),
      pod,
      ifname,
      at: fc.constantFrom(...KILLED_DEL),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      op: fc.constant('gc' as const),
      keep: fc.array(fc.nat(5), { maxLength: 6 }),
      foreign: fc.boolean(),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ op: fc.constantFrom('restart' as const, 'kill' as const, 'reboot' as const) }),
  },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('die' as const), pod }) },
  { weight: 5, arbitrary: fc.record({ op: fc.constant('foreignAdd' as const), id: fc.nat(12) }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('foreignDel' as const), id: fc.nat(12) }) },
);

interface Held {
  readonly id: string;
  readonly ifname: string;
  readonly pod: number;
  readonly address: string;
  /** Its namespace is gone, and with it the veth. */
  isDead: boolean;
  readonly prevResult: unknown;
}

class World implements AsyncDisposable {
  readonly #owner: Owner;
  readonly #stack = new AsyncDisposableStack();
  readonly #pods: Netns[] = [];
  /** How often a pod has died: its container is another one then. */
  readonly #lives: number[] = Array<number>(PODS).fill(0);
  #host!: ServiceHost;
  #boot = 0;
  /** Of that boot, with the margin that clocks are given. */
  #since = 0;
  readonly #held = new Map<string, Held>();
  /** Containers that had two interfaces at once. */
  readonly #twofold = new Set<string>();
  readonly #foreign = new Map<string, string>();
  #stand: { readonly at: string; readonly reached: () => void } | undefined;

  private constructor(owner: Owner) {
    this.#owner = owner;
  }

  static async create(): Promise<World> {
    const world = new World(thisProcess());
    const stack = world.#stack;
    const netns = stack.use(await Netns.create(world.#owner, 'node'));
    stack.defer(async () => {
      for (const p of world.#pods) await p[Symbol.asyncDispose]();
    });
    for (let i = 0; i < PODS; i++) world.#pods.push(await Netns.create(world.#owner, `pod${i}`));
    await netns.ipBatch([
      'link add cni0 type bridge',
      'link add vethforeign type veth peer name peerforeign',
      'link set vethforeign master cni0',
      // It could be one of ours by its name.
      'link add veth0123456789a type veth peer name peerstrange',
      'link set veth0123456789a alias somebody',
    ]);
    world.#host = new ServiceHost(netns, world.#owner.tempDir('machine'));
    stack.defer(() => world.#host.close());
    await world.#open();
    // A directory is swept after a reboot if there ever was an attachment from it.
    await world.step({ op: 'add', pod: 0, ifname: 'eth0', mode: 'ptp' });
    const file = join(world.#host.stateDir, 'cni', 'boot');
    await until('the directory to be noted', () => readFileSync(file, 'utf8').includes(world.#host.dataDir));
    return world;
  }

  async #open(): Promise<void> {
    await this.#host.open({
      node: () => nodeOf(SUBNET),
      boot: { id: `boot-${this.#boot}`, since: this.#since },
      step: (name, killed) => {
        if (this.#stand?.at !== name) return undefined;
        this.#stand.reached();
        return killed;
      },
    });
    await until('the start to be over', () => this.#host.service.json().queued === 0);
  }

  #id(n: number): string {
    return `c${n}-${this.#lives[n]}`;
  }
  #key(n: number, ifname: string): string {
    return `${this.#id(n)}/${ifname}`;
  }
  #call(n: number, ifname: string, isGone = false) {
    return { id: this.#id(n), ifname, netns: isGone ? '' : this.#pods[n]!.path };
  }
  get #addresses(): string[] {
    return [...[...this.#held.values()].map((h) => h.address), ...this.#foreign.values()];
  }

  /** What a start, or an ADD that finds no room, does for the dead. */
  #bury(): void {
    for (const [key, h] of this.#held) if (h.isDead) this.#held.delete(key);
  }

  async step(op: Op): Promise<void> {
    switch (op.op) {
      case 'add':
        return await this.#add(op.pod, op.ifname, op.mode, op.ip);
      case 'addKilled': {
        if (this.#held.has(this.#key(op.pod, op.ifname)) || this.#addresses.length >= ROOM) return;
        await this.#killedAt(op.at, 'ADD', op.pod, op.ifname);
        if (op.at === 'recorded') {
          // The runtime has no answer, so it deletes what there may be.
          expect(await this.#host.ask('DEL', this.#call(op.pod, op.ifname))).toEqual({ kind: 'done' });
        }
        return;
      }
      case 'del':
        expect(await this.#host.ask('DEL', this.#call(op.pod, op.ifname, op.isGone))).toEqual({
          kind: 'done',
        });
        this.#held.delete(this.#key(op.pod, op.ifname));
        return;
      case 'delKilled': {
        const held = this.#held.get(this.#key(op.pod, op.ifname));
        if (!held) return;
        await this.#killedAt(op.at, 'DEL', op.pod, op.ifname);
        // Its veth was gone at the start.
        this.#held.delete(this.#key(op.pod, op.ifname));
        return;
      }
      case 'check': {
        const held = this.#held.get(this.#key(op.pod, op.ifname));
        const prevResult = held?.prevResult ?? { cniVersion: '1.1.0', ips: [] };
        const answer = await this.#host.ask('CHECK', this.#call(op.pod, op.ifname), { prevResult });
        if (held && answer.kind === 'error' && this.#twofold.has(held.id)) {
          // The default route of the second interface is that of the first, as long as there is a first.
          expect(answer.error).toMatchObject({
            code: CODE.differs,
            msg: expect.stringMatching(/made: route default \S+ \S+ dev \S+ is missing, in the container; /),
          });
        } else if (held) expect(answer).toEqual({ kind: 'done' });
        else expect(answer).toMatchObject({ error: { code: CODE.unknownContainer } });
        return;
      }
      case 'gc': {
        const all = [...this.#held.values()];
        const keep = new Set(op.keep.map((n) => all[n]).filter((h) => h !== undefined));
        const valid = [...keep].map((h) => ({ containerID: h.id, ifname: h.ifname }));
        const theirs = op.foreign
          ? [...this.#foreign.keys()].map((id) => ({ containerID: id, ifname: 'eth0' }))
          : [];
        const answer = await this.#host.ask('GC', {}, { 'cni.dev/valid-attachments': [...valid, ...theirs] });
        expect(answer).toEqual({ kind: 'done' });
        for (const [key, h] of this.#held) if (!keep.has(h)) this.#held.delete(key);
        if (!op.foreign) this.#foreign.clear();
        return;
      }
      case 'restart':
        await this.#host.close();
        return await this.#again();
      case 'kill':
        this.#stack.defer(this.#host.abandon());
        return await this.#again();
      case 'reboot': {
        this.#stack.defer(this.#host.abandon());
        for (const n of this.#pods.keys()) await this.#die(n);
        this.#boot++;
        // Times of files are those of the kernel's last tick.
        await sleep(20);
        this.#since = Date.now() + 60_000;
        await sleep(20);
        this.#foreign.clear();
        return await this.#again();
      }
      case 'die':
        return await this.#die(op.pod);
      case 'foreignAdd':
        return await this.#foreignAdd(`f${op.id}`);
      case 'foreignDel':
        await this.#hostLocal('DEL', `f${op.id}`);
        this.#foreign.delete(`f${op.id}`);
        return;
    }
  }

  async #again(): Promise<void> {
    await this.#open();
    this.#bury();
  }

  async #add(n: number, ifname: string, mode: string, ip: number | undefined): Promise<void> {
    const key = this.#key(n, ifname);
    const wanted = ip === undefined ? undefined : `10.42.1.${ip}`;
    const call = { ...this.#call(n, ifname), ...(wanted === undefined ? {} : { args: `IP=${wanted}` }) };
    // Two routed interfaces of one pod have one gateway, which can be behind one of them only.
    const answer = await this.#host.ask('ADD', call, { mode: ifname === 'eth0' ? mode : 'bridge' });
    if (this.#held.has(key)) {
      expect(answer).toMatchObject({ error: { code: CODE.invalidEnvironment } });
      return;
    }
    const isTaken = () =>
      wanted === undefined ? this.#addresses.length >= ROOM : this.#addresses.includes(wanted);
    const code = wanted === undefined ? CODE.usedUp : CODE.addressTaken;
    if (isTaken()) this.#bury();
    if (isTaken()) {
      expect(answer).toMatchObject({ error: { code } });
      return;
    }
    const address = addressOf(answer);
    if (wanted !== undefined) expect(address).toBe(wanted);
    expect(this.#addresses).not.toContain(address);
    const prevResult = answer.kind === 'done' ? answer.result : undefined;
    if ([...this.#held.values()].some((h) => h.id === this.#id(n))) this.#twofold.add(this.#id(n));
    this.#held.set(key, { id: this.#id(n), ifname, pod: n, address, isDead: false, prevResult });
  }

  async #killedAt(at: string, command: string, n: number, ifname: string): Promise<void> {
    const there = Promise.withResolvers<void>();
    this.#stand = { at, reached: there.resolve };
    void this.#host.ask(command, this.#call(n, ifname));
    await there.promise;
    this.#stand = undefined;
    this.#stack.defer(this.#host.abandon());
    await this.#again();
  }

  /** A pod ends with its namespace; the next one is another container. */
  async #die(n: number): Promise<void> {
    await this.#pods[n]![Symbol.asyncDispose]();
    this.#pods[n] = await Netns.create(this.#owner, `pod${n}`);
    for (const h of this.#held.values()) if (h.pod === n) h.isDead = true;
    const gone = [...this.#held.values()].filter((h) => h.isDead).map((h) => veth(h));
    await until('veths of the dead to go', async () => {
      const there = await this.#veths();
      return !gone.some((name) => there.includes(name));
    });
    this.#lives[n]!++;
  }

  async #foreignAdd(id: string): Promise<void> {
    const isFull = this.#addresses.length >= ROOM;
    const answer = await this.#hostLocal('ADD', id).catch((e: Error) => e);
    if (isFull || this.#foreign.has(id)) {
      expect(answer).toBeInstanceOf(Error);
      return;
    }
    const address = (JSON.parse(answer as string) as { ips: { address: string }[] }).ips[0]!.address.split(
      '/',
    )[0]!;
    expect(this.#addresses).not.toContain(address);
    this.#foreign.set(id, address);
  }

  #hostLocal(command: string, id: string): Promise<string> {
    const env = {
      ...{ CNI_COMMAND: command, CNI_CONTAINERID: id, CNI_NETNS: '/dev/null', CNI_IFNAME: 'eth0' },
      CNI_PATH: '/usr/lib/cni',
    };
    const ipam = { type: 'host-local', dataDir: this.#host.dataDir, ranges: [[{ subnet: SUBNET }]] };
    const config = { cniVersion: '1.0.0', name: 'pods', ipam };
    return run(['/usr/lib/cni/host-local'], { env, input: JSON.stringify(config) });
  }

  async #veths(): Promise<string[]> {
    return (await this.#host.netns.ipJson<{ ifname: string }[]>('link show type veth')).map((l) => l.ifname);
  }

  /** Files and kernel are what the model says. */
  async verify(): Promise<void> {
    const store = join(this.#host.dataDir, 'pods');
    const names = existsSync(store) ? readdirSync(store) : [];
    const files = names.filter((n) => n.startsWith('10.'));
    const expected = new Map<string, string>();
    for (const h of this.#held.values()) expected.set(h.address, `${h.id}\r\n${h.ifname}`);
    for (const [id, address] of this.#foreign) expected.set(address, `${id}\r\neth0`);
    expect(new Map(files.map((n) => [n, readFileSync(join(store, n), 'utf8')]))).toEqual(expected);
    expect(names.filter((n) => n.startsWith('.'))).toEqual([]);
    const records = readdirSync(join(this.#host.stateDir, 'cni', 'attachments')).filter(
      (n) => !n.startsWith('spare-'),
    );
    expect(records.filter((n) => !n.endsWith('.json'))).toEqual([]);
    expect(records).toHaveLength(this.#held.size);
    const alive = [...this.#held.values()].filter((h) => !h.isDead);
    const strangers = ['vethforeign', 'peerforeign', 'veth0123456789a', 'peerstrange'];
    expect((await this.#veths()).sort()).toEqual([...alive.map(veth), ...strangers].sort());
    for (const [n, p] of this.#pods.entries()) {
      const links =
        await p.ipJson<{ ifname: string; addr_info: { family: string; local: string }[] }[]>('addr show');
      const inside = links
        .filter((l) => l.ifname !== 'lo')
        .map((l) => `${l.ifname} ${l.addr_info.filter((a) => a.family === 'inet').map((a) => a.local)}`);
      const wanted = alive
        .filter((h) => h.pod === n && h.id === this.#id(n))
        .map((h) => `${h.ifname} ${h.address}`);
      expect(inside.sort()).toEqual(wanted.sort());
    }
    expect(this.#host.logs.filter((l) => l.level === 'error')).toEqual([]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

const veth = (h: Held): string => hostIfName({ network: 'pods', containerId: h.id, ifname: h.ifname });

function addressOf(answer: PluginAnswer): string {
  if (answer.kind !== 'done') throw new Error(JSON.stringify(answer));
  return (answer.result as { ips: { address: string }[] }).ips[0]!.address.split('/')[0]!;
}

const RUNS = Number(process.env.LODEN_MACHINE_RUNS ?? 6);

test('random lives of a node', async () => {
  let steps = 0;
  const seen = new Set<string>();
  await fc.assert(
    fc.asyncProperty(fc.array(anyOp, { minLength: 25, maxLength: 40, size: 'max' }), async (ops) => {
      await using world = await World.create();
      for (const op of ops) {
        await world.step(op);
        await world.verify();
        seen.add(op.op);
        steps++;
      }
    }),
    { numRuns: RUNS, endOnFailure: true },
  );
  expect(steps).toBeGreaterThan(RUNS * 20);
  expect(seen.size).toBeGreaterThan(8);
}, 240_000);
