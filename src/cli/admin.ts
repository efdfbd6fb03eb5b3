import * as v from 'valibot';
import type { ReleaseRequest, ReserveRequest, SetNetworkRequest } from '../admin/operations.ts';
import type { LeaseChangeJson, NetworkChangeJson } from '../api/changes.ts';
import type { Asked } from '../api/client.ts';
import { RefusedError, SilentError } from '../api/faults.ts';
import type { ClientOptions } from '../config/commands.ts';
import { EXIT } from '../contract.ts';
import { LodenError } from '../errors.ts';
import { leaseAnswer } from '../inspect/answers.ts';
import { askFor, fromEither } from './daemon.ts';

/** Milliseconds: the daemon waits for etcd, whose requests have 5 s each. */
const TIMEOUT = 20_000;

/** Codes of refusals that would be the same straight at etcd. */
const OF_REQUEST = new Set(['refused', 'conflict', 'config', 'bad-request']);

const text = v.string();
const textOrNull = v.nullable(text);

const LeaseChange: v.GenericSchema<unknown, LeaseChangeJson> = v.looseObject({
  done: v.picklist(['created', 'reserved', 'released', 'deleted', 'nothing']),
  key: text,
  lease: v.nullable(leaseAnswer),
  revision: text,
  notes: v.array(text),
});

const NetworkChange: v.GenericSchema<unknown, NetworkChangeJson> = v.looseObject({
  key: text,
  done: v.picklist(['set', 'nothing', 'dry-run']),
  revision: v.pipe(text, v.regex(/^\d{1,18}$/)),
  changes: v.array(
    v.looseObject({ path: text, from: v.exactOptional(v.unknown()), to: v.exactOptional(v.unknown()) }),
  ),
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
});

/** What an operator changes, by the daemon or straight in etcd. */
export interface Admin {
  reserve(request: ReserveRequest): Promise<LeaseChangeJson>;
  release(request: ReleaseRequest): Promise<LeaseChangeJson>;
  setNetwork(request: SetNetworkRequest): Promise<NetworkChangeJson>;
}

/** By whom `--source` says; auto: by the daemon, and straight in etcd where none runs. */
export function adminOf({ source, runDir, etcd }: ClientOptions, timeout = TIMEOUT): Admin {
  const either = <T>(
    asked: Asked,
    shape: v.GenericSchema<unknown, T>,
    seenBy: string | undefined,
    straight: (ops: typeof import('../admin/operations.ts')) => Promise<T>,
  ): Promise<T> =>
    fromEither(
      source,
      () => askFor(runDir, asked, shape, { timeout }).catch((e) => Promise.reject(known(e, seenBy))),
      async () => straight(await import('../admin/operations.ts')),
    );
  return {
    reserve: (request) =>
      either(
        { method: 'POST', path: '/v1/reservations', body: request },
        LeaseChange,
        'loden leases',
        (ops) => ops.reserveSubnet(etcd, request),
      ),
    release: (request) =>
      either(
        {
          method: 'DELETE',
          path: `/v1/leases/${encodeURIComponent(request.subnet)}?force=${request.force === true}`,
        },
        LeaseChange,
        'loden leases',
        (ops) => ops.releaseSubnet(etcd, request),
      ),
    setNetwork: (request) =>
      either(
        { method: 'PUT', path: '/v1/network', body: request },
        NetworkChange,
        request.dryRun ? undefined : 'loden config show',
        (ops) => ops.setNetwork(etcd, request),
      ),
  };
}

/** What a request that changes something failed with, in the words that fit. */
function known(e: unknown, seenBy: string | undefined): unknown {
  if (e instanceof SilentError) return e.with({ seenBy });
  // What it says is about what was asked for, and not about the daemon.
  if (e instanceof RefusedError && e.code !== undefined && OF_REQUEST.has(e.code))
    return new LodenError(e.reason, { exitCode: e.code === 'bad-request' ? EXIT.usage : e.exitCode });
  return e;
}
