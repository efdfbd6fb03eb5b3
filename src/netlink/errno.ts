import { constants } from 'node:os';

/** Errno numbers by name, as this platform has them. */
export const ERRNO: Readonly<Record<string, number>> = constants.errno;

const names = new Map<number, string>();
// Where two names share a number (EAGAIN and EWOULDBLOCK, EOPNOTSUPP and ENOTSUP) the one the kernel's sources use.
const ALIASES = new Set(['EWOULDBLOCK', 'ENOTSUP', 'EDEADLOCK']);
for (const [name, number] of Object.entries(constants.errno)) if (!ALIASES.has(name)) names.set(number, name);

// errno.h numbers that Node leaves out and rtnetlink uses (asm-generic/errno.h).
for (const [name, number] of [
  ['ENOTUNIQ', 76],
  ['EUSERS', 87],
  ['EPFNOSUPPORT', 96],
  ['ESHUTDOWN', 108],
  ['EUCLEAN', 117],
] as const) {
  if (!names.has(number)) names.set(number, name);
}

/** Symbolic name of a positive errno: `EEXIST` for 17; `errno 999` for one without a name. */
export const errnoName = (errno: number): string => names.get(errno) ?? `errno ${errno}`;
