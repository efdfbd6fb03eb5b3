import type { LeaseJson } from './leases.ts';

/** What `POST /v1/reservations` and `DELETE /v1/leases/:key` have done. */
export interface LeaseChangeJson {
  /** `created`: a reservation where nothing was; `reserved`: of a lease; `released`: a lease of a reservation; `nothing`: it was so already. */
  readonly done: 'created' | 'reserved' | 'released' | 'deleted' | 'nothing';
  /** Of the lease; one that could not be read is told as it stood in etcd. */
  readonly key: string;
  /** As it is now; null: deleted. */
  readonly lease: LeaseJson | null;
  readonly revision: string;
  /** What follows from it that an operator should know, in sentences. */
  readonly notes: readonly string[];
}

/** What `PUT /v1/network` has done, or would do. */
export interface NetworkChangeJson {
  /** The key in etcd. */
  readonly key: string;
  readonly done: 'set' | 'nothing' | 'dry-run';
  /** At which it was written, or looked at: what a request names that must not overwrite anything later. */
  readonly revision: string;
  /** By path (`Backend.VNI`); a side that is absent is not there. Secrets are masked. */
  readonly changes: readonly { readonly path: string; readonly from?: unknown; readonly to?: unknown }[];
  /** Leases that it has no place for: running nodes keep theirs until they start anew, and then take others. */
  readonly orphans: readonly {
    readonly key: string;
    readonly subnets: readonly string[];
    readonly node: string | null;
    readonly publicIP: string | null;
    readonly why: string;
  }[];
  /** What running daemons do not take over in place; empty: they apply all of it at once. */
  readonly restart: readonly string[];
  /** Keys that mean nothing to this version. */
  readonly unknownKeys: readonly string[];
  /** Why what stands in etcd cannot be used; null: it can, or there is nothing. */
  readonly problem: string | null;
}
