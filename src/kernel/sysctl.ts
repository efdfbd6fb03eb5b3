import { readFile, writeFile } from 'node:fs/promises';
import type { NetlinkSocket } from '../netlink/socket.ts';
import type { Sysctl } from './types.ts';

/** Where sysctls are read and written: /proc/sys of the caller's own network namespace, unless a test says otherwise. */
export interface SysctlFiles {
  /** Undefined when there is no such file. */
  read(path: string): Promise<string | undefined>;
  write(path: string, value: string): Promise<void>;
  /**
   * Several at once, in order, none held back by the failure of another: undefined for each, or why not. After all that the
   * socket was sent before, and before all that it is sent after.
   */
  writeAll?(sysctls: readonly Sysctl[]): Promise<readonly (NodeJS.ErrnoException | undefined)[]>;
}

/** Only plain words between slashes: a device name must not climb out of /proc/sys. */
const isSafe = (path: string): boolean =>
  /^[^/\0]+(?:\/[^/\0]+)*$/.test(path) && !path.split('/').some((part) => part === '.' || part === '..');

const file = (path: string): string => {
  if (!isSafe(path)) throw new RangeError(`not a path below /proc/sys: ${JSON.stringify(path)}`);
  return `/proc/sys/${path}`;
};

export const procSys: SysctlFiles = {
  async read(path) {
    try {
      return (await readFile(file(path), 'utf8')).trim();
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw cause;
    }
  },
  write: (path, value) => writeFile(file(path), value),
};

const failed = (code: string, what: string): NodeJS.ErrnoException =>
  Object.assign(new Error(`${what}: ${code}`), { code });

/** Those of a netlink socket's namespace, read and written on its thread: all of a call by one hop. */
export const socketSysctls = (socket: Pick<NetlinkSocket, 'sysctls'>): SysctlFiles => ({
  async read(path) {
    const [read] = await socket.sysctls([{ path }]);
    if (typeof read === 'string') return read;
    const code = typeof read === 'object' ? read.code : 'EIO';
    if (code === 'ENOENT') return undefined;
    throw failed(code, `read /proc/sys/${path}`);
  },
  async write(path, value) {
    const [written] = await socket.sysctls([{ path, value }]);
    if (typeof written === 'object') throw failed(written.code, `write /proc/sys/${path}`);
  },
  async writeAll(sysctls) {
    const written = await socket.sysctls(sysctls.map(({ path, value }) => ({ path, value })));
    return written.map((o, i) =>
      typeof o === 'object' ? failed(o.code, `write /proc/sys/${sysctls[i]!.path}`) : undefined,
    );
  },
});

/**
 * Is a missing sysctl as good as set? A device has no `net/ipv6/conf/<dev>` when IPv6 is off or its MTU is below 1280:
 * then there is no IPv6 on it to be configured.
 */
export const isVacuous = (wanted: Sysctl, value: string | undefined): boolean =>
  value === undefined && wanted.dev !== undefined && wanted.path.startsWith('net/ipv6/conf/');

/** Values are compared as words: the kernel separates lists by tabs. */
export const sameValue = (a: string | undefined, b: string): boolean =>
  a !== undefined && a.trim().split(/\s+/).join(' ') === b.trim().split(/\s+/).join(' ');
