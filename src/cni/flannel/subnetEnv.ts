import type { Prefix } from '../../net/prefix.ts';
import type { NodeNetwork } from '../types.ts';

/** What flannel's plugin reads out of subnet.env. */
export interface FlannelEnv {
  /** FLANNEL_NETWORK, perhaps several, then FLANNEL_IPV6_NETWORK. */
  readonly networks: readonly Prefix[];
  /** FLANNEL_SUBNET, then FLANNEL_IPV6_SUBNET, without host bits. */
  readonly subnets: readonly Prefix[];
  /** Bytes. */
  readonly mtu: number;
  readonly ipMasq: boolean;
}

/** Read subnet.env; `file` is its name in errors. Throws CniError in flannel's words. */
export function parseFlannelEnv(_text: string, _file: string): FlannelEnv {
  throw new Error('not yet');
}

/** The same out of the daemon's own knowledge. */
export function flannelEnvOf(_network: NodeNetwork): FlannelEnv {
  throw new Error('not yet');
}
