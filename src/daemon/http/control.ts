import { rmSync } from 'node:fs';
import { chmod, rename, rm } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import net from 'node:net';
import { dirname, join } from 'node:path';
import { CNI, EXIT } from '../../contract.ts';
import { LodenError } from '../../errors.ts';
import { answerPlugin, type PluginHandler } from '../pluginApi.ts';
import { healthRoutes } from './health.ts';
import { Newcomers } from './newcomers.ts';
import type { Route } from './route.ts';
import { ApiServer, type ServerOptions } from './server.ts';

/** Connections at once. A plugin's is refused only where there are more pods to come than any node has. */
const MOST = 1_024;
/** Milliseconds that calls of the plugin have at the end. */
const GRACE = 5_000;

export interface ControlParts extends Pick<ServerOptions, 'onFault' | 'streams' | 'idle'> {
  readonly ready: () => boolean;
  readonly routes: readonly Route[];
  /** Answers the CNI plugin. */
  readonly plugin?: PluginHandler;
}

const cannotListen = (path: string, cause: unknown): LodenError =>
  new LodenError(`cannot listen on ${path}: ${(cause as Error).message}`, { cause });

/** True when somebody accepts connections on this socket path. */
const answered = (path: string): Promise<boolean> =>
  new Promise((resolve) => {
    const probe = net.connect(path);
    probe.once('connect', () => resolve(true)).once('error', () => resolve(false));
    probe.once('connect', () => probe.destroy());
  });

/** Calls of the plugin, which have rules of their own, and those under way. */
function plugins(plugin: PluginHandler | undefined) {
  const underway = new Set<Promise<void>>();
  const takes = (req: IncomingMessage, res: ServerResponse): boolean => {
    if (!plugin || req.method !== 'POST' || req.url !== CNI.resource) return false;
    const work = answerPlugin(req, res, plugin).finally(() => underway.delete(work));
    underway.add(work);
    work.catch(() => res.destroy());
    return true;
  };
  return { underway, takes };
}

/**
 * The control API on a Unix socket, mode 0660: all routes. A socket file left by a dead daemon is replaced;
 * one that a living daemon answers on ends us with exit code 75.
 */
export async function serveControl(path: string, parts: ControlParts): Promise<AsyncDisposable> {
  if (await answered(path)) {
    throw new LodenError(`another loden daemon answers on ${path}; stop it, or choose another --run-dir`, {
      exitCode: EXIT.busy,
    });
  }
  const { underway, takes } = plugins(parts.plugin);
  const { routes, ready, plugin: _, ...options } = parts;
  const api = new ApiServer({
    ...options,
    local: true,
    routes: [...healthRoutes(ready), ...routes],
    most: MOST,
    takes,
  });
  // Under another name, no longer than its own, until its mode is right: the umask is of all threads, and others make files.
  const temporary = join(dirname(path), '.new');
  await rm(temporary, { force: true });
  await api.listen({ path: temporary, backlog: MOST }).catch((cause) => {
    throw cannotListen(path, cause);
  });
  const newcomers = new Newcomers(api.server);
  try {
    await chmod(temporary, 0o660);
    await rename(temporary, path);
  } catch (cause) {
    await api.close();
    throw cannotListen(path, cause);
  }
  return {
    [Symbol.asyncDispose]: async () => {
      // First, so that a plugin waits for the next daemon; who has found it is answered.
      rmSync(path, { force: true });
      await newcomers.gone();
      await api.close(underway, GRACE);
    },
  };
}
