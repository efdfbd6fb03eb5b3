import type { PluginCall } from '../types.ts';

/** The body of `POST /v1/cni`, hostile until read; throws CniError (code 6) when it is none. */
export function parseCall(_body: unknown): PluginCall {
  throw new Error('not yet');
}
