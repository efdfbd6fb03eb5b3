/** A lease as `/v1/leases`, `/v1/status` and `loden leases --json` show it; see docs/contracts.md. */
export interface LeaseJson {
  readonly key: string;
  readonly subnets: readonly string[];
  readonly publicIP: string | null;
  readonly publicIPv6: string | null;
  readonly backend: string | null;
  /** `BackendData` and `BackendV6Data`: of the backend's own shape. */
  readonly data: unknown;
  readonly dataV6: unknown;
  readonly node: string | null;
  readonly instance: string | null;
  readonly reservation: boolean;
  /** Decimal, like the revisions: they are int64. */
  readonly etcdLease: string | null;
  readonly createRevision: string;
  readonly modRevision: string;
  /** It is the lease of the daemon that was asked. */
  readonly self: boolean;
}

/** What `GET /v1/leases` answers. */
export interface LeasesJson {
  readonly revision: string;
  readonly source: 'daemon' | 'etcd';
  /** By subnet. */
  readonly leases: readonly LeaseJson[];
  readonly setAside: readonly { readonly key: string; readonly reason: string }[];
}
