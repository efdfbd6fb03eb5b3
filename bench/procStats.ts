import { readFileSync } from 'node:fs';
import { cpus } from 'node:os';

/** USER_HZ: on Linux always 100, whatever the kernel's own tick. */
const TICKS_PER_SECOND = 100;

/** CPU seconds a process has used so far, user and system, all threads (proc(5), fields 14 and 15 of stat). */
export function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

/** Resident memory of a process in MB (10^6 bytes): now, and at its highest. */
export function memory(pid: number): { rss: number; peak: number } {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const field = (name: string) =>
    (Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1]) * 1024) / 1e6;
  return { rss: field('VmRSS'), peak: field('VmHWM') };
}

/**
 * CPU seconds the whole machine has not been idle, counted from some moment: what went by on all CPUs less what they idled,
 * waited for I/O or were not given (proc(5), stat). Idle time is kept exactly, while user and system time are sampled.
 */
export function busySeconds(): number {
  const line = readFileSync('/proc/stat', 'utf8').split('\n', 1)[0]!;
  const [, , , , idle, iowait, , , steal] = line.split(/\s+/).map(Number) as number[];
  return (performance.now() / 1000) * cpus().length - (idle! + iowait! + steal!) / TICKS_PER_SECOND;
}
