import { isObject } from '../fields.ts';
import { type Bundle, descriptorsOf, MAX_QUEUES, ROLES, type Role } from '../forwarder/bundle.ts';
import type { ForwarderQueue } from '../native/forwarder.ts';

/** A bundle as it is written down: for each descriptor its place in the list that goes beside, -1: none. */
export interface Manifest {
  readonly device: string;
  readonly port: number;
  readonly queues: readonly ForwarderQueue[];
  /** How long that list is. */
  readonly descriptors: number;
}

/** IFNAMSIZ less its NUL. */
const NAME_MAX = 15;

const map = (queue: ForwarderQueue, to: (n: number) => number): ForwarderQueue =>
  Object.fromEntries(ROLES.map((role) => [role, to(queue[role])])) as Record<Role, number>;

/** A bundle's manifest, and the list of descriptors beside it. */
export function manifestOf(bundle: Bundle): { manifest: Manifest; fds: number[] } {
  const fds = descriptorsOf(bundle);
  const queues = bundle.queues.map((queue) => map(queue, (fd) => fds.indexOf(fd)));
  return { manifest: { device: bundle.device, port: bundle.port, queues, descriptors: fds.length }, fds };
}

/** The bundle that a manifest and as many descriptors as it says are. */
export const bundleOf = ({ device, port, queues }: Manifest, fds: readonly number[]): Bundle => ({
  device,
  port,
  queues: queues.map((queue) => map(queue, (index) => fds[index] ?? -1)),
});

/** Undefined for anything that is no manifest. In one that is, every descriptor is used, and every queue has a device. */
export function parseManifest(value: unknown): Manifest | undefined {
  if (!isObject(value)) return undefined;
  const { device, port, queues, descriptors } = value;
  if (!isDeviceName(device) || !isWhole(port, 1, 65_535)) return undefined;
  if (!Array.isArray(queues) || queues.length === 0 || queues.length > MAX_QUEUES) return undefined;
  if (!isWhole(descriptors, 1, MAX_QUEUES * ROLES.length)) return undefined;
  const parsed: ForwarderQueue[] = [];
  for (const queue of queues as unknown[]) {
    if (!isObject(queue) || !ROLES.every((role) => isWhole(queue[role], -1, descriptors - 1)))
      return undefined;
    const { tun, udp4, udp6, out4, out6 } = queue as unknown as ForwarderQueue;
    if (tun < 0 || (udp4 < 0 && udp6 < 0)) return undefined;
    parsed.push({ tun, udp4, udp6, out4, out6 });
  }
  const used = new Set(parsed.flatMap((queue) => ROLES.map((role) => queue[role])).filter((n) => n >= 0));
  return used.size === descriptors ? { device, port, queues: parsed, descriptors } : undefined;
}

const isWhole = (value: unknown, low: number, high: number): value is number =>
  Number.isInteger(value) && (value as number) >= low && (value as number) <= high;

/** A name the kernel gives to a device. */
export const isDeviceName = (value: unknown): value is string =>
  typeof value === 'string' &&
  value.length > 0 &&
  Buffer.byteLength(value) <= NAME_MAX &&
  value !== '.' &&
  value !== '..' &&
  !/[/:\s]/.test(value) &&
  ![...value].some((c) => c < ' ');
