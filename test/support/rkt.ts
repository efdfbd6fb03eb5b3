import { randomUUID } from 'node:crypto';
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { join } from 'node:path';
import { DEFAULTS, FILES } from '../../src/contract.ts';
import { ask } from './ask.ts';
import { isRecord } from './cniTraces.ts';
import { pluginDir } from './containerd.ts';
import { type Host, LODEN } from './host.ts';
import { CommandError, Proc, run, until } from './proc.ts';

/** What rkt 1.30 reads of a plugin's result (types.Result of CNI 0.1/0.2). */
export interface RktResult {
  readonly ip4?: {
    readonly ip: string;
    readonly gateway?: string;
    readonly routes?: readonly { readonly dst: string; readonly gw?: string }[];
  };
}

export interface RktPod {
  readonly uuid: string;
  /** As inside of the machine. */
  readonly netns: string;
  /** For each network, in order. */
  readonly networks: readonly {
    readonly name: string;
    readonly ifname: string;
    readonly ip: string;
    readonly result: RktResult;
  }[];
}

/** Directories of a machine's own; the rest of its files are this machine's. */
const OWN = ['/run', '/var/lib', '/usr/local/etc'] as const;
/** Stands for /etc/rkt/net.d, which is not to be made on the machine the tests run on. */
const NET_D = '/usr/local/etc/rkt/net.d';

/**
 * A host with rkt and a daemon that has no options but where etcd is: all files are where they are by default, in a mount namespace.
 * rkt itself is long gone; its calls are made here as its networking package makes them (rkt 1.30, networking/net_plugin.go).
 */
export class RktHost implements AsyncDisposable {
  readonly host: Host;
  readonly #endpoint: string;
  readonly #holder: Proc;
  readonly #plugins: string;
  #daemon: Proc | undefined;
  readonly #pods: RktPod[] = [];

  private constructor(host: Host, endpoint: string, holder: Proc) {
    this.host = host;
    this.#endpoint = endpoint;
    this.#holder = holder;
    this.#plugins = pluginDir(host.dir);
  }

  /** With a daemon that is ready. `endpoint` is etcd's. */
  static async boot(host: Host, endpoint: string): Promise<RktHost> {
    const dirs = `/run/netns ${NET_D} /var/lib/cni`;
    const script = `${OWN.map((dir) => `mount -t tmpfs own ${dir}`).join('\n')}
mkdir -p ${dirs}
echo booted
exec sleep 1000000`;
    const holder = await host.netns.start(['unshare', '-m', 'sh', '-e', '-c', script], {
      log: join(host.dir, 'rkt.log'),
    });
    await holder.saying(/booted/);
    const rkt = new RktHost(host, endpoint, holder);
    await rkt.startDaemon();
    return rkt;
  }

  /** A file of the machine's as this process can reach it. */
  file(path: string): string {
    return `/proc/${this.#holder.pid}/root${path}`;
  }

  /** Run a command on the machine. */
  run(command: readonly string[], env: Readonly<Record<string, string>> = {}, input = ''): Promise<string> {
    return run(['nsenter', '-t', String(this.#holder.pid), '-m', '-n', '--', ...command], { env, input });
  }

  async startDaemon(): Promise<void> {
    const argv = ['nsenter', '-t', String(this.#holder.pid), '-m', '-n', '--', LODEN, 'run'];
    this.#daemon = await Proc.start([...argv, '--etcd-endpoints', this.#endpoint], {
      log: join(this.host.dir, 'daemon.log'),
    });
    const daemon = this.#daemon;
    const socket = this.file(join(DEFAULTS.runDir, FILES.controlSocket));
    await until('the daemon to be ready', async () => {
      if (daemon.ended !== undefined) throw new Error(`it ended (${daemon.ended}):\n${daemon.tail()}`);
      return (await ask(socket, '/readyz')).status === 200;
    });
  }

  async stopDaemon(): Promise<void> {
    await this.#daemon?.stop();
  }

  /** What is in /etc/rkt/net.d, by file. */
  configure(files: Readonly<Record<string, object>>): void {
    const dir = this.file(NET_D);
    for (const file of readdirSync(dir)) rmSync(join(dir, file));
    for (const [file, config] of Object.entries(files))
      writeFileSync(join(dir, file), JSON.stringify(config));
  }

  /** `rkt run`: a namespace, and every network in the order of its file. Throws what rkt would say. */
  async runPod(args: Readonly<Record<string, string>> = {}): Promise<RktPod> {
    const uuid = randomUUID();
    const netns = `/run/netns/cni-${uuid}`;
    await this.run(['ip', 'netns', 'add', `cni-${uuid}`]);
    const networks: RktPod['networks'][number][] = [];
    const pod = { uuid, netns, networks };
    for (const [i, { name, text, type }] of this.#networks().entries()) {
      const ifname = `eth${i}`;
      const out = await this.#plugin('ADD', type, text, pod, ifname, netns, args[name]);
      const result = JSON.parse(out) as RktResult;
      if (!result.ip4) throw new Error(`net-plugin returned no IPv4 configuration: ${out}`);
      networks.push({ name, ifname, ip: result.ip4.ip.replace(/\/.*/, ''), result });
    }
    this.#pods.push(pod);
    return pod;
  }

  /** The pod's processes have ended, and with them its namespace: nobody has told a plugin. */
  async exit(pod: RktPod): Promise<void> {
    await this.run(['ip', 'netns', 'del', `cni-${pod.uuid}`]);
  }

  /**
   * `rkt gc`: one DEL for each network, the last one first, once; resolves to what failed, which rkt only logs. The namespace's path is empty
   * when there is none any more.
   */
  async gc(pod: RktPod): Promise<string[]> {
    const failed: string[] = [];
    const there = await this.run(['test', '-e', pod.netns]).then(
      () => true,
      () => false,
    );
    for (const { name, ifname } of pod.networks.toReversed()) {
      const { text, type } = this.#networks().find((n) => n.name === name)!;
      await this.#plugin('DEL', type, text, pod, ifname, there ? pod.netns : '').catch((error: Error) =>
        failed.push(error.message),
      );
    }
    if (there) await this.exit(pod);
    const at = this.#pods.indexOf(pod);
    if (at >= 0) this.#pods.splice(at, 1);
    return failed;
  }

  /** The machine loses its power: pods, devices and /run are gone, there is another boot. The daemon is not started. */
  async reboot(): Promise<void> {
    await this.#daemon?.stop('SIGKILL');
    for (const pod of this.#pods.splice(0)) await this.exit(pod);
    const links = await this.host.netns.ipJson<{ ifname: string }[]>('link show');
    for (const { ifname } of links) {
      if (ifname !== 'lo' && ifname !== 'eth0')
        await this.host.netns.ip(`link del ${ifname}`).catch(() => {});
    }
    const boot = join(this.host.dir, 'boot_id');
    writeFileSync(boot, `${randomUUID()}\n`);
    await this.run(['umount', '-l', '/run']);
    await this.run(['mount', '-t', 'tmpfs', 'own', '/run']);
    await this.run(['mkdir', '/run/netns']);
    await this.run(['mount', '--bind', boot, '/proc/sys/kernel/random/boot_id']);
  }

  /** Every address in any network's store, as `network/address`. */
  stored(): string[] {
    const at = this.file('/var/lib/cni/networks');
    const list = (dir: string): string[] => {
      try {
        return readdirSync(dir);
      } catch {
        return [];
      }
    };
    const addresses = (network: string) => list(join(at, network)).filter((name) => isIP(name) !== 0);
    return list(at)
      .flatMap((network) => addresses(network).map((name) => `${network}/${name}`))
      .toSorted();
  }

  /** Everything else that an attachment may leave in files. */
  leftFiles(): string[] {
    return ['/var/lib/cni/flannel', '/var/lib/loden/cni/attachments', '/var/lib/loden/cni/del'].flatMap(
      (dir) => {
        try {
          return readdirSync(this.file(dir)).filter(isRecord);
        } catch {
          return [];
        }
      },
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#daemon?.stop('SIGKILL');
    await this.#holder.stop('SIGKILL');
  }

  /** Only *.conf, in the order of their names. */
  #networks(): { name: string; type: string; text: string }[] {
    const dir = this.file(NET_D);
    return readdirSync(dir)
      .filter((file) => file.endsWith('.conf'))
      .toSorted()
      .map((file) => {
        const text = readFileSync(join(dir, file), 'utf8');
        return { ...(JSON.parse(text) as { name: string; type: string }), text };
      });
  }

  /** rkt's execNetPlugin: this environment, all of it set, the file as it is on standard input. */
  async #plugin(
    command: 'ADD' | 'DEL',
    type: string,
    config: string,
    pod: Pick<RktPod, 'uuid'>,
    ifname: string,
    netns: string,
    args = '',
  ): Promise<string> {
    const env = {
      CNI_VERSION: '0.1.0',
      CNI_COMMAND: command,
      CNI_CONTAINERID: pod.uuid,
      CNI_NETNS: netns,
      CNI_ARGS: args,
      CNI_IFNAME: ifname,
      CNI_PATH: this.#plugins,
    };
    try {
      return await this.run([join(this.#plugins, type)], env, config);
    } catch (error) {
      if (!(error instanceof CommandError)) throw error;
      throw new Error(`${command} of ${ifname}: ${error.stdout}${error.stderr}`, { cause: error });
    }
  }
}
