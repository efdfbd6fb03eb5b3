import { availableParallelism, loadavg } from 'node:os';

/** A whole number from an option; throws with the option's name. */
export function whole(name: string, text: string, min: number, max: number): number {
  const n = Number(text);
  if (Number.isInteger(n) && n >= min && n <= max) return n;
  throw new Error(`--${name}: expected a number from ${min} to ${max}, got ${JSON.stringify(text)}`);
}

/** Any number within limits, e.g. of seconds. */
export function decimal(name: string, text: string, min: number, max: number): number {
  const n = Number(text);
  if (text.trim() !== '' && n >= min && n <= max) return n;
  throw new Error(`--${name}: expected a number from ${min} to ${max}, got ${JSON.stringify(text)}`);
}

/** Names from a comma-separated option, in the order of `known`; throws for others. */
export function choice<T extends string>(name: string, text: string, known: readonly T[]): T[] {
  const asked = text.split(',');
  const unknown = asked.find((word) => !known.includes(word as T));
  if (unknown === undefined) return known.filter((word) => asked.includes(word));
  throw new Error(`--${name}: there is no ${JSON.stringify(unknown)} among ${known.join(', ')}`);
}

/** Figures from a machine that does something else too would be read as ours. */
export function warnIfBusy(): void {
  const [load] = loadavg() as [number];
  if (load > availableParallelism() / 2) {
    process.stderr.write(`the machine is busy (load ${load.toFixed(1)}): times will be too long\n`);
  }
}
