import { type Addr, type Family, parseAddr } from '../net/addr.ts';

/** How the text of an option becomes a value. */
export interface Kind<T> {
  /** What stands in help, e.g. `URL,…`. */
  readonly placeholder: string;
  /** What a right text looks like, for error messages. */
  readonly expected: string;
  /** The value, or undefined when the text is wrong. */
  readonly parse: (text: string) => T | undefined;
  /** May stand without a value: then it is `true`. */
  readonly flag?: boolean;
  /** All it may be, where that is a few words. */
  readonly words?: readonly string[];
}

/** Exactly what Go's strconv.ParseBool takes. */
const BOOLEANS: ReadonlyMap<string, boolean> = new Map([
  ...['1', 't', 'T', 'TRUE', 'true', 'True'].map((s) => [s, true] as const),
  ...['0', 'f', 'F', 'FALSE', 'false', 'False'].map((s) => [s, false] as const),
]);

export const boolean: Kind<boolean> = {
  placeholder: 'true|false',
  expected: 'true or false',
  parse: (text) => BOOLEANS.get(text),
  flag: true,
};

export const integer = (min: number, max: number): Kind<number> => ({
  placeholder: 'N',
  expected: `a whole number from ${min} to ${max}`,
  parse: (text) => {
    const n = /^[+-]?\d{1,15}$/.test(text) ? Number(text) : undefined;
    return n !== undefined && n >= min && n <= max ? n : undefined;
  },
});

export const choice = <T extends string>(...words: readonly T[]): Kind<T> => ({
  placeholder: words.join('|'),
  expected: `one of ${words.join(', ')}`,
  parse: (text) => words.find((w) => w === text),
  words,
});

/** Any text without control characters. */
export const text: Kind<string> = {
  placeholder: 'TEXT',
  expected: 'text without control characters',
  parse: (s) => (/\p{Cc}/u.test(s) ? undefined : s),
};

export const path: Kind<string> = {
  placeholder: 'PATH',
  expected: 'a path of at most 4095 bytes, without control characters',
  parse: (s) => (s === '' || /\p{Cc}/u.test(s) || Buffer.byteLength(s) > 4095 ? undefined : s),
};

/** As the CNI specification has them, and short enough for the directory host-local makes of it. */
export const networkName: Kind<string> = {
  placeholder: 'NAME',
  expected:
    'a name of at most 255 letters, digits, dots, dashes and underscores, beginning with a letter or digit',
  parse: (s) => (/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}$/.test(s) ? s : undefined),
};

/** Versions of the specification that an installed configuration may have; with the second, runtimes call GC and STATUS. */
export const CNI_VERSIONS = ['1.0.0', '1.1.0'] as const;

export const address = (family?: Family): Kind<Addr> => ({
  placeholder: family === 4 ? 'IPv4' : family === 6 ? 'IPv6' : 'IP',
  expected: family === undefined ? 'an IP address' : `an IPv${family} address`,
  parse: (s) => {
    const a = parseAddr(s);
    return a && (family === undefined || a.family === family) ? a : undefined;
  },
});

/** A name the kernel accepts (dev_valid_name in net/core/dev.c) or an address. */
export const iface: Kind<string> = {
  placeholder: 'NAME|IP',
  expected: 'an interface name (1 to 15 bytes, without / : and white space) or an IP address',
  parse: (s) => {
    const name = /^[^\s/:]+$/.test(s) && s !== '.' && s !== '..' && Buffer.byteLength(s) <= 15;
    return name || parseAddr(s) ? s : undefined;
  },
};

/** What Go's regular expressions (RE2) have and JavaScript's take for something else. */
const ONLY_IN_GO = /\\[AzQEpPC]|\[\[:|\(\?P<|\(\?[imsU-]+[:)]/;

/** A regular expression that means the same in Go and here; `(?i)` may come first. */
export const regex: Kind<RegExp> = {
  placeholder: 'REGEX',
  expected: "a regular expression (of Go's own syntax only a leading (?i) is known)",
  parse: (s) => {
    const fold = s.startsWith('(?i)');
    const source = fold ? s.slice(4) : s;
    if (source === '' || source.length > 1000 || ONLY_IN_GO.test(source)) return undefined;
    try {
      return new RegExp(source, fold ? 'i' : '');
    } catch {
      return undefined;
    }
  },
};

const UNITS: Readonly<Record<string, number>> = {
  h: 3_600_000,
  m: 60_000,
  s: 1000,
  ms: 1,
  us: 1e-3,
  µs: 1e-3,
  ns: 1e-6,
};

/** Milliseconds of a Go duration (`1h30m`, `1.5h`, `500ms`); a bare number is seconds. */
export function parseDuration(s: string): number | undefined {
  if (s.length > 40) return undefined;
  if (/^\d+$/.test(s)) return Number(s) * 1000;
  if (!/^(?:(?:\d+(?:\.\d*)?|\.\d+)(?:h|ms|m|us|µs|ns|s))+$/.test(s)) return undefined;
  let sum = 0;
  for (const [, n, unit] of s.matchAll(/([\d.]+)([a-zµ]+)/g)) sum += Number(n) * UNITS[unit!]!;
  return sum;
}

/** Whole seconds, min..max. */
export const seconds = (min: number, max: number): Kind<number> => ({
  placeholder: 'DURATION',
  expected: `a duration in whole seconds such as 24h, 90m or 30s, from ${min} s to ${max / 3600} h`,
  parse: (s) => {
    const ms = parseDuration(s);
    return ms !== undefined && ms % 1000 === 0 && ms >= min * 1000 && ms <= max * 1000
      ? ms / 1000
      : undefined;
  },
});

/** Milliseconds, min..max, or 0 for never. */
export const interval = (min: number, max: number): Kind<number> => ({
  placeholder: 'DURATION',
  expected: `a duration such as 10s or 500ms, from ${min} ms to ${max / 3_600_000} h, or 0`,
  parse: (s) => {
    const ms = parseDuration(s);
    return ms === 0 || (ms !== undefined && ms >= min && ms <= max) ? ms : undefined;
  },
});

/** Where a TCP server listens. */
export interface ListenAddress {
  /** Undefined: all addresses. */
  readonly host: Addr | undefined;
  readonly port: number;
}

/** `10.0.0.1:9459`, `[::1]:9459`, or `:9459` for all addresses. */
export const listenAddress: Kind<ListenAddress> = {
  placeholder: 'IP:PORT',
  expected: 'an address and a port such as 127.0.0.1:9459 or [::1]:9459, or :9459 for all addresses',
  parse: (s) => {
    const [, six, four, digits] = /^(?:\[([0-9a-fA-F:.]+)\]|([\d.]*)):(\d{1,5})$/.exec(s) ?? [];
    const port = Number(digits);
    if (digits === undefined || port < 1 || port > 65_535) return undefined;
    if (four === '') return { host: undefined, port };
    const host = parseAddr(six ?? four ?? '');
    return host && host.family === (six === undefined ? 4 : 6) ? { host, port } : undefined;
  },
};

const ENDPOINT =
  /^(?:(https?):\/\/)?((?:[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9a-fA-F:.]+\])):(\d{1,5})\/?$/;

function parseEndpoint(s: string): string | undefined {
  const [, scheme = 'http', host, port] = ENDPOINT.exec(s) ?? [];
  if (!host || Number(port) < 1 || Number(port) > 65_535) return undefined;
  if (
    host.startsWith('[')
      ? parseAddr(host.slice(1, -1))?.family !== 6
      : /^[\d.]+$/.test(host) && !parseAddr(host)
  ) {
    return undefined;
  }
  return `${scheme}://${host}:${Number(port)}`;
}

/** etcd's client URLs, separated by commas; each becomes `scheme://host:port`. */
export const endpoints: Kind<readonly string[]> = {
  placeholder: 'URL,…',
  expected: 'URLs such as http://10.0.0.1:2379, separated by commas, without user, path or query',
  parse: (s) => {
    const parsed = s.split(',').map((e) => parseEndpoint(e.trim()));
    return parsed.length <= 100 && parsed.every((e) => e !== undefined) ? [...new Set(parsed)] : undefined;
  },
};

/** A key prefix, cleaned as flannel's path.Join does: no double slashes, none at the end. */
export const keyPrefix: Kind<string> = {
  placeholder: 'KEY',
  expected: 'a key of at most 1000 bytes with something besides slashes, and without . and .. as parts',
  parse: (s) => {
    const clean = s.replace(/\/+/g, '/').replace(/\/$/, '');
    const bad = clean === '' || /\p{Cc}/u.test(clean) || Buffer.byteLength(clean) > 1000;
    return bad || clean.split('/').some((part) => part === '.' || part === '..') ? undefined : clean;
  },
};
