import { KernelError, LodenError } from '../../errors.ts';
import { CniError, CODE } from '../errors.ts';
import type { AttachmentId } from '../types.ts';

/** Kernel and native failures in the words of the specification's errors. */

/** `eth0 of container abc`, cut to what a message can bear. */
export const named = ({ containerId, ifname }: AttachmentId): string =>
  `${ifname} of container ${containerId.length > 64 ? `${containerId.slice(0, 64)}…` : containerId}`;

/** What can be done about an errno; undefined: nothing that fits everywhere. */
const ADVICE: Readonly<Record<string, string>> = {
  EPERM: 'the daemon needs CAP_NET_ADMIN, and CAP_SYS_ADMIN to enter the namespace of a pod',
  EACCES: 'the daemon needs CAP_NET_ADMIN, and CAP_SYS_ADMIN to enter the namespace of a pod',
  EOPNOTSUPP: 'load the kernel modules veth and bridge (modprobe veth bridge)',
  EMFILE: 'the daemon has too many open files: raise LimitNOFILE',
  ENFILE: 'the host has too many open files: raise fs.file-max',
  ENOMEM: 'the host is out of memory',
  ENOBUFS: 'the host is out of memory for sockets',
  EXFULL: 'the bridge has all the ports it can have (1023): use another bridge or mode ptp for further pods',
  ENOSPC: 'the host has as many devices as it can have',
};

/** As {@link CniError} `kernel`, whatever went wrong; one that is already told in its own words stays what it is. */
export function kernelFailure(tried: string, cause: unknown): CniError {
  if (cause instanceof CniError) return cause;
  if (!(cause instanceof LodenError)) {
    return new CniError(CODE.internal, `cannot ${tried}: ${(cause as Error).message}`, undefined, cause);
  }
  const advice = cause instanceof KernelError ? ADVICE[cause.code] : undefined;
  return new CniError(
    CODE.kernel,
    `cannot ${tried}: ${cause.message}${advice ? `; ${advice}` : ''}`,
    undefined,
    cause,
  );
}
