import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CNI, FILES } from '../src/contract.ts';
import type { Cluster } from '../test/support/cluster.ts';
import type { Host } from '../test/support/host.ts';
import type { VariantName } from './cniFigures.ts';

/** Debian's containernetworking-plugins. */
const DEBIAN = '/usr/lib/cni';
const OURS = fileURLToPath(new URL('../build/cni', import.meta.url));
const SPEC = '1.0.0';
const NETWORK = 'bench';

/** A host and the configuration of the network its pods are attached to. */
export interface Variant {
  readonly name: VariantName;
  readonly host: Host;
  /** The executable the runtime starts, and CNI_PATH. */
  readonly plugin: string;
  readonly path: string;
  readonly config: Readonly<Record<string, unknown>>;
  /** host-local's store: a file for each address in use. */
  readonly store: string;
}

/** What differs between them: how the daemon is started, if there is one, and the configuration. */
interface Recipe {
  readonly daemon?: readonly string[];
  readonly plugin: 'loden' | 'flannel' | 'bridge';
  readonly config: (host: Host, subnet: string) => Readonly<Record<string, unknown>>;
}

/** Where the daemon is, and its host's own directories instead of the machine's. */
const ours = (host: Host): Readonly<Record<string, unknown>> => ({
  socket: join(host.runDir, FILES.controlSocket),
  delQueue: join(host.stateDir, CNI.delQueue),
});
const dataDir = (host: Host): string => join(host.dir, 'networks');

const loden = (mode: 'bridge' | 'ptp', ...daemon: string[]): Recipe => ({
  daemon,
  plugin: 'loden',
  config: (host) => ({ type: 'loden', mode, ipam: { dataDir: dataDir(host) }, ...ours(host) }),
});

/** What a chain of bridge and host-local is told where flannel is used, written out. */
const debian = (ipMasq: boolean): Recipe => ({
  plugin: 'bridge',
  config: (host, subnet) => ({
    ...{ type: 'bridge', bridge: CNI.bridge, isGateway: true, hairpinMode: true, mtu: 1450, ipMasq },
    ipam: {
      ...{ type: 'host-local', dataDir: dataDir(host), ranges: [[{ subnet }]] },
      routes: [{ dst: '0.0.0.0/0' }],
    },
  }),
});

const RECIPES: Readonly<Record<VariantName, Recipe>> = {
  bridge: loden('bridge'),
  'bridge-masq': loden('bridge', '--ip-masq'),
  ptp: loden('ptp'),
  'ptp-masq': loden('ptp', '--ip-masq'),
  // With --ip-masq the delegate need not masquerade.
  flannel: {
    daemon: ['--ip-masq'],
    plugin: 'flannel',
    config: (host) => ({
      ...{ type: 'flannel', subnetFile: host.subnetFile, dataDir: join(host.dir, 'flannel-data') },
      ipam: { dataDir: dataDir(host) },
      delegate: { isDefaultGateway: true, hairpinMode: true },
      ...ours(host),
    }),
  },
  debian: debian(false),
  'debian-masq': debian(true),
};

/** A host of its own for a variant, with a daemon if it has one. It goes with the cluster. */
export async function makeVariant(cluster: Cluster, name: VariantName, index: number): Promise<Variant> {
  const { daemon, plugin, config } = RECIPES[name];
  const host = await cluster.addHost({ name, args: daemon ?? [] });
  if (daemon) await host.start();
  // Outside of what daemons get.
  const subnet = `10.43.${index}.0/24`;
  return {
    name,
    host,
    plugin: join(plugin === 'bridge' ? DEBIAN : OURS, plugin),
    path: plugin === 'loden' ? OURS : `${OURS}:${DEBIAN}`,
    config: { cniVersion: SPEC, name: NETWORK, ...config(host, subnet) },
    store: join(dataDir(host), NETWORK),
  };
}
