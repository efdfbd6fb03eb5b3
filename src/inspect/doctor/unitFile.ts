import type { UnitFile } from './facts.ts';

/**
 * The INI dialect of systemd and NetworkManager (systemd.syntax(7)): sections, assignments that add up, comments, lines continued by a
 * backslash. An empty assignment takes back those before it.
 */
export function parseUnitFile(path: string, texts: readonly string[]): UnitFile {
  const settings = new Map<string, string[]>();
  for (const text of texts) {
    let section = '';
    for (const raw of text.replace(/\\\n/g, ' ').split('\n')) {
      const line = raw.trim();
      if (line === '' || line.startsWith('#') || line.startsWith(';')) continue;
      const heading = /^\[(.+)\]$/.exec(line);
      if (heading) {
        section = heading[1]!.toLowerCase();
        continue;
      }
      const at = line.indexOf('=');
      if (at <= 0) continue;
      const key = `${section}.${line.slice(0, at).trim().toLowerCase()}`;
      const value = line.slice(at + 1).trim();
      if (value === '') settings.delete(key);
      else settings.set(key, [...(settings.get(key) ?? []), value]);
    }
  }
  return { path, settings };
}

/** The last assignment counts. */
export const setting = (file: UnitFile, key: string): string | undefined => file.settings.get(key)?.at(-1);

/** `yes`, `true`, `on`, `1` and their opposites (systemd.syntax(7)). */
export function truth(text: string | undefined): boolean | undefined {
  if (text === undefined) return undefined;
  if (/^(?:1|y|yes|t|true|on)$/i.test(text)) return true;
  return /^(?:0|n|no|f|false|off)$/i.test(text) ? false : undefined;
}

/** Shell globs `*`, `?` and `[…]`, as fnmatch(3) has them. */
export function globs(pattern: string, text: string): boolean {
  const source = pattern
    .replace(/[.+^${}()|\\]/g, '\\$&')
    .replace(/\*/g, '.*')
    .replace(/\?/g, '.');
  try {
    return new RegExp(`^${source.replace(/\[!/g, '[^')}$`).test(text);
  } catch {
    return false;
  }
}

/** What [Match] of systemd.link(5) and systemd.network(5) can know of a device. */
export interface Device {
  readonly name: string;
  /** `vxlan`, `bridge`, `veth`; undefined: hardware. */
  readonly kind: string | undefined;
}

/**
 * Does [Match] fit the device? Keys that this does not know are taken not to fit: they are about hardware, addresses or the machine, and a
 * file that everything fits has none.
 */
export function matches(file: UnitFile, device: Device): boolean {
  let asked = 0;
  for (const [key, values] of file.settings) {
    if (!key.startsWith('match.')) continue;
    asked++;
    const words = values.flatMap((v) => v.split(/\s+/));
    const of = valueFor(key.slice('match.'.length), device);
    if (of === undefined || !fits(words, of)) return false;
  }
  return asked > 0;
}

function valueFor(key: string, device: Device): string | undefined {
  if (key === 'originalname' || key === 'name') return device.name;
  if (key === 'driver' || key === 'kind') return device.kind ?? '';
  return key === 'type' ? (device.kind ?? 'ether') : undefined;
}

/** Any of the patterns; a `!` in front of the first turns them all round. */
function fits(words: readonly string[], text: string): boolean {
  const [first = '', ...rest] = words;
  const inverted = first.startsWith('!');
  const patterns = inverted ? [first.slice(1), ...rest] : words;
  return patterns.some((p) => globs(p, text)) !== inverted;
}

/** The file that counts for a device: the first that fits. */
export const fileFor = (files: readonly UnitFile[], device: Device): UnitFile | undefined =>
  files.find((f) => matches(f, device));
