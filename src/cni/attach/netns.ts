import { closeSync } from 'node:fs';
import { addon } from '../../native/addon.ts';
import { CniError, CODE } from '../errors.ts';

/** Milliseconds the opening of a namespace may take: a path on a dead network file system never opens. */
const OPEN_TIMEOUT = 5_000;

/** A pod's network namespace, open. */
export interface PodNetns extends Disposable {
  readonly fd: number;
  /** `<dev>:<ino>` in decimal, as the plugin tells its own. */
  readonly id: string;
}

/**
 * Opens the namespace at CNI_NETNS. Throws {@link CniError}: 4 for a path that is not there (3 at CHECK, whose container is
 * gone then), 8 for what is no network namespace, 11 when it does not open in time, 5 for anything else.
 */
export async function openNetns(path: string, command: 'ADD' | 'CHECK'): Promise<PodNetns> {
  try {
    const { fd, dev, ino } = await addon().netnsOpen(path, OPEN_TIMEOUT);
    let isOpen = true;
    return {
      fd,
      id: `${dev}:${ino}`,
      [Symbol.dispose]() {
        if (isOpen) closeSync(fd);
        isOpen = false;
      },
    };
  } catch (cause) {
    throw refusal(path, command, cause as NodeJS.ErrnoException);
  }
}

function refusal(path: string, command: 'ADD' | 'CHECK', cause: NodeJS.ErrnoException): CniError {
  const what = `cannot open the network namespace CNI_NETNS=${JSON.stringify(path.slice(0, 256))}`;
  switch (cause.code) {
    case 'ENOENT':
    case 'ENOTDIR':
    case 'ENXIO':
      return command === 'CHECK'
        ? new CniError(
            CODE.unknownContainer,
            `${what}: there is none; the container has ended`,
            undefined,
            cause,
          )
        : new CniError(
            CODE.invalidEnvironment,
            `${what}: there is no such file where the daemon runs; the container has ended, or the daemon does not see the ` +
              `runtime's mounts (its unit must not have a mount namespace of its own)`,
            undefined,
            cause,
          );
    case 'EINVAL':
      return new CniError(CODE.invalidNetns, `${what}: it is no network namespace`, undefined, cause);
    case 'ETIMEDOUT':
      return new CniError(
        CODE.tryAgainLater,
        `${what}: it did not open within ${OPEN_TIMEOUT / 1000} s; look at the file system it is on`,
        undefined,
        cause,
      );
    default:
      return new CniError(CODE.ioFailure, `${what}: ${cause.code ?? cause.message}`, undefined, cause);
  }
}
