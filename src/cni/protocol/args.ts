import type { Addr } from '../../net/addr.ts';
import type { Mac } from '../../net/mac.ts';

/** What the caller wishes for: CNI_ARGS, `args.cni` and `runtimeConfig` together. */
export interface Asked {
  /** At most one of each family; an address that cannot be had is an error, never passed over. */
  readonly ips: readonly Addr[];
  readonly mac?: Mac;
}
