import { availableParallelism } from 'node:os';

/** kMaxWorkers of native/core/forwarder.h. */
export const MAX_THREADS = 16;

/** How many threads forward when nobody says (`--udp-threads 0`), by the number of CPUs this process may use. */
export const threadsFor = (cpus: number): number => Math.min(MAX_THREADS, Math.max(1, cpus >> 1));

/** `--udp-threads` as a number of threads. */
export const chooseThreads = (option: number): number =>
  option > 0 ? Math.min(option, MAX_THREADS) : threadsFor(availableParallelism());
