import type { Prefix } from '../../net/prefix.ts';
import type { Mode } from '../types.ts';
import type { Dns } from './result.ts';

export type JsonObject = Readonly<Record<string, unknown>>;

/** Configuration of type `loden`, beside what the request itself has. */
export interface LodenConfig {
  readonly type: 'loden';
  readonly mode: Mode;
  readonly bridge: string;
  /** Bytes; absent: the overlay's. */
  readonly mtu?: number;
  readonly hairpin: boolean;
  /** `ipam.dataDir`. */
  readonly dataDir: string;
  /** `ipam.routes` without default routes, which a container has anyway. */
  readonly routes: readonly Prefix[];
  readonly dns: Dns;
}

/** Configuration of type `flannel`: src/cni/flannel/delegate.ts makes the delegate's of it. */
export interface FlannelConfig {
  readonly type: 'flannel';
  readonly subnetFile: string;
  readonly dataDir: string;
  readonly delegate?: JsonObject;
  readonly ipam?: JsonObject;
  readonly runtimeConfig?: JsonObject;
}

export type NetConfig = LodenConfig | FlannelConfig;
