import type { LeasesJson } from '../../api/shapes.ts';
import type { ClientOptions } from '../../config/commands.ts';
import type { EtcdOptions } from '../../config/etcd.ts';
import { leasesJson } from '../../subnet/json.ts';
import type { LeaseSnapshot } from '../../subnet/types.ts';
import { coloured, type Io } from '../command.ts';
import { ask, fromEither } from '../daemon.ts';
import { paint } from '../paint.ts';
import { renderLeases } from '../render/leases.ts';
import { json } from '../render.ts';

/** Leases straight from etcd. */
export type ListOnce = (
  etcd: EtcdOptions,
) => Promise<LeaseSnapshot & { readonly config?: string | undefined }>;

/** Who has which subnet, and how to find out more about where it came from. */
export interface FoundLeases {
  readonly list: LeasesJson;
  /** The type of the network's backend, which leases that name none use; undefined: not known. Asked for only when it is needed. */
  networkBackend(): Promise<string | undefined>;
}

/** Ask the daemon in `runDir`. */
export const leasesFromDaemon = (runDir: string): Promise<LeasesJson> => ask(runDir, '/v1/leases');

/** From the daemon, straight from etcd, or, by default, from the daemon and from etcd only where no daemon runs. */
export const findLeases = (
  { source, runDir, etcd }: ClientOptions,
  listOnce: ListOnce,
): Promise<FoundLeases> =>
  fromEither<FoundLeases>(
    source,
    async () => ({
      list: await leasesFromDaemon(runDir),
      networkBackend: () => backendOfDaemon(runDir),
    }),
    async () => {
      const snapshot = await listOnce(etcd);
      return {
        list: leasesJson(snapshot, 'etcd', undefined),
        networkBackend: () => backendOf(snapshot.config),
      };
    },
  );

/** The type of the network's backend, if the daemon can tell. */
export async function backendOfDaemon(runDir: string): Promise<string | undefined> {
  const status = await ask(runDir, '/v1/status').catch(() => undefined);
  return status?.network?.backend;
}

/** Of a network config as it stands in etcd. */
export async function backendOf(config: string | undefined): Promise<string | undefined> {
  if (config === undefined) return undefined;
  const { parseNetworkConfig } = await import('../../config/network.ts');
  try {
    return parseNetworkConfig(config).backend.type;
  } catch {
    return undefined;
  }
}

/** Does showing these need to know the network's backend? flannel's udp leases name none. */
export const needsBackend = (list: LeasesJson): boolean => list.leases.some((l) => l.backend === null);

/** `loden leases`. */
export async function leases(options: ClientOptions, listOnce: ListOnce, io: Io): Promise<void> {
  const found = await findLeases(options, listOnce);
  if (options.json) return io.print(json(found.list));
  io.print(
    renderLeases(found.list, {
      paint: paint(coloured(options.color, io)),
      columns: io.terminal?.columns,
      networkBackend: needsBackend(found.list) ? await found.networkBackend() : undefined,
    }),
  );
}
