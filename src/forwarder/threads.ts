import { availableParallelism } from 'node:os';
import { MAX_QUEUES } from './bundle.ts';

/** How many threads forward when nobody says (`--udp-threads 0`), by the number of CPUs this process may use. */
export const threadsFor = (cpus: number): number => Math.min(MAX_QUEUES, Math.max(1, cpus >> 1));

/** `--udp-threads` as a number of threads. */
export const chooseThreads = (option: number): number =>
  option > 0 ? Math.min(option, MAX_QUEUES) : threadsFor(availableParallelism());
