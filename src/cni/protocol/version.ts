import type { CniVersion } from '../types.ts';
import { member, parseNetConfig } from './json.ts';

/** Every version of the specification there is, oldest first, as libcni lists them. */
export const VERSIONS = [
  '0.1.0',
  '0.2.0',
  '0.3.0',
  '0.3.1',
  '0.4.0',
  '1.0.0',
  '1.1.0',
] as const satisfies CniVersion[];

/** The newest: spoken where the caller's is not known. */
export const NEWEST: CniVersion = '1.1.0';

export const isVersion = (text: string): text is CniVersion => (VERSIONS as readonly string[]).includes(text);

/** Is `version` `floor` or newer? */
export const atLeast = (version: CniVersion, floor: CniVersion): boolean =>
  VERSIONS.indexOf(version) >= VERSIONS.indexOf(floor);

/** What may be a version, ours or a later one's. */
const LIKE_VERSION = /^[0-9a-z.+-]{1,32}$/;

/** What VERSION gets (spec section "VERSION"): the caller's own version, and all of ours. The plugin binary says the same (cni/config.cc). */
export function versionAnswer(stdin: string): {
  readonly cniVersion: string;
  readonly supportedVersions: readonly CniVersion[];
} {
  return { cniVersion: askedFor(stdin) ?? NEWEST, supportedVersions: VERSIONS };
}

function askedFor(stdin: string): string | undefined {
  try {
    const given = member(parseNetConfig(stdin), 'cniVersion');
    return typeof given === 'string' && LIKE_VERSION.test(given) ? given : undefined;
  } catch {
    return undefined;
  }
}
