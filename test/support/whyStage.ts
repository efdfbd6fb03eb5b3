import { expect } from 'vitest';
import type { HopName, Why } from '../../src/inspect/why/index.ts';
import type { Cluster } from './cluster.ts';
import type { Host } from './host.ts';
import type { Netns } from './netns.ts';
import { type LeaseView, pinnedCluster } from './pinned.ts';
import { CommandError, until } from './proc.ts';
import type { Workload } from './workload.ts';

/** Real hosts on which `loden why` is asked while something is wrong with them. */

type Family = 4 | 6;

const why = (host: Host, to: string, ...args: string[]): Promise<Why> =>
  askBy(() =>
    host.loden('why', to, '--json', '--run-dir', host.runDir, '--state-dir', host.stateDir, ...args),
  );

export async function askBy(run: () => Promise<string>): Promise<Why> {
  try {
    return JSON.parse(await run()) as Why;
  } catch (error) {
    // 1: a hop is broken.
    if (error instanceof CommandError && error.status === 1 && error.stdout)
      return JSON.parse(error.stdout) as Why;
    throw error;
  }
}

export const brokenHops = (w: Why): string[] => w.hops.filter((h) => h.state === 'broken').map((h) => h.hop);

/** Do it again and again, faster than the daemon puts it right, until told to stop. */
export async function hold(netns: Netns, command: string, log: string): Promise<() => Promise<void>> {
  const proc = await netns.start(['sh', '-c', `while :; do ${command} 2>/dev/null; sleep 0.01; done`], {
    log,
  });
  return async () => {
    await proc.stop('SIGKILL');
  };
}

/** What a fault is done to, and by what words. */
export interface Scene {
  readonly cluster: Cluster;
  /** Who asks, and about whose pod. */
  readonly host: Host;
  readonly peer: Host;
  readonly from: Workload;
  readonly to: Workload;
  /** The peer's tunnel MAC in a family. */
  mac(family: Family): string;
  own(n: number): string;
}

export interface Fault {
  readonly name: string;
  /** The hop that is broken; undefined: none is. */
  readonly hop: HopName | undefined;
  /** In the conclusion. */
  readonly says: RegExp;
  readonly family?: Family;
  /** Ask from the pod instead of the host. */
  readonly pod?: boolean;
  /** It is done to more than the host that asks. */
  readonly shared?: boolean;
  /** Another address than the peer's pod's. */
  readonly to?: (s: Scene) => string;
  readonly args?: readonly string[];
  /** Returns what undoes it. */
  inject(s: Scene): Promise<() => Promise<unknown>>;
}

export class Stage implements Scene {
  readonly cluster: Cluster;
  readonly pods: readonly Workload[];
  readonly #macs: ReadonlyMap<Family, string>;
  /** Index of the host that asks; it is about the second's pod. */
  readonly #asker: number;
  private constructor(
    cluster: Cluster,
    pods: readonly Workload[],
    macs: ReadonlyMap<Family, string>,
    asker: number,
  ) {
    this.cluster = cluster;
    this.pods = pods;
    this.#macs = macs;
    this.#asker = asker;
  }
  static async create(Type: string, families: readonly Family[], hosts: number): Promise<Stage> {
    // Reactions to what probes find should not keep a test waiting.
    const args = ['--probe-interval', '1s'];
    const cluster = await pinnedCluster(Array(hosts).fill(0), { families, backend: { Type }, args });
    const pods = await Promise.all(cluster.hosts.map((h) => h.workload()));
    const { lease } = (await cluster.hosts[1]!.get<{ lease: { lease: LeaseView } }>('/v1/status')).lease;
    const macs = new Map<Family, string>();
    if (lease.data?.VtepMAC) macs.set(4, lease.data.VtepMAC);
    if (lease.dataV6?.VtepMAC) macs.set(6, lease.dataV6.VtepMAC);
    return new Stage(cluster, pods, macs, 0);
  }

  /** The same hosts, and the third asks. */
  other(): Stage {
    return new Stage(this.cluster, this.pods, this.#macs, 2);
  }

  /** An address of the subnet of the host that asks. */
  own(n: number): string {
    return `10.42.${this.#asker + 1}.${n}`;
  }
  get host(): Host {
    return this.cluster.hosts[this.#asker]!;
  }
  get peer(): Host {
    return this.cluster.hosts[1]!;
  }
  get from(): Workload {
    return this.pods[this.#asker]!;
  }
  get to(): Workload {
    return this.pods[1]!;
  }
  mac(family: Family): string {
    return this.#macs.get(family)!;
  }

  ask({ family = 4, pod, to, args = [] }: Pick<Fault, 'family' | 'pod' | 'to' | 'args'>): Promise<Why> {
    const from = pod ? ['--from', this.from.addr(family)] : [];
    return why(this.host, to ? to(this) : this.to.addr(family), ...from, ...args);
  }

  async expectFault(fault: Fault): Promise<void> {
    const undo = await fault.inject(this);
    try {
      const wanted = fault.hop === undefined ? [] : [fault.hop];
      let last: Why | undefined;
      // The moment may be one in which the daemon has just put it right.
      await until(
        fault.name,
        async () => {
          last = await this.ask(fault);
          return (
            JSON.stringify(brokenHops(last)) === JSON.stringify(wanted) && fault.says.test(last.conclusion)
          );
        },
        12_000,
      ).catch((error) => {
        throw new Error(`${error.message}\n${JSON.stringify(last, null, 1)}`);
      });
      expect(last!.whole).toBe(wanted.length === 0);
    } finally {
      await undo();
    }
  }

  /** All is as before: the next fault is the only one. */
  async expectWhole(ask: Pick<Fault, 'family' | 'pod'> = {}): Promise<Why> {
    let last: Why | undefined;
    await until(
      'a whole path',
      async () => {
        last = await this.ask(ask);
        return last.whole && /answers\.$/.test(last.conclusion);
      },
      15_000,
    ).catch((error) => {
      throw new Error(`${error.message}\n${JSON.stringify(last, null, 1)}`);
    });
    return last!;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.cluster[Symbol.asyncDispose]();
  }
}

const logOf = ({ host }: Scene): string => `${host.dir}/fault.log`;
export const held = (
  name: string,
  hop: HopName,
  says: RegExp,
  command: (s: Scene) => string,
  more: Partial<Fault> = {},
): Fault => ({
  name,
  hop,
  says,
  inject: (s) => hold(s.host.netns, command(s), logOf(s)),
  ...more,
});
/** One command of `ip` and what undoes it. */
export const ip = (
  name: string,
  hop: HopName,
  says: RegExp,
  does: (s: Scene) => string,
  undoes: (s: Scene) => string,
  more: Partial<Fault> = {},
): Fault => ({
  name,
  hop,
  says,
  inject: async (s) => {
    await s.host.netns.ip(does(s));
    return () => s.host.netns.ip(undoes(s));
  },
  ...more,
});
/** A table of nftables on a host. */
export const nft = (
  name: string,
  hop: HopName,
  says: RegExp,
  body: (s: Scene) => string,
  more: Partial<Fault> & { where?: (s: Scene) => Netns } = {},
): Fault => ({
  name,
  hop,
  says,
  inject: async (s) => {
    const netns = more.where?.(s) ?? s.host.netns;
    await netns.nft(`table inet trouble {\n${body(s)}\n}`);
    return () => netns.run(['nft', 'delete', 'table', 'inet', 'trouble']);
  },
  ...more,
});

/** On whatever backend. */
export const UNPLUGGED: Fault = {
  name: 'the uplink unplugged',
  hop: 'underlay',
  says: /uplink eth0 has no carrier/,
  inject: async ({ cluster: { underlay }, host }) => {
    await underlay.plug(host.at, 'out');
    return () => underlay.plug(host.at, 'in');
  },
};
export const CUT_OFF: Fault = {
  name: 'the peer cut off',
  shared: true,
  hop: 'underlay',
  says: /the peer's host 192\.0\.2\.3 does not answer on eth0 \(neighbour (?:FAILED|INCOMPLETE)\)/,
  inject: async ({ cluster: { underlay }, host, peer }) => {
    const heal = await underlay.isolate(peer.at);
    await host.netns.ip('neigh flush dev eth0');
    return heal;
  },
};
