import type { Containerd } from './containerd.ts';
import type { Executed, PodConfig } from './cri.ts';
import { BUSYBOX } from './images.ts';
import { Netns } from './netns.ts';
import { run } from './proc.ts';

/** The part of the sandbox's `info` that is looked at. */
interface Info {
  readonly pid: number;
  readonly runtimeSpec: {
    readonly linux: { readonly namespaces: readonly { type: string; path?: string }[] };
  };
}

/** A pod in containerd. */
export class Pod {
  readonly node: Containerd;
  readonly id: string;
  /** All its addresses, as containerd tells the kubelet. */
  readonly ips: readonly string[];
  /** Path of its network namespace. */
  readonly netnsPath: string;
  readonly #config: PodConfig;
  #netns: Netns | undefined;

  private constructor(node: Containerd, id: string, config: PodConfig, ips: readonly string[], path: string) {
    this.node = node;
    this.id = id;
    this.ips = ips;
    this.netnsPath = path;
    this.#config = config;
  }

  static async look(node: Containerd, id: string, config: PodConfig): Promise<Pod> {
    const { status, info } = await node.cri.call('PodSandboxStatus', { pod_sandbox_id: id, verbose: true });
    const { runtimeSpec } = JSON.parse(info.info!) as Info;
    const path = runtimeSpec.linux.namespaces.find(({ type }) => type === 'network')?.path;
    if (path === undefined) throw new Error(`pod ${id} has no network namespace of its own`);
    const { ip, additional_ips: more } = status.network;
    return new Pod(node, id, config, [ip, ...more.map((m) => m.ip)], path);
  }

  get ip(): string {
    return this.ips[0]!;
  }

  /** Run a command in its network namespace, with this machine's files. */
  run(command: readonly string[]): Promise<string> {
    return run(['nsenter', `--net=${this.netnsPath}`, '--', ...command]);
  }

  /** Its network namespace by a name, until the pod is removed. */
  async netns(): Promise<Netns> {
    if (this.#netns) return this.#netns;
    this.#netns = await namedNetns(this.node.host, 'pod', this.netnsPath);
    return this.#netns;
  }

  /** Start a container of busybox in the pod; returns its id. */
  async container(command: readonly string[]): Promise<string> {
    const { cri } = this.node;
    const { container_id } = await cri.call('CreateContainer', {
      pod_sandbox_id: this.id,
      sandbox_config: this.#config,
      config: {
        metadata: { name: 'main' },
        image: { image: BUSYBOX },
        command,
        log_path: 'main.log',
        linux: {},
      },
    });
    await cri.call('StartContainer', { container_id });
    return container_id;
  }

  /** Run a command in a container of the pod; throws when its exit code is not 0. */
  async exec(container: string, cmd: readonly string[]): Promise<string> {
    const done: Executed = await this.node.cri.call('ExecSync', {
      container_id: container,
      cmd,
      timeout: 10,
    });
    if (done.exit_code !== 0) {
      throw new Error(`${cmd.join(' ')} in ${container}: exit code ${done.exit_code}: ${done.stderr}`);
    }
    return done.stdout.toString();
  }

  /** As the kubelet does: stop, then remove. */
  async remove(): Promise<void> {
    await this.unname();
    await this.node.removePod(this.id);
  }

  /** Let go of the name, which would keep the namespace alive. */
  async unname(): Promise<void> {
    const netns = this.#netns;
    this.#netns = undefined;
    await netns?.[Symbol.asyncDispose]();
  }
}

/** A network namespace that somebody else made, under a name: one is made, and the other mounted in its place. */
export async function namedNetns(host: { netns: Netns }, label: string, path: string): Promise<Netns> {
  const netns = await Netns.create(host.netns.owner, label);
  await run(['umount', netns.path]);
  await run(['mount', '--bind', path, netns.path]);
  return netns;
}
