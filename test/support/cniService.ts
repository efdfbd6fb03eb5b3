import { closeSync, mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { Attacher } from '../../src/cni/attach/attacher.ts';
import { Ipam } from '../../src/cni/ipam/ipam.ts';
import { CniService } from '../../src/cni/service.ts';
import type { Boot } from '../../src/cni/sweep.ts';
import type { NodeState, PluginAnswer, PluginCall } from '../../src/cni/types.ts';
import { CNI } from '../../src/contract.ts';
import { network, prefix } from '../../src/net/prefix.ts';
import type { Netns } from './netns.ts';

/** A node's network out of its subnets; the overlay's are the /16 and /48 around them. */
export const nodeOf = (...subnets: string[]): NodeState => ({
  ready: true,
  network: {
    subnets: subnets.map((text) => {
      const subnet = prefix(text);
      return { subnet, network: network({ addr: subnet.addr, len: subnet.addr.family === 4 ? 16 : 48 }) };
    }),
    mtu: 1450,
    ipMasq: false,
  },
});

export interface ServiceOptions {
  readonly node?: () => NodeState;
  readonly boot?: Boot;
  /** Milliseconds that calls are held while the node has no network; none if absent. */
  readonly hold?: number;
  /** Gets what rejects when the process is {@link ServiceHost.abandon}ed: a step that waits for it goes no further. */
  readonly step?: (name: string, killed: Promise<never>) => unknown;
}

interface Life {
  readonly service: CniService;
  readonly attacher: Attacher;
  readonly fd: number;
  /** Rejects when the process is to have been killed. */
  readonly killed: PromiseWithResolvers<never>;
}

/** The plugin's server side without a daemon around it: real kernel, real files, in a directory and namespace of the test. */
export class ServiceHost {
  readonly netns: Netns;
  readonly dir: string;
  readonly logs: { readonly level: string; readonly msg: string; readonly fields: unknown }[] = [];
  #life: Life | undefined;

  constructor(netns: Netns, dir: string) {
    this.netns = netns;
    this.dir = dir;
  }

  get stateDir(): string {
    return join(this.dir, 'state');
  }

  get dataDir(): string {
    return join(this.dir, 'networks');
  }

  get isOpen(): boolean {
    return this.#life !== undefined;
  }

  get service(): CniService {
    if (!this.#life) throw new Error('the service is not open');
    return this.#life.service;
  }

  /** Start it, and wait until it has cleaned up. */
  async open(options: ServiceOptions = {}): Promise<CniService> {
    mkdirSync(this.stateDir, { recursive: true });
    const fd = openSync(this.netns.path, 'r');
    const attacher = Attacher.open({ hostNetnsFd: fd });
    const killed = Promise.withResolvers<never>();
    let isDead = false;
    killed.promise.catch(() => {
      isDead = true;
    });
    // What a killed process would have done next never happens.
    const mortal = <T extends object>(part: T): T =>
      new Proxy(part, {
        get: (target, name) => {
          const method = Reflect.get(target, name) as (...args: unknown[]) => unknown;
          return (...args: unknown[]) => (isDead ? new Promise(() => {}) : method.apply(target, args));
        },
      });
    const say = (level: string) => (fields: unknown, msg: string) => {
      if (!isDead) this.logs.push({ level, msg, fields });
    };
    const service = await CniService.open({
      stateDir: this.stateDir,
      subnetFile: '/run/flannel/subnet.env',
      engine: mortal(attacher),
      ipam: mortal(new Ipam(join(this.stateDir, CNI.spares))),
      node: options.node ?? (() => nodeOf('10.42.1.0/24')),
      log: { info: say('info'), warn: say('warn'), error: say('error') },
      hold: options.hold ?? 0,
      boot: options.boot ?? { id: 'boot-1', since: 0 },
      ...(options.step ? { step: (name: string) => options.step!(name, killed.promise) } : {}),
    });
    this.#life = { service, attacher, fd, killed };
    service.nodeChanged();
    await service.recovered;
    return service;
  }

  /** Stop it in order. */
  async close(): Promise<void> {
    const life = this.#life;
    this.#life = undefined;
    if (!life) return;
    await life.service.close();
    await life.attacher.close();
    closeSync(life.fd);
  }

  /** Forget it, as if it had been killed: what it holds in memory is lost, and nothing is finished. */
  abandon(): () => Promise<void> {
    const life = this.#life;
    this.#life = undefined;
    life?.killed.reject(new Error('killed'));
    return async () => {
      if (!life) return;
      await life.attacher.close();
      closeSync(life.fd);
    };
  }

  config(more: Readonly<Record<string, unknown>> = {}): Readonly<Record<string, unknown>> {
    return { cniVersion: '1.1.0', name: 'pods', type: 'loden', ipam: { dataDir: this.dataDir }, ...more };
  }

  /** What the plugin would send. */
  call(
    command: string,
    container: {
      readonly id?: string;
      readonly netns?: string;
      readonly ifname?: string;
      readonly args?: string;
    } = {},
    more: Readonly<Record<string, unknown>> = {},
  ): PluginCall {
    return {
      env: {
        CNI_COMMAND: command,
        CNI_PATH: '/usr/lib/cni',
        ...(container.id === undefined
          ? {}
          : {
              CNI_CONTAINERID: container.id,
              CNI_NETNS: container.netns ?? '',
              CNI_IFNAME: container.ifname ?? 'eth0',
            }),
        ...(container.args === undefined ? {} : { CNI_ARGS: container.args }),
      },
      stdin: JSON.stringify(this.config(more)),
    };
  }

  /** Ask it. */
  ask(...args: Parameters<ServiceHost['call']>): Promise<PluginAnswer> {
    return this.service.handle(this.call(...args));
  }
}
