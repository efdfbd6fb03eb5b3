import { execFile } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CNI, FILES } from '../../src/contract.ts';
import type { Netns } from './netns.ts';
import { cleanEnv } from './proc.ts';

/** Where `npm run build` puts the plugin under each of its names. */
export const PLUGIN_DIR = fileURLToPath(new URL('../../build/cni', import.meta.url));

/** One interface of one container, as a runtime names it. */
export interface Container {
  readonly id: string;
  /** Path of its namespace; empty or left out: the container is gone. */
  readonly netns?: string;
  /** `eth0`. */
  readonly ifname?: string;
  /** CNI_ARGS. */
  readonly args?: string;
}

/** A successful result of version 0.3.0 or later, as far as tests read it. */
export interface PluginResult {
  readonly cniVersion: string;
  readonly interfaces?: readonly {
    readonly name: string;
    readonly mac?: string;
    readonly sandbox?: string;
  }[];
  readonly ips: readonly {
    readonly address: string;
    readonly gateway?: string;
    readonly interface?: number;
  }[];
  readonly routes?: readonly { readonly dst: string; readonly gw?: string }[];
  readonly dns?: Readonly<Record<string, unknown>>;
}

/** How a plugin ended, whatever that was. */
export interface PluginRun {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A plugin that failed, with the error it printed. */
export class PluginError extends Error {
  readonly code: number | undefined;
  readonly msg: string;
  readonly details: string | undefined;
  readonly run: PluginRun;
  constructor(command: string, name: string, run: PluginRun) {
    const error = failure(run.stdout);
    const said = error.msg ?? `${run.stdout}${run.stderr}`.trim();
    super(
      `${command} by ${name}: status ${run.status}, code ${error.code}: ${said} ${error.details ?? ''}`.trim(),
    );
    this.name = 'PluginError';
    this.code = error.code;
    this.msg = said;
    this.details = error.details;
    this.run = run;
  }
}

function failure(stdout: string): { code?: number; msg?: string; details?: string } {
  try {
    return JSON.parse(stdout) as { code: number; msg: string; details?: string };
  } catch {
    return {};
  }
}

/** What a plugin is told of its host, instead of the machine's directories. */
export interface PluginHost {
  readonly netns: Netns;
  readonly dir: string;
  readonly runDir: string;
  readonly stateDir: string;
}

/** host-local's store on a host. */
export const storeOf = (host: PluginHost): string => join(host.dir, 'networks');

/** A network configuration for our plugin on a host; `more` is put over it. */
export const lodenConfig = (
  host: PluginHost,
  more: Readonly<Record<string, unknown>> = {},
): Readonly<Record<string, unknown>> => ({
  ...{ cniVersion: '1.0.0', name: 'pods', type: 'loden' },
  socket: join(host.runDir, FILES.controlSocket),
  delQueue: join(host.stateDir, CNI.delQueue),
  ipam: { dataDir: storeOf(host) },
  ...more,
});

/** A network configuration and where its plugin is, run on a host as a runtime does: one process for each call. */
export class Plugin {
  readonly config: Readonly<Record<string, unknown>>;
  /** CNI_PATH. */
  readonly path: string;
  readonly #netns: Netns;

  /** `config.type` names the executable, which is looked for in `path`, directories joined by colons. */
  constructor(netns: Netns, config: Readonly<Record<string, unknown>>, path = PLUGIN_DIR) {
    this.#netns = netns;
    this.config = config;
    this.path = path;
  }

  async add(container: Container): Promise<PluginResult> {
    return JSON.parse((await this.call('ADD', container)).stdout) as PluginResult;
  }

  async del(container: Container, prevResult?: PluginResult): Promise<void> {
    await this.call('DEL', container, prevResult ? { prevResult } : {});
  }

  async check(container: Container, prevResult: PluginResult): Promise<void> {
    await this.call('CHECK', container, { prevResult });
  }

  /** Any command; `more` is put over the configuration. Throws {@link PluginError} for any status but 0. */
  async call(
    command: string,
    container?: Container,
    more: Readonly<Record<string, unknown>> = {},
  ): Promise<PluginRun> {
    const run = await this.run(this.env(command, container), JSON.stringify({ ...this.config, ...more }));
    if (run.status !== 0) throw new PluginError(command, String(this.config.type), run);
    return run;
  }

  env(command: string, container?: Container): Record<string, string> {
    return {
      ...{ CNI_COMMAND: command, CNI_PATH: this.path },
      ...(container
        ? {
            CNI_CONTAINERID: container.id,
            CNI_NETNS: container.netns ?? '',
            CNI_IFNAME: container.ifname ?? 'eth0',
            ...(container.args === undefined ? {} : { CNI_ARGS: container.args }),
          }
        : {}),
    };
  }

  /** A call for a shell, the configuration being in `file`. */
  shell(command: string, container: Container, file: string): string {
    const variables = Object.entries(this.env(command, container)).map(([name, value]) => `${name}=${value}`);
    return [...variables, 'ip netns exec', this.#netns.name, this.#executable(), `<${file}`].join(' ');
  }

  /** The bare process: this environment beside the usual one, this standard input; never rejects for how it ends. */
  run(env: Readonly<Record<string, string>>, input: string): Promise<PluginRun> {
    const [file, ...args] = this.#netns.argv([this.#executable()]) as [string, ...string[]];
    const options = {
      env: cleanEnv(env),
      timeout: 60_000,
      killSignal: 'SIGKILL',
      maxBuffer: 16 << 20,
    } as const;
    return new Promise((resolve, reject) => {
      const child = execFile(file, args, options, (error, stdout, stderr) => {
        if (error && typeof error.code !== 'number') reject(error);
        else resolve({ status: error ? (error.code as number) : 0, stdout, stderr });
      });
      // Who does not read all of it is judged by its answer.
      child.stdin!.on('error', () => {});
      child.stdin!.end(input);
    });
  }

  #executable(): string {
    const type = String(this.config.type);
    const found = this.path.split(':').find((dir) => executable(join(dir, type)));
    if (found === undefined) throw new Error(`there is no plugin ${type} in ${this.path}`);
    return join(found, type);
  }
}

function executable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
