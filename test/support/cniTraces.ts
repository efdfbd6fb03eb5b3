import { readdirSync } from 'node:fs';
import { isIP } from 'node:net';
import { join } from 'node:path';
import { CNI } from '../../src/contract.ts';
import type { Netns } from './netns.ts';
import { type PluginHost, storeOf } from './plugin.ts';

/** What attachments leave on a host, in the kernel and on disk. */
export interface Traces {
  /** Names of the entries in host-local's store: addresses given out. */
  readonly addresses: readonly string[];
  /** Names of the host's ends of veths. */
  readonly veths: readonly string[];
  /** Names of the daemon's records. */
  readonly records: readonly string[];
  /** DELs that wait for the daemon. */
  readonly queued: readonly string[];
}

export const NO_TRACES: Traces = { addresses: [], veths: [], records: [], queued: [] };

/** The daemon uses the files of removed attachments again. */
export const isRecord = (name: string): boolean => !/^spare-\d+-\d+$/.test(name);

const files = (dir: string): string[] => {
  try {
    return readdirSync(dir).toSorted();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
};

/** Addresses of a network that are given out, by host-local's store in `dataDir`. */
export const storedAddresses = (dataDir: string, network = 'pods'): string[] =>
  files(join(dataDir, network)).filter((name) => isIP(name) !== 0);

/** Everything but the uplink that is one end of a veth. */
export const hostEnds = async (netns: Netns): Promise<string[]> =>
  (await netns.ipJson<{ ifname: string }[]>('link show type veth'))
    .map((link) => link.ifname)
    .filter((name) => name !== 'eth0')
    .toSorted();

/** What there is now of the attachments to a network. */
export async function traces(host: PluginHost, network = 'pods'): Promise<Traces> {
  return {
    addresses: storedAddresses(storeOf(host), network),
    veths: await hostEnds(host.netns),
    records: files(join(host.stateDir, CNI.attachments)).filter(isRecord),
    queued: files(join(host.stateDir, CNI.delQueue)).filter((name) => name.endsWith('.json')),
  };
}
