import * as v from 'valibot';
import type { ReleaseRequest, ReserveRequest, SetNetworkRequest } from '../admin/operations.ts';
import type { LeaseChangeJson, NetworkChangeJson } from '../api/shapes.ts';
import type { ClientOptions } from '../config/commands.ts';
import { EXIT } from '../contract.ts';
import { LodenError } from '../errors.ts';
import { type Asked, NoDaemonError, RefusedError } from './client.ts';
import { askFor } from './daemon.ts';

/** Milliseconds: the daemon waits for etcd, whose requests have 5 s each. */
const TIMEOUT = 20_000;

/** Codes of refusals that would be the same straight at etcd. */
const OF_REQUEST = new Set(['refused', 'conflict', 'config', 'bad-request']);

const text = v.string();
const textOrNull = v.nullable(text);

const LeaseChange = v.looseObject({
  done: v.picklist(['created', 'reserved', 'released', 'deleted', 'nothing']),
  lease: v.nullable(
    v.looseObject({ key: text, subnets: v.array(text), reservation: v.boolean(), node: textOrNull }),
  ),
  revision: text,
  notes: v.array(text),
}) as unknown as v.GenericSchema<unknown, LeaseChangeJson>;

const NetworkChange = v.looseObject({
  key: text,
  done: v.picklist(['set', 'nothing', 'dry-run']),
  revision: v.pipe(text, v.regex(/^\d{1,18}$/)),
  changes: v.array(v.looseObject({ path: text, from: v.optional(v.unknown()), to: v.optional(v.unknown()) })),
  orphans: v.array(
    v.looseObject({
      key: text,
      subnets: v.array(text),
      node: textOrNull,
      publicIP: textOrNull,
      why: text,
    }),
  ),
  restart: v.array(text),
  unknownKeys: v.array(text),
  problem: textOrNull,
}) as unknown as v.GenericSchema<unknown, NetworkChangeJson>;

/** What an operator changes, by the daemon or straight in etcd. */
export interface Admin {
  reserve(request: ReserveRequest): Promise<LeaseChangeJson>;
  release(request: ReleaseRequest): Promise<LeaseChangeJson>;
  setNetwork(request: SetNetworkRequest): Promise<NetworkChangeJson>;
}

/** By whom `--source` says; auto: by the daemon, and straight in etcd where none runs. */
export function adminOf({ source, runDir, etcd }: ClientOptions): Admin {
  async function either<T>(
    asked: Asked,
    shape: v.GenericSchema<unknown, T>,
    straight: (ops: typeof import('../admin/operations.ts')) => Promise<T>,
  ): Promise<T> {
    if (source !== 'etcd') {
      try {
        return await askFor(runDir, asked, shape, { timeout: TIMEOUT });
      } catch (e) {
        // What it says is about what was asked for, and not about the daemon.
        if (e instanceof RefusedError && e.code !== undefined && OF_REQUEST.has(e.code))
          throw new LodenError(e.reason, { exitCode: e.code === 'bad-request' ? EXIT.usage : e.exitCode });
        if (source === 'daemon' || !(e instanceof NoDaemonError)) throw e;
      }
    }
    return straight(await import('../admin/operations.ts'));
  }
  return {
    reserve: (request) =>
      either({ method: 'POST', path: '/v1/reservations', body: request }, LeaseChange, (ops) =>
        ops.reserveSubnet(etcd, request),
      ),
    release: (request) =>
      either(
        {
          method: 'DELETE',
          path: `/v1/leases/${encodeURIComponent(request.subnet)}?force=${request.force === true}`,
        },
        LeaseChange,
        (ops) => ops.releaseSubnet(etcd, request),
      ),
    setNetwork: (request) =>
      either({ method: 'PUT', path: '/v1/network', body: request }, NetworkChange, (ops) =>
        ops.setNetwork(etcd, request),
      ),
  };
}
