import type { CniError } from '../errors.ts';
import type { CniFailure, CniVersion, PluginCall } from '../types.ts';

/** The error object a runtime gets for anything thrown; in the version of the call's configuration, as far as it can be told. */
export function failure(_call: PluginCall | CniVersion | undefined, _error: unknown): CniFailure {
  throw new Error('not yet');
}

/** The error when CNI_NETNS is the plugin's own namespace. */
export function ownNetns(): CniError {
  throw new Error('not yet');
}
