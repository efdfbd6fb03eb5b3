import type { Owner } from './owner.ts';
import { Proc, type ProcOptions, type RunOptions, run } from './proc.ts';

/** A network namespace: a host, a pod, or a network between them. */
export class Netns implements AsyncDisposable {
  readonly owner: Owner;
  /** As `ip netns` knows it. */
  readonly name: string;
  /** As nsenter and `ip link … netns` know it. */
  readonly path: string;
  /** What {@link start} started, to be ended with the namespace. */
  readonly #procs = new Set<Proc>();
  #gone = false;

  private constructor(owner: Owner, name: string) {
    this.owner = owner;
    this.name = name;
    this.path = `/run/netns/${name}`;
  }

  /** A new namespace with `lo` up and without duplicate address detection, which would cost a second for each address. */
  static async create(owner: Owner, label: string): Promise<Netns> {
    const netns = new Netns(owner, owner.netnsName(label));
    await run(['ip', 'netns', 'add', netns.name]);
    await netns.sysctl({ 'net/ipv6/conf/default/accept_dad': 0, 'net/ipv6/conf/all/accept_dad': 0 });
    await netns.ip('link set lo up');
    return netns;
  }

  /** The same command, inside. */
  argv(command: readonly string[]): string[] {
    return ['nsenter', `--net=${this.path}`, '--', ...command];
  }

  /** Run a command inside, to its end; as {@link run}. */
  run(command: readonly string[], options?: RunOptions): Promise<string> {
    return run(this.argv(command), options);
  }

  /** Start a long-running command inside; it ends with the namespace. */
  async start(command: readonly string[], options: Omit<ProcOptions, 'lasting'>): Promise<Proc> {
    const proc = await Proc.start(this.argv(command), { ...options, lasting: this.owner.lasting });
    this.#procs.add(proc);
    void proc.exited.then(() => this.#procs.delete(proc));
    return proc;
  }

  /** `ip <args>`, split at blanks; returns what it printed. */
  ip(args: string): Promise<string> {
    return run(['ip', '-n', this.name, ...args.split(' ')]);
  }

  /** Many `ip` commands by one process, one a line without the word `ip`. Stops at the first that fails. */
  async ipBatch(lines: readonly string[]): Promise<void> {
    if (lines.length > 0)
      await run(['ip', '-n', this.name, '-batch', '-'], { input: `${lines.join('\n')}\n` });
  }

  /** `ip -d -j <args>`, parsed. */
  async ipJson<T = Record<string, unknown>[]>(args: string): Promise<T> {
    return JSON.parse((await this.ip(`-d -j ${args}`)) || '[]') as T;
  }

  /** `bridge -d -j <args>`, parsed: FDB entries. */
  async bridgeJson<T = Record<string, unknown>[]>(args: string): Promise<T> {
    return JSON.parse((await run(['bridge', '-n', this.name, '-d', '-j', ...args.split(' ')])) || '[]') as T;
  }

  /** Load an nftables ruleset. */
  async nft(ruleset: string): Promise<void> {
    await this.run(['nft', '-f', '-'], { input: ruleset });
  }

  /** Write values below /proc/sys; paths with slashes, for device names have dots. */
  async sysctl(values: Readonly<Record<string, string | number>>): Promise<void> {
    const lines = Object.entries(values).map(([path, value]) => `echo '${value}' >'/proc/sys/${path}'`);
    await this.run(['sh', '-e', '-c', lines.join('\n')]);
  }

  /** Idempotent. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#gone) return;
    this.#gone = true;
    await Promise.all([...this.#procs].map((proc) => proc.stop('SIGKILL')));
    await run(['ip', 'netns', 'del', this.name]);
  }
}
