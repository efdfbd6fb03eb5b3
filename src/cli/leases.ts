import * as v from 'valibot';
import type { LeasesOptions } from '../config/commands.ts';
import type { EtcdOptions } from '../config/etcd.ts';
import { LodenError } from '../errors.ts';
import { type LeasesJson, leasesJson } from '../subnet/json.ts';
import type { LeaseSnapshot } from '../subnet/types.ts';
import { controlSocket, getJson, NoDaemonError } from './client.ts';
import { renderLeases } from './render.ts';

const textOrNull = v.nullable(v.string());

/** What the daemon must answer; it may be of another version, so further members are let through. */
const Leases = v.looseObject({
  revision: v.string(),
  source: v.picklist(['daemon', 'etcd']),
  leases: v.array(
    v.looseObject({
      key: v.string(),
      subnets: v.array(v.string()),
      publicIP: textOrNull,
      publicIPv6: textOrNull,
      backend: textOrNull,
      data: v.unknown(),
      dataV6: v.unknown(),
      node: textOrNull,
      instance: textOrNull,
      reservation: v.boolean(),
      etcdLease: textOrNull,
      createRevision: v.string(),
      modRevision: v.string(),
      self: v.boolean(),
    }),
  ),
  setAside: v.array(v.looseObject({ key: v.string(), reason: v.string() })),
});

/** Ask the daemon in `runDir` who has which subnet. */
export async function leasesFromDaemon(runDir: string): Promise<LeasesJson> {
  const answer = v.safeParse(Leases, await getJson(runDir, '/v1/leases'));
  if (answer.success) return answer.output;
  const [issue] = answer.issues;
  throw new LodenError(
    `${controlSocket(runDir)} answers /v1/leases in another shape: ${v.getDotPath(issue) ?? ''} ${issue.message}`,
  );
}

/**
 * `loden leases`: from the daemon, straight from etcd (`listOnce`), or, by default, from the daemon and from etcd only
 * where no daemon runs.
 */
export async function leases(
  options: LeasesOptions,
  listOnce: (etcd: EtcdOptions) => Promise<LeaseSnapshot>,
  print: (text: string) => void,
): Promise<void> {
  const list = await find(options, async () => leasesJson(await listOnce(options.etcd), 'etcd', undefined));
  print(options.json ? `${JSON.stringify(list, null, 2)}\n` : renderLeases(list));
}

async function find(options: LeasesOptions, fromEtcd: () => Promise<LeasesJson>): Promise<LeasesJson> {
  if (options.source === 'etcd') return fromEtcd();
  try {
    return await leasesFromDaemon(options.runDir);
  } catch (e) {
    if (options.source === 'auto' && e instanceof NoDaemonError) return fromEtcd();
    throw e;
  }
}
