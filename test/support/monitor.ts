import { join } from 'node:path';
import type { Host } from './host.ts';
import type { Proc } from './proc.ts';
import { until } from './proc.ts';

const PROGRAMS = [
  ['ip', 'monitor', 'link', 'address', 'route', 'neigh'],
  ['bridge', 'monitor', 'fdb'],
  ['nft', 'monitor'],
];
let monitors = 0;

/** All that the kernel tells about changes in a host's namespace, from the moment it is made. */
export class Monitor implements AsyncDisposable {
  readonly #procs: readonly Proc[];

  private constructor(procs: readonly Proc[]) {
    this.#procs = procs;
  }

  static async start(host: Host): Promise<Monitor> {
    const id = ++monitors;
    const procs = PROGRAMS.map(([name, ...args]) =>
      host.netns.start([name!, ...args], { log: join(host.dir, `monitor-${id}-${name}.log`) }),
    );
    const monitor = new Monitor(await Promise.all(procs));
    // They listen when they tell of what is done to make them speak.
    for (let i = 0; ; i++) {
      const name = `heard${id}x${i}`;
      await host.netns.ipBatch([
        `link add ${name} type bridge`,
        `link set ${name} address 02:00:00:00:00:0${i % 9}`,
      ]);
      await host.netns.run(['nft', `add table inet ${name}; delete table inet ${name}`]);
      await host.netns.ip(`link del ${name}`);
      const heard = () => monitor.#procs.every((p) => /heard/.test(p.output()));
      if (await until('monitors', heard, 100).catch(() => false)) break;
    }
    await until('the echo to end', () => /delete table/.test(monitor.#procs[2]!.output()));
    return monitor;
  }

  /** What was told of the overlay's devices and of any nft table. */
  overlay(): string[] {
    return this.lines((line) => /flannel/.test(line));
  }

  lines(test: (line: string) => boolean): string[] {
    return this.#procs
      .flatMap((p) => p.output().split('\n'))
      .filter((line) => !/heard/.test(line) && !/^# new generation/.test(line) && test(line));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#procs.map((p) => p.stop()));
  }
}
