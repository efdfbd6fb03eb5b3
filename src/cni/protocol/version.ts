import type { CniVersion } from '../types.ts';

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

/** What VERSION gets (spec section "VERSION"). */
export const versionAnswer = (): { cniVersion: CniVersion; supportedVersions: readonly CniVersion[] } => ({
  cniVersion: NEWEST,
  supportedVersions: VERSIONS,
});
