import { LodenError } from '../../errors.ts';
import { CniError, CODE } from '../errors.ts';
import type { CniFailure, CniVersion, PluginCall } from '../types.ts';
import { member, parseNetConfig } from './json.ts';
import { isVersion, NEWEST } from './version.ts';

/** Characters of a message: what is quoted in it may be a whole configuration. */
const LONGEST = 4096;

const cut = (text: string): string => (text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text);

/** The version of a call's configuration; undefined when it cannot be told or is none we know. Never throws. */
export function versionOf(call: PluginCall): CniVersion | undefined {
  try {
    const text = member(parseNetConfig(call.stdin), 'cniVersion') ?? '';
    if (typeof text !== 'string') return undefined;
    return text === '' ? '0.1.0' : isVersion(text) ? text : undefined;
  } catch {
    return undefined;
  }
}

/**
 * The error object a runtime gets for anything thrown; in the version of the call's configuration, or the newest where that
 * cannot be told.
 */
export function failure(call: PluginCall | CniVersion | undefined, error: unknown): CniFailure {
  const cniVersion = (typeof call === 'object' ? versionOf(call) : call) ?? NEWEST;
  if (error instanceof CniError) {
    const { code, details } = error;
    return { cniVersion, code, msg: cut(error.message), ...(details ? { details: cut(details) } : {}) };
  }
  const message = error instanceof Error ? error.message : String(error);
  // What is none of our own errors is a bug: its message alone would tell nobody anything.
  const msg = error instanceof LodenError ? message : `unexpected failure in the daemon: ${message}`;
  return { cniVersion, code: CODE.internal, msg: cut(msg) };
}

/** The error when CNI_NETNS is the plugin's own namespace. */
export const ownNetns = (): CniError =>
  new CniError(
    CODE.invalidNetns,
    "plugin's netns and netns from CNI_NETNS should not be the same",
    'CNI_NETNS_OVERRIDE=1 allows it',
  );
