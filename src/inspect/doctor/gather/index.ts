import type { Values } from '../../../config/options.ts';
import type { Env, Flags } from '../../../config/sources.ts';
import { readFirewall } from '../../firewall/index.ts';
import { knownValue, lookAround, type World, within } from '../../world.ts';
import { type Settled, settle } from '../applied.ts';
import type { Facts } from '../facts.ts';
import { type Fact, fact, missing } from '../types.ts';
import { tryEndpoints } from './etcd.ts';
import { readCertificates, readClock, readCni, readNodeId, readSubnetFile } from './files.ts';
import { readKernel } from './kernel.ts';
import { findManagers } from './managers.ts';
import { listKernel } from './netlink.ts';
import { listProcesses, listSockets, type Process, readSysctls } from './proc.ts';

/** Milliseconds for each of the things that are looked at here, and for etcd. */
const LIMIT = 5_000;
const ETCD_LIMIT = 8_000;

/** What became of a look: it never throws and never hangs. */
async function known<T>(what: string, limit: number, look: () => T | Promise<T>): Promise<Fact<T>> {
  try {
    return fact(await within(limit, (async () => look())()));
  } catch (e) {
    return missing(`${what}: ${e instanceof Error ? e.message : String(e)}`);
  }
}

const or = <T>(f: Fact<T>, otherwise: T): T => ('value' in f ? f.value : otherwise);
const part = <T, K extends keyof T>(f: Fact<T>, key: K): Fact<T[K]> =>
  'value' in f ? fact(f.value[key]) : f;

/** All that can be found out, most of it at once. `given`: the options as they were given, before the daemon's are known. */
export async function gather(flags: Flags, env: Env, given: Values): Promise<Facts> {
  const runDir = given['run-dir'];
  const { root } = given;
  const local = here(root, given);
  const node = await readNodeId(given['state-dir']);
  const world = await lookAround({
    runDir,
    etcd: (config, daemon) => {
      const settled = settle(flags, env, config);
      return isGuess(settled, daemon) ? undefined : settled.etcd;
    },
    node: node ?? undefined,
  });
  const settled = settle(flags, env, knownValue(world.config));
  const { etcd, applied } = settled;
  const subnetFile = knownValue(world.status)?.subnetFile ?? applied.subnetFile;
  const [rest, endpoints, certificates, subnetEnv] = await Promise.all([
    local,
    isGuess(settled, world.daemon.state)
      ? missing("etcd's address is not known: the daemon does not tell it, and no --etcd-endpoints are given")
      : known('etcd', ETCD_LIMIT, () => tryEndpoints(etcd)),
    known('the files of TLS', LIMIT, () => readCertificates(etcd)),
    known('subnet.env', LIMIT, () => readSubnetFile(subnetFile)),
  ]);
  return {
    ...rest,
    options: applied,
    node,
    privileged: process.geteuid?.() === 0,
    world,
    etcd: endpoints,
    certificates,
    subnetEnv,
  };
}

/** A daemon that does not answer has an etcd somewhere; the endpoints by default need not be it. */
const isGuess = ({ applied }: Settled, daemon: World['daemon']['state']): boolean =>
  daemon === 'refusing' && applied.endpointsByDefault;

/** What is not asked of anybody. */
async function here(
  root: string,
  given: Values,
): Promise<Omit<Facts, 'options' | 'node' | 'privileged' | 'world' | 'etcd' | 'certificates' | 'subnetEnv'>> {
  const listing = known('the kernel', LIMIT, listKernel);
  const processes = known('processes', LIMIT, listProcesses);
  const after = async <T>(what: string, look: (found: readonly Process[]) => Promise<T>) => {
    const found = or(await processes, []);
    return known(what, LIMIT, () => look(found));
  };
  const [kernelState, sysctls, kernel, firewall, sockets, managers, cni, clock] = await Promise.all([
    listing,
    listing.then((l) =>
      known('sysctls', LIMIT, () => readSysctls('value' in l ? l.value.links.map((k) => k.name) : [])),
    ),
    known("the kernel's features", LIMIT, () => readKernel(root)),
    known('the firewall', LIMIT, () => readFirewall()),
    after('sockets', listSockets),
    after('network managers', (found) => findManagers(root, found)),
    after('CNI', (found) => readCni(given['conf-dir'], given['bin-dir'], found)),
    known('the clock', LIMIT, readClock),
  ]);
  return {
    links: part(kernelState, 'links'),
    addresses: part(kernelState, 'addresses'),
    routes: part(kernelState, 'routes'),
    sysctls,
    kernel,
    firewall,
    sockets,
    managers,
    cni,
    clock,
  };
}
