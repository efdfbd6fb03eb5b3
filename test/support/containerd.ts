import { existsSync, mkdirSync, readdirSync, renameSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Cri, type PortMapping } from './cri.ts';
import { Pod } from './criPod.ts';
import type { Host } from './host.ts';
import { PAUSE } from './images.ts';
import { type Proc, run, until } from './proc.ts';
import { RuntimeDir } from './runtimeDir.ts';

/** Our plugin and its other name, and Debian's. */
const OURS = fileURLToPath(new URL('../../build/cni', import.meta.url));
export const DEBIANS = '/usr/lib/cni';

/** A directory, in `dir`, of every plugin there is, as CNI_PATH. */
export function pluginDir(dir: string): string {
  const bin = join(dir, 'cni-bin');
  if (existsSync(bin)) return bin;
  mkdirSync(bin);
  for (const name of readdirSync(DEBIANS)) symlinkSync(join(DEBIANS, name), join(bin, name));
  for (const name of ['loden', 'flannel']) symlinkSync(join(OURS, name), join(bin, name));
  return bin;
}

/** Put a file in place as an installer does, so that a runtime that watches the directory sees it whole. */
export function putFile(dir: string, name: string, content: string): void {
  mkdirSync(dir, { recursive: true });
  const temporary = join(dir, `.${name}.new`);
  writeFileSync(temporary, content);
  renameSync(temporary, join(dir, name));
}

export interface RunPodOptions {
  readonly ports?: readonly PortMapping[];
  readonly annotations?: Readonly<Record<string, string>>;
  /** Milliseconds; 30 s. */
  readonly timeout?: number;
}

/**
 * containerd on one of the hosts, as a kubelet uses it: `await using node = await Containerd.start(host, archive)`. Its
 * CNI configuration is what is written into {@link confDir}.
 */
export class Containerd implements AsyncDisposable {
  readonly host: Host;
  readonly dir: RuntimeDir;
  readonly cri: Cri;
  #proc: Proc | undefined;
  #pods = 0;

  private constructor(host: Host) {
    this.host = host;
    this.dir = RuntimeDir.create('cri');
    this.cri = new Cri(this.socket);
    writeFileSync(this.#config, this.#configText());
    mkdirSync(this.confDir);
  }

  /** `archive`: the images, see images.ts. */
  static async start(host: Host, archive: string): Promise<Containerd> {
    const node = new Containerd(host);
    try {
      await node.start();
      await run(['ctr', '-a', node.socket, '-n', 'k8s.io', 'image', 'import', archive]);
      return node;
    } catch (error) {
      const said = node.#proc?.tail() ?? '';
      await node[Symbol.asyncDispose]();
      throw new Error(`containerd on ${host.name}: ${(error as Error).message}\n${said}`, { cause: error });
    }
  }

  get socket(): string {
    return this.dir.join('containerd.sock');
  }

  get confDir(): string {
    return this.dir.join('net.d');
  }

  /** The network namespaces of its pods are mounted in here. */
  get netnsDir(): string {
    return this.dir.join('state', 'io.containerd.grpc.v1.cri', 'netns');
  }

  get log(): string {
    return this.dir.join('containerd.log');
  }

  get #config(): string {
    return this.dir.join('config.toml');
  }

  /** Start it, anew after {@link kill}, and wait until it answers. */
  async start(): Promise<void> {
    const proc = await this.host.netns.start(['containerd', '-c', this.#config], { log: this.log });
    this.#proc = proc;
    await until(
      'containerd to answer',
      async () => {
        if (proc.ended !== undefined) return true;
        return this.cri.call('Status', { verbose: false }, 1_000);
      },
      15_000,
    );
    if (proc.ended !== undefined) throw new Error(`containerd ended (${proc.ended}):\n${proc.tail()}`);
  }

  /** End it at once; its pods go on. */
  async kill(): Promise<void> {
    await this.#proc?.stop('SIGKILL');
  }

  /** Write the CNI configuration and wait until containerd has it. */
  async configure(list: { readonly plugins: readonly object[] } & object): Promise<void> {
    putFile(this.confDir, '10-pods.conflist', JSON.stringify(list));
    await this.networkReady();
  }

  /** NetworkReady, as the kubelet sees it: true, or why not. */
  async networkCondition(): Promise<true | string> {
    const { status } = await this.cri.call('Status', { verbose: false });
    const found = status.conditions.find(({ type }) => type === 'NetworkReady');
    return found?.status === true || (found?.message ?? 'no such condition');
  }

  /** Wait until containerd says that pods can be given a network. */
  async networkReady(): Promise<void> {
    let why: string | true = '';
    await until('NetworkReady', async () => {
      why = await this.networkCondition();
      return why === true;
    }).catch((error: Error) => {
      throw new Error(`${error.message}: ${why}`);
    });
  }

  /** A new pod without containers. Rejects with what containerd says: then it has no pod. */
  async runPod(options: RunPodOptions = {}): Promise<Pod> {
    const name = `pod${++this.#pods}`;
    const config = {
      metadata: { name, uid: `${name}-uid`, namespace: 'default', attempt: 0 },
      hostname: name,
      log_directory: this.dir.join('logs', name),
      port_mappings: options.ports ?? [],
      annotations: options.annotations ?? {},
      linux: { cgroup_parent: this.dir.cgroup },
    };
    const { pod_sandbox_id: id } = await this.cri.call('RunPodSandbox', { config }, options.timeout);
    return Pod.look(this, id, config);
  }

  /** Stop and remove one by its id, as the kubelet does with what it finds, ready or not. */
  async removePod(id: string): Promise<void> {
    await this.cri.call('StopPodSandbox', { pod_sandbox_id: id });
    await this.cri.call('RemovePodSandbox', { pod_sandbox_id: id });
  }

  /** Ids of the pods that containerd knows, ready or not. */
  async podIds(): Promise<string[]> {
    const { items } = await this.cri.call('ListPodSandbox', {});
    return items.map(({ id }) => id);
  }

  /** Everything it started ends with it; the network is not asked to take the pods off. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.cri[Symbol.dispose]();
    await this.#proc?.stop('SIGKILL');
    // Of pods that were stopped without a DEL that succeeded, libcni keeps the results.
    for (const id of this.#sandboxes()) this.dir.also(`/var/lib/cni/results/pods-${id}-eth0`);
    this.dir[Symbol.dispose]();
  }

  #sandboxes(): string[] {
    const dir = this.dir.join('root', 'io.containerd.grpc.v1.cri', 'sandboxes');
    return existsSync(dir) ? readdirSync(dir) : [];
  }

  #configText(): string {
    const at = (name: string) => JSON.stringify(this.dir.join(name));
    return `version = 2
root = ${at('root')}
state = ${at('state')}
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs"]
[grpc]
  address = ${JSON.stringify(this.socket)}
[ttrpc]
  address = ${at('ttrpc.sock')}
[plugins."io.containerd.internal.v1.opt"]
  path = ${at('opt')}
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${PAUSE}"
  disable_apparmor = true
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  disable_tcp_service = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = ${JSON.stringify(pluginDir(this.dir.path))}
    conf_dir = ${at('net.d')}
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
      Root = ${at('runc')}
`;
  }
}
