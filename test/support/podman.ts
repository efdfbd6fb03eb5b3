import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { pluginDir, putFile } from './containerd.ts';
import type { Host } from './host.ts';
import { BUSYBOX } from './images.ts';
import { RuntimeDir } from './runtimeDir.ts';

/** A container of podman's. */
export interface PodmanContainer {
  readonly id: string;
  readonly pid: number;
  /** Path of its network namespace. */
  readonly netnsPath: string;
  /** Addresses in its network, as podman tells them. */
  readonly ips: readonly string[];
}

/** What of `podman inspect` is looked at. */
interface Inspected {
  readonly Id: string;
  readonly State: { readonly Pid: number };
  readonly NetworkSettings: {
    readonly SandboxKey: string;
    readonly Networks: Readonly<
      Record<string, { readonly IPAddress: string; readonly GlobalIPv6Address: string }>
    >;
  };
}

/** podman with the CNI backend on one of the hosts, with storage and configuration of its own. */
export class Podman implements Disposable {
  readonly host: Host;
  readonly dir: RuntimeDir;
  #runs = 0;

  private constructor(host: Host) {
    this.host = host;
    this.dir = RuntimeDir.create('podman');
    mkdirSync(this.confDir);
    const at = (name: string) => JSON.stringify(this.dir.join(name));
    writeFileSync(
      this.dir.join('containers.conf'),
      `[network]
network_backend = "cni"
cni_plugin_dirs = [${JSON.stringify(pluginDir(this.dir.path))}]
network_config_dir = ${JSON.stringify(this.confDir)}
default_network = "pods"
[engine]
cgroup_manager = "cgroupfs"
runtime = "runc"
events_logger = "file"
tmp_dir = ${at('tmp')}
static_dir = ${at('static')}
volume_path = ${at('volumes')}
num_locks = 32
lock_type = "file"
[containers]
log_driver = "k8s-file"
default_ulimits = ["nofile=1024:20000", "nproc=4096:4096"]
apparmor_profile = "unconfined"
`,
    );
    writeFileSync(
      this.dir.join('storage.conf'),
      `[storage]\ndriver = "overlay"\ngraphroot = ${at('graph')}\nrunroot = ${at('run')}\n`,
    );
  }

  /** `archive`: the images, see images.ts. */
  static async create(host: Host, archive: string): Promise<Podman> {
    const podman = new Podman(host);
    try {
      await podman.cli('load', '-q', '-i', archive);
      return podman;
    } catch (error) {
      podman[Symbol.dispose]();
      throw error;
    }
  }

  get confDir(): string {
    return this.dir.join('net.d');
  }

  /** Define the network `pods`. */
  configure(list: { readonly plugins: readonly object[] } & object): void {
    putFile(this.confDir, '10-pods.conflist', JSON.stringify(list));
  }

  /** `podman <args>` on the host; returns what it printed. */
  cli(...args: string[]): Promise<string> {
    return this.host.netns.run(['podman', ...args], {
      env: {
        CONTAINERS_CONF: this.dir.join('containers.conf'),
        CONTAINERS_STORAGE_CONF: this.dir.join('storage.conf'),
      },
    });
  }

  /** Start a container of busybox; `options` are those of `podman run`. */
  async run(command: readonly string[], ...options: string[]): Promise<PodmanContainer> {
    const idFile = this.dir.join(`id-${++this.#runs}`);
    const always = [
      '--network=pods',
      `--cgroup-parent=${this.dir.cgroup}`,
      '--no-hosts',
      `--cidfile=${idFile}`,
    ];
    let found: Inspected | undefined;
    try {
      await this.cli('run', '-d', ...always, ...options, BUSYBOX, ...command);
    } finally {
      // Also of one that could not be started, wherever that came to an end.
      found = await this.#remember(idFile);
    }
    if (!found) throw new Error('podman does not know the container it has just started');
    const { Id: id } = found;
    const { SandboxKey: netnsPath, Networks } = found.NetworkSettings;
    const { IPAddress, GlobalIPv6Address } = Networks.pods!;
    const ips = [IPAddress, GlobalIPv6Address].filter((ip) => ip !== '');
    return { id, pid: found.State.Pid, netnsPath, ips };
  }

  /** What a container has outside of our directory goes with that. Undefined when there is no container. */
  async #remember(idFile: string): Promise<Inspected | undefined> {
    if (!existsSync(idFile)) return undefined;
    const id = readFileSync(idFile, 'utf8').trim();
    this.dir.also(`/var/lib/cni/results/pods-${id}-eth0`);
    const inspected = await this.cli('inspect', id).catch(() => undefined);
    if (inspected === undefined) return undefined;
    const [found] = JSON.parse(inspected) as [Inspected];
    if (found.NetworkSettings.SandboxKey !== '') this.dir.also(found.NetworkSettings.SandboxKey);
    return found;
  }

  /** Everything it started ends with it; the network is not asked to take the containers off. */
  [Symbol.dispose](): void {
    this.dir[Symbol.dispose]();
  }
}
