import { setTimeout as sleep } from 'node:timers/promises';
import { getJson } from '../api/client.ts';
import { NoDaemonError } from '../api/faults.ts';
import type { ConfigJson, LeasesJson, PeersJson, ProbesJson, StatusJson } from '../api/shapes.ts';
import { parseNetworkConfig } from '../config/network.ts';
import { LodenError } from '../errors.ts';
import type { StoreOptions } from '../subnet/api.ts';
import { leasesJson } from '../subnet/json.ts';
import { listOnce } from '../subnet/store.ts';
import type { LeaseSnapshot, NetworkConfig } from '../subnet/types.ts';
import { type AnswerOf, type Resource, readAnswer } from './answers.ts';

/**
 * What is known beyond this host's kernel: asked of the daemon that runs here, else straight of etcd. Looking never fails: each part says
 * where it came from, or why it is missing.
 */

/** One part of what is known. */
export type Known<T> =
  | { readonly value: T; readonly from: 'daemon' | 'etcd' }
  /** Why it is not known, in words for the operator. */
  | { readonly missing: string };

export interface World {
  /** `refusing`: somebody listens on the control socket but does not answer as a daemon should, or not to us. */
  readonly daemon: {
    readonly state: 'running' | 'none' | 'refusing';
    readonly reason: string | undefined;
  };
  readonly status: Known<StatusJson>;
  /** Every lease; `self` is set where it is known which is ours. */
  readonly leases: Known<LeasesJson>;
  /** The network config, checked. */
  readonly network: Known<NetworkConfig>;
  readonly peers: Known<PeersJson>;
  readonly probes: Known<ProbesJson>;
  /** What the running daemon was told, secrets masked. */
  readonly config: Known<ConfigJson>;
}

export interface WorldOptions {
  readonly runDir: string;
  /** Where to look when no daemon answers, which may follow from what a running one was told; undefined: nowhere, as its address is not known. */
  readonly etcd: StoreOptions | EtcdOf | undefined;
  /** This node's id in the state directory, to know our own lease without a daemon. */
  readonly node?: string | undefined;
  /** Milliseconds to wait for the daemon, and again for etcd; 3,000 unless given. */
  readonly timeout?: number;
}

/** Where etcd is, by what the daemon was told, if it has said; undefined: that cannot be known. */
export type EtcdOf = (
  config: ConfigJson | undefined,
  daemon: World['daemon']['state'],
) => StoreOptions | undefined;

/** What it asks; others in tests. */
export interface Sources {
  getJson(runDir: string, path: string, limits: { readonly timeout: number }): Promise<unknown>;
  listOnce(options: StoreOptions): Promise<LeaseSnapshot & { readonly config: string | undefined }>;
}

/** The value, whatever its source; undefined when it is missing. */
export const knownValue = <T>(known: Known<T>): T | undefined => ('value' in known ? known.value : undefined);

/** Why it is missing; undefined when it is not. */
export const whyMissing = (known: Known<unknown>): string | undefined =>
  'missing' in known ? known.missing : undefined;

const TIMEOUT = 3_000;
const NO_DAEMON = 'no daemon runs here';
const NO_ADDRESS = "etcd's address is not known";
/** Else the daemon counts packets of peers, by rules in the kernel, for as long as somebody asks. */
const UNCOUNTED = '/v1/peers?traffic=false';

/** Gather all that is known; takes at most twice the timeout, and does not throw. */
export async function lookAround(
  options: WorldOptions,
  sources: Sources = { getJson, listOnce },
): Promise<World> {
  const timeout = options.timeout ?? TIMEOUT;
  const ask = <R extends Resource>(resource: R, path: string = resource) =>
    askDaemon(resource, path, options.runDir, timeout, sources);
  const status = await ask('/v1/status');
  const daemon = stateOf(status);
  if (daemon.state !== 'running') {
    const missing: Known<never> = {
      missing: daemon.state === 'none' ? NO_DAEMON : (daemon.reason ?? NO_DAEMON),
    };
    const stored = await askEtcd(options, undefined, daemon, timeout, sources);
    return { daemon, status: missing, ...stored, peers: missing, probes: missing, config: missing };
  }
  const [leases, peers, probes, config] = await Promise.all([
    ask('/v1/leases'),
    ask('/v1/peers', UNCOUNTED),
    ask('/v1/probes'),
    ask('/v1/config'),
  ]);
  const known = {
    daemon,
    status,
    leases: seen(leases),
    peers,
    probes,
    config,
  };
  const network = networkOf(known.config);
  if ('value' in network && 'value' in known.leases) return { ...known, network };
  // A daemon that waits for etcd, or an older one, knows less than etcd itself may tell.
  const stored = await askEtcd(options, knownValue(known.config), daemon, timeout, sources);
  return {
    ...known,
    leases: 'value' in known.leases ? known.leases : stored.leases,
    network: 'value' in network ? network : 'value' in stored.network ? stored.network : network,
  };
}

/** An answer of the daemon, that it is not there, or why there is none. */
type Asked<T> = Known<T> & { readonly nobody?: boolean };

async function askDaemon<R extends Resource>(
  resource: R,
  path: string,
  runDir: string,
  timeout: number,
  sources: Sources,
): Promise<Asked<AnswerOf<R>>> {
  try {
    const answer = readAnswer(resource, await within(timeout, sources.getJson(runDir, path, { timeout })));
    if ('value' in answer) return { value: answer.value, from: 'daemon' };
    return {
      missing: `the daemon answers ${resource} in another shape (${answer.strange}): is it of another version?`,
    };
  } catch (error) {
    return { missing: messageOf(error), nobody: error instanceof NoDaemonError };
  }
}

function stateOf(status: Asked<StatusJson>): World['daemon'] {
  if ('value' in status) return { state: 'running', reason: undefined };
  return { state: status.nobody ? 'none' : 'refusing', reason: status.missing };
}

/** Before its first look at etcd a daemon shows no leases, which does not mean that there are none. */
const seen = (leases: Known<LeasesJson>): Known<LeasesJson> =>
  'value' in leases && leases.value.revision === '0'
    ? { missing: 'the daemon has not seen the leases in etcd yet' }
    : leases;

/** The daemon shows the config as it stands in etcd, secrets masked; it is read here again. */
function networkOf(config: Known<ConfigJson>): Known<NetworkConfig> {
  if ('missing' in config) return config;
  const { config: written, problem, key } = config.value.network;
  if (written === null || written === undefined) {
    return { missing: problem ?? `there is no network config at ${key} in etcd` };
  }
  return parsed(JSON.stringify(written), 'daemon');
}

function parsed(text: string, from: 'daemon' | 'etcd'): Known<NetworkConfig> {
  try {
    return { value: parseNetworkConfig(text), from };
  } catch (error) {
    return { missing: messageOf(error) };
  }
}

async function askEtcd(
  { etcd: given, node }: WorldOptions,
  config: ConfigJson | undefined,
  daemon: World['daemon'],
  timeout: number,
  sources: Sources,
): Promise<Pick<World, 'leases' | 'network'>> {
  const etcd = typeof given === 'function' ? given(config, daemon.state) : given;
  if (!etcd) {
    const missing = daemon.state === 'none' ? NO_DAEMON : (daemon.reason ?? NO_ADDRESS);
    return { leases: { missing }, network: { missing } };
  }
  try {
    const snapshot = await within(timeout, sources.listOnce(etcd));
    const own = node && [...snapshot.leases.values()].find((lease) => lease.node === node);
    const leases = { value: leasesJson(snapshot, 'etcd', own ? own.key : undefined), from: 'etcd' } as const;
    const key = `${etcd.prefix.replace(/\/+$/, '')}/config`;
    const network: Known<NetworkConfig> =
      snapshot.config === undefined
        ? { missing: `there is no network config at ${key} in etcd` }
        : parsed(snapshot.config, 'etcd');
    return { leases, network };
  } catch (error) {
    const missing = messageOf(error);
    return { leases: { missing }, network: { missing } };
  }
}

/** Rejects when it takes longer; what is under way is left to end by its own limit. */
export async function within<T>(ms: number, work: Promise<T>): Promise<T> {
  const timer = new AbortController();
  const late = sleep(ms, undefined, { signal: timer.signal, ref: false }).then(() => {
    throw new LodenError(`no answer within ${ms / 1000} s`);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    late.catch(() => {});
    work.catch(() => {});
    timer.abort();
  }
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
