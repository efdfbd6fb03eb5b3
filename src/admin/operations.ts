import type { LeaseChangeJson, NetworkChangeJson } from '../api/changes.ts';
import { chooseBackend } from '../backends/registry.ts';
import { parseNetworkConfig } from '../config/network.ts';
import { DEFAULTS, KEYS } from '../contract.ts';
import { ConfigError } from '../errors.ts';
import { formatAddr } from '../net/addr.ts';
import { formatPrefix } from '../net/prefix.ts';
import { orphans, readSubnets, release, reserve, type Step } from '../subnet/admin.ts';
import { Refusal } from '../subnet/adminNode.ts';
import type { StoreOptions } from '../subnet/api.ts';
import { AdminOps } from '../subnet/etcd/adminOps.ts';
import { leaseJson } from '../subnet/json.ts';
import type { NetworkConfig } from '../subnet/types.ts';
import type { PrefixView } from '../subnet/view.ts';
import { differences } from './differences.ts';
import { restartNeeded } from './restart.ts';

/**
 * What operators change in etcd: the daemon does it for the control API, and the CLI by itself where no daemon runs. Each opens a
 * connection of its own, for it is done once in a blue moon. Rejects with Refusal when the state of things is against it, UsageError and
 * ConfigError for what cannot be read, StoreError when etcd does not answer or somebody else was quicker. `signal`
 * aborts when nobody waits for it any more: then nothing is changed.
 */

const DONE = {
  create: 'created',
  reserve: 'reserved',
  release: 'released',
  delete: 'deleted',
  nothing: 'nothing',
} as const satisfies Readonly<Record<Step['do'], LeaseChangeJson['done']>>;

const keyOf = (step: Step): string => ('key' in step ? step.key : step.lease.key);

function refuseIfUnwanted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new Refusal('nobody waits for it any more');
}

async function changeLease(
  store: StoreOptions,
  signal: AbortSignal | undefined,
  plan: (view: PrefixView) => ReturnType<typeof release>,
): Promise<LeaseChangeJson> {
  using ops = new AdminOps(store);
  const {
    plan: planned,
    lease,
    revision,
  } = await ops.change((view) => {
    refuseIfUnwanted(signal);
    return plan(view);
  });
  return {
    done: DONE[planned.step.do],
    key: keyOf(planned.step),
    lease: lease ? leaseJson(lease, false) : null,
    revision: String(revision),
    notes: planned.notes,
  };
}

export interface ReserveRequest {
  /** `10.5.7.0/24`, both families joined by a comma, or a key. */
  readonly subnet: string;
  /** A node id, the beginning of one, or a PublicIP. */
  readonly node: string;
}

export function reserveSubnet(
  store: StoreOptions,
  { subnet, node }: ReserveRequest,
  signal?: AbortSignal,
): Promise<LeaseChangeJson> {
  const subnets = readSubnets(subnet);
  return changeLease(store, signal, (view) => reserve(view, networkOf(view, store), { subnets, node }));
}

export interface ReleaseRequest {
  readonly subnet: string;
  readonly force?: boolean | undefined;
  /** Seconds of the lease that a reservation becomes; its node brings it to what it wants. */
  readonly ttl?: number | undefined;
}

export const releaseSubnet = (
  store: StoreOptions,
  { subnet, force = false, ttl = DEFAULTS.leaseTtl }: ReleaseRequest,
  signal?: AbortSignal,
): Promise<LeaseChangeJson> =>
  changeLease(store, signal, (view) => release(view, readable(view), { subnet, force, ttl }));

function networkOf(view: PrefixView, { prefix }: StoreOptions): NetworkConfig {
  if (view.config !== undefined) return parseNetworkConfig(view.config);
  throw new Refusal(
    `there is no network config at ${prefix}/${KEYS.config}: what is to be reserved is of no network`,
  );
}

/** The network config in etcd, if there is one that can be used. */
function readable({ config }: PrefixView): NetworkConfig | undefined {
  try {
    return config === undefined ? undefined : parseNetworkConfig(config);
  } catch {
    return undefined;
  }
}

export interface SetNetworkRequest {
  /** The config's text, as it is to stand in etcd. */
  readonly config: string;
  /** What was written later than this is not overwritten; undefined: whatever is there. */
  readonly revision?: string | undefined;
  /** Also when leases are orphaned. */
  readonly force?: boolean | undefined;
  readonly dryRun?: boolean | undefined;
}

/** Check a network config against what is there, and put it. */
export async function setNetwork(
  store: StoreOptions,
  request: SetNetworkRequest,
  signal?: AbortSignal,
): Promise<NetworkChangeJson> {
  const text = request.config.trim();
  const next = parseNetworkConfig(text);
  chooseBackend(next);
  using ops = new AdminOps(store);
  let change = compare(await ops.view(), text, next, store);
  if (request.dryRun) return { ...change, done: 'dry-run' };
  if (change.changes.length === 0 && change.problem === null) return change;
  const shown = BigInt(request.revision ?? change.revision);
  const revision = await ops.putConfig(text, shown, (view) => {
    refuseIfUnwanted(signal);
    change = compare(view, text, next, store);
    if (change.orphans.length > 0 && !request.force) throw wouldOrphan(change);
  });
  return { ...change, done: 'set', revision: String(revision) };
}

function compare(
  view: PrefixView,
  text: string,
  next: NetworkConfig,
  { prefix }: StoreOptions,
): NetworkChangeJson {
  const now = readable(view);
  const left = orphans(view.leases.values(), next);
  return {
    key: `${prefix.replace(/\/+$/, '')}/${KEYS.config}`,
    done: 'nothing',
    revision: String(view.revision),
    changes: differences(parsed(view.config), parsed(text)),
    orphans: left.map(({ lease, why }) => {
      const addr = lease.endpoints.get(4) ?? lease.endpoints.get(6);
      return {
        key: lease.key,
        subnets: lease.subnets.map(formatPrefix),
        node: lease.node ?? null,
        publicIP: addr ? formatAddr(addr) : null,
        why,
      };
    }),
    restart: now ? restartNeeded(now, next, left.length === 0) : [],
    unknownKeys: next.unknownKeys ?? [],
    problem: view.config === undefined || now ? null : problemOf(view.config),
  };
}

function parsed(text: string | undefined): unknown {
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function problemOf(text: string): string {
  try {
    parseNetworkConfig(text);
  } catch (e) {
    if (e instanceof ConfigError) return e.message;
  }
  return 'it cannot be read';
}

/** Leases that a message names. */
const NAMED = 10;

function wouldOrphan({ orphans: left }: NetworkChangeJson): Refusal {
  const named = left
    .slice(0, NAMED)
    .map(({ subnets, publicIP, why }) => `  ${subnets.join(', ')} of ${publicIP ?? 'nobody'}: ${why}`);
  const more = left.length > NAMED ? [`  and ${left.length - NAMED} more`] : [];
  const leases = left.length === 1 ? '1 lease' : `${left.length} leases`;
  return new Refusal(
    `the new network config has no place for ${leases}, whose pods would lose their addresses when their nodes start anew; --force sets it all the same:\n${[...named, ...more].join('\n')}`,
  );
}
