import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { PluginCall } from '../../src/cni/types.ts';

/** The plugin binary in a directory of its own, with whatever shall answer at its socket. */

export const BINARY = fileURLToPath(new URL('../../build/cni/loden', import.meta.url));

export interface Ended {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** What comes of a call; `error` when standard output is an error object. */
export const errorOf = (ended: Ended) =>
  JSON.parse(ended.stdout) as { cniVersion: string; code: number; msg: string; details?: string };

export interface CallOptions {
  /** Beside CNI_COMMAND, CNI_CONTAINERID, CNI_NETNS and CNI_IFNAME; undefined takes one away. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Members of the configuration. */
  readonly config?: Readonly<Record<string, unknown>>;
  /** Standard input, instead of a configuration. */
  readonly stdin?: string | Buffer;
  /** Milliseconds until it is killed; 20 s. */
  readonly timeout?: number;
  readonly argv?: readonly string[];
}

export class Plugin {
  readonly dir = mkdtempSync(join(tmpdir(), 'ld-cni-'));
  readonly socket = join(this.dir, 'loden.sock');
  readonly queue = join(this.dir, 'state', 'del');
  readonly bin = join(this.dir, 'bin');
  readonly #servers: net.Server[] = [];
  readonly #connections = new Set<net.Socket>();

  constructor() {
    mkdirSync(this.bin);
  }

  /** Runs it to its end, with an environment of nothing but CNI's variables. */
  async call(command: string | undefined, options: CallOptions = {}): Promise<Ended> {
    const env = Object.fromEntries(
      Object.entries({
        CNI_COMMAND: command,
        CNI_CONTAINERID: 'c1',
        CNI_NETNS: '/run/netns/c1',
        CNI_IFNAME: 'eth0',
        CNI_PATH: this.bin,
        ...options.env,
      }).filter((entry): entry is [string, string] => entry[1] !== undefined),
    );
    const argv = options.argv ?? [BINARY];
    const child = spawn(argv[0]!, argv.slice(1), {
      env,
      timeout: options.timeout ?? 20_000,
      killSignal: 'SIGKILL',
    });
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => out.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => err.push(chunk));
    child.stdin.on('error', () => {});
    child.stdin.end(options.stdin ?? this.config(options.config));
    const [status] = (await once(child, 'close')) as [number | null];
    return { status, stdout: Buffer.concat(out).toString(), stderr: Buffer.concat(err).toString() };
  }

  config(members: Readonly<Record<string, unknown>> = {}): string {
    return JSON.stringify({
      cniVersion: '1.0.0',
      name: 'pods',
      type: 'loden',
      socket: this.socket,
      delQueue: this.queue,
      ...members,
    });
  }

  /** Answers each call by `answer`, over real HTTP; the calls that came are returned. */
  async serve(
    answer: (call: PluginCall, res: ServerResponse, nth: number) => void | Promise<void>,
    path = this.socket,
  ): Promise<{ calls: PluginCall[]; requests: IncomingMessage[]; server: Server }> {
    const calls: PluginCall[] = [];
    const requests: IncomingMessage[] = [];
    const server = createServer(async (req, res) => {
      const chunks: Buffer[] = [];
      for await (const chunk of req) chunks.push(chunk as Buffer);
      const body = new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks));
      const call = JSON.parse(body) as PluginCall;
      requests.push(req);
      await answer(call, res, calls.push(call) - 1);
    });
    await this.#listen(server, path);
    return { calls, requests, server };
  }

  /** Whatever is said on a connection, without HTTP. */
  async serveRaw(said: (socket: net.Socket) => void, path = this.socket): Promise<net.Server> {
    const server = net.createServer({ allowHalfOpen: true }, (socket) => {
      socket.on('error', () => {});
      said(socket);
    });
    await this.#listen(server, path);
    return server;
  }

  async #listen(server: net.Server, path: string): Promise<void> {
    server.on('connection', (socket: net.Socket) => {
      this.#connections.add(socket);
      socket.on('close', () => this.#connections.delete(socket));
    });
    this.#servers.push(server);
    server.listen(path);
    await once(server, 'listening');
  }

  /** Puts a shell script into CNI_PATH. */
  plugin(name: string, script: string): void {
    writeFileSync(join(this.bin, name), `#!/bin/sh\n${script}\n`);
    chmodSync(join(this.bin, name), 0o755);
  }

  /** The calls that are kept for a daemon, with their files' names. */
  queued(): { name: string; call: PluginCall }[] {
    return readdirSync(this.queue).map((name) => ({
      name,
      call: JSON.parse(readFileSync(join(this.queue, name), 'utf8')) as PluginCall,
    }));
  }

  [Symbol.dispose](): void {
    for (const server of this.#servers) server.close();
    for (const socket of this.#connections) socket.destroy();
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** Does the process run whose id a file holds? One that has ended and is waited for by nobody does not. */
export function isRunning(pidFile: string): boolean {
  try {
    const stat = readFileSync(`/proc/${readFileSync(pidFile, 'utf8').trim()}/stat`, 'utf8');
    return !/\) [ZX] /.test(stat);
  } catch {
    return false;
  }
}

/** An answer of JSON. */
export function json(res: ServerResponse, value: unknown, status = 200, type = 'application/json'): void {
  res.writeHead(status, { 'content-type': type });
  res.end(value === undefined ? '' : JSON.stringify(value));
}
