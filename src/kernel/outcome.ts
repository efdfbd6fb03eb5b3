import type { KernelError } from '../errors.ts';
import type { Op } from './kernel.ts';

/** What a delete is answered when there is nothing to delete: by links, routes, neighbours and FDB, addresses. */
const GONE = new Set(['ENODEV', 'ESRCH', 'ENOENT', 'EADDRNOTAVAIL', 'ENXIO']);

/**
 * The kernel was not as we had seen it (EEXIST, gone devices and objects), or nobody knows what became of the request
 * (ENOBUFS: the answer was lost; EINTR). Look again before calling it a failure.
 */
const RACE = new Set(['EEXIST', 'ENODEV', 'ESRCH', 'ENOENT', 'ENXIO', 'ENOBUFS', 'EINTR']);

/** The failure that counts: none for what was to go and is gone, nor for what was optional. */
export const settled = (op: Op, error: KernelError | undefined): KernelError | undefined =>
  error === undefined || op.optional || (op.verb === 'delete' && GONE.has(error.code)) ? undefined : error;

export const isRace = (error: KernelError): boolean => RACE.has(error.code);
