import type { CniError } from '../errors.ts';
import type { FlannelConfig, JsonObject } from '../protocol/config.ts';
import type { DelegateOutcome } from '../types.ts';
import type { FlannelEnv } from './subnetEnv.ts';

/** A delegate's configuration; `type` is a plugin's name, `name` the network's. */
export type DelegateConfig = JsonObject & { readonly type: string; readonly name: string };

/** What of a request the delegate's configuration is made of. */
export interface FlannelRequest {
  readonly network: string;
  readonly config: FlannelConfig;
  readonly raw: JsonObject;
}

/** The configuration flannel's plugin would give its delegate. Throws CniError in flannel's words. */
export function delegateConfig(_request: FlannelRequest, _env: FlannelEnv): DelegateConfig {
  throw new Error('not yet');
}

/** The failure of a delegate as the runtime is to see it: the delegate's own error where it printed one. */
export function delegateError(_plugin: string, _command: string, _outcome: DelegateOutcome): CniError {
  throw new Error('not yet');
}
