import type { ForwarderQueue } from '../native/forwarder.ts';

/** Most queues, and workers, of a forwarder: kMaxWorkers of native/core/stats_region.h. */
export const MAX_QUEUES = 16;

/** A forwarder's descriptors: what lives on while one process after the other uses it. */
export interface Bundle {
  /** The TUN device. */
  readonly device: string;
  /** The UDP port of the sockets that receive. */
  readonly port: number;
  /** One for each worker, 1 to {@link MAX_QUEUES}. */
  readonly queues: readonly ForwarderQueue[];
}

/** What descriptors there are in a queue. */
export const ROLES = ['tun', 'udp4', 'udp6', 'out4', 'out6'] as const satisfies (keyof ForwarderQueue)[];
export type Role = (typeof ROLES)[number];

/** Each descriptor of a bundle once, in order. */
export function descriptorsOf({ queues }: Bundle): number[] {
  const all = queues.flatMap((queue) => ROLES.map((role) => queue[role]));
  return [...new Set(all.filter((fd) => fd >= 0))];
}
