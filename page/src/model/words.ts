/** Figures in words, as an operator reads them. */

/** Seconds: `41 s`, `12 min 3 s`, `23 h 59 min`, `2 d 4 h`. */
export function duration(seconds: number): string {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86_400)} d ${Math.floor((s % 86_400) / 3600)} h`;
}

/** Seconds, where there is little room: `41 s`, `12 min`, `23 h`, `2 d`. */
export function briefly(seconds: number): string {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 172_800) return `${Math.floor(s / 3600)} h`;
  return `${Math.floor(s / 86_400)} d`;
}

const scaled = (n: number, step: number, units: readonly string[]): string => {
  let value = Math.abs(n);
  let unit = 0;
  // 999.6 would be shown as 1000.
  while (value >= step - 0.5 && unit < units.length - 1) {
    value /= step;
    unit++;
  }
  const digits = unit === 0 || value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return `${n < 0 ? '-' : ''}${value.toFixed(digits)} ${units[unit]}`.trimEnd();
};

/** `1.50 MB`; decimal, as networks count. */
export const bytes = (n: number): string => scaled(n, 1000, ['B', 'kB', 'MB', 'GB', 'TB', 'PB']);

/** Bytes a second as `12.0 Mbit/s`. */
export const rate = (bytesPerSecond: number): string =>
  scaled(bytesPerSecond * 8, 1000, ['bit/s', 'kbit/s', 'Mbit/s', 'Gbit/s', 'Tbit/s']);

/** Bytes a second in bit/s under a head that says so: `12.0 M`. */
export const bits = (bytesPerSecond: number): string =>
  scaled(bytesPerSecond * 8, 1000, ['', 'k', 'M', 'G', 'T']);

/** Milliseconds of a round trip: `0.084 ms`, `1.25 ms`, `130 ms`. */
export const roundTrip = (ms: number): string =>
  `${ms >= 100 ? ms.toFixed(0) : ms >= 10 ? ms.toFixed(1) : ms >= 1 ? ms.toFixed(2) : ms.toFixed(3)} ms`;

/** `1 peer`, `3 peers`, `1,000 peers`. */
export const count = (n: number, noun: string, plural = `${noun}s`): string =>
  `${n.toLocaleString('en')} ${n === 1 ? noun : plural}`;
