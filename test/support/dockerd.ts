import { writeFileSync } from 'node:fs';
import type { Host } from './host.ts';
import { BUSYBOX } from './images.ts';
import { type Proc, run, until } from './proc.ts';
import { RuntimeDir } from './runtimeDir.ts';

/** A container of Docker's. */
export interface DockerContainer {
  readonly id: string;
  readonly ip: string;
  /** Path of its network namespace. */
  readonly netnsPath: string;
}

/** dockerd on one of the hosts, several of which can run at once. */
export class Dockerd implements AsyncDisposable {
  readonly host: Host;
  readonly dir: RuntimeDir;
  #proc: Proc | undefined;
  #loaded = false;
  readonly #archive: string;

  /** `archive`: the images, see images.ts. */
  constructor(host: Host, archive: string) {
    this.host = host;
    this.dir = RuntimeDir.create('docker');
    this.#archive = archive;
    writeFileSync(this.#config, '{}');
  }

  get #config(): string {
    return this.dir.join('daemon.json');
  }

  get #socket(): string {
    return `unix://${this.dir.join('docker.sock')}`;
  }

  /** Start it with these options, as a unit with `$DOCKER_OPTS` does, and wait until it answers. */
  async start(options: readonly string[]): Promise<void> {
    const proc = await this.host.netns.start(
      [
        ...['dockerd', '--config-file', this.#config, '--data-root', this.dir.join('data')],
        ...['--exec-root', this.dir.join('exec'), '--pidfile', this.dir.join('pid'), '-H', this.#socket],
        ...['--iptables=true', '--ip6tables=false', '--userland-proxy=false'],
        ...['--exec-opt', 'native.cgroupdriver=cgroupfs', '--cgroup-parent', this.dir.cgroup],
        ...['--default-ulimit', 'nofile=1024:20000', ...options],
      ],
      { log: this.dir.join('dockerd.log') },
    );
    this.#proc = proc;
    const answers = () => proc.ended !== undefined || this.cli('version').then(() => true);
    await until('dockerd to answer', answers, 20_000, 50).catch((error: Error) => {
      throw new Error(`${error.message}\n${proc.tail()}`);
    });
    if (proc.ended !== undefined) throw new Error(`dockerd ended (${proc.ended}):\n${proc.tail()}`);
    if (!this.#loaded) await this.cli('load', '-q', '-i', this.#archive);
    this.#loaded = true;
  }

  /** End it in order. */
  async stop(): Promise<void> {
    const ended = await this.#proc?.stop('SIGTERM', 15_000);
    if (ended !== undefined && ended !== 'status 0') {
      throw new Error(`dockerd ended by ${ended}:\n${this.#proc!.tail()}`);
    }
  }

  /** `docker <args>`; returns what it printed. */
  cli(...args: string[]): Promise<string> {
    return run(['docker', '-H', this.#socket, ...args]);
  }

  /** Start a container of busybox. */
  async run(command: readonly string[], ...options: string[]): Promise<DockerContainer> {
    const id = (await this.cli('run', '-d', '--init=false', ...options, BUSYBOX, ...command)).trim();
    const format = '{{.NetworkSettings.IPAddress}} {{.NetworkSettings.SandboxKey}}';
    const [ip, netnsPath] = (await this.cli('inspect', '-f', format, id)).trim().split(' ');
    return { id, ip: ip!, netnsPath: netnsPath! };
  }

  /** Everything it started ends with it. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#proc?.stop('SIGKILL');
    this.dir[Symbol.dispose]();
  }
}
