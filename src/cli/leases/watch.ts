import { NoDaemonError, SilentError } from '../../api/faults.ts';
import type { LeasesJson } from '../../api/shapes.ts';
import type { LeasesOptions } from '../../config/commands.ts';
import { leasesJson } from '../../subnet/json.ts';
import { coloured, type Io } from '../command.ts';
import { WITHOUT } from '../daemon.ts';
import { lasting, nudges } from '../nudges.ts';
import { paint } from '../paint.ts';
import { changesOf, type LeasesLook, renderChange, renderLeases } from '../render/leases.ts';
import { jsonLine } from '../render.ts';
import { redraw } from '../screen.ts';
import { backendOf, backendOfDaemon, leasesFromDaemon, needsBackend } from './list.ts';

const KINDS = ['lease', 'peer', 'store', 'config'];

export interface Watching {
  readonly list: LeasesJson;
  readonly networkBackend: string | undefined;
}

export interface WatchSources {
  /** Every new state of etcd. */
  watchEtcd(signal: AbortSignal): AsyncIterable<Watching>;
  readonly now?: () => Date;
}

/** `loden leases --watch`: until nobody reads any more. */
export async function watchLeases(options: LeasesOptions, sources: WatchSources, io: Io): Promise<void> {
  const look: Omit<LeasesLook, 'networkBackend'> = { paint: paint(coloured(options.color, io)) };
  const now = sources.now ?? (() => new Date());
  let last: LeasesJson | undefined;
  await eachList(options, sources, io, ({ list, networkBackend }) => {
    const at = now().toISOString();
    const seen = { ...look, networkBackend };
    if (options.json) {
      if (last) for (const change of changesOf(last, list)) io.print(jsonLine({ at, ...change }));
      else for (const lease of list.leases) io.print(jsonLine({ at, change: 'present', lease }));
    } else if (io.terminal) {
      redraw(io, renderLeases(list, { ...seen, columns: io.terminal.columns }));
    } else if (last) {
      for (const change of changesOf(last, list)) io.print(`${at} ${renderChange(change, seen)}`);
    } else io.print(renderLeases(list, seen));
    last = list;
  });
}

/** From the daemon; from etcd where there is none (any more), unless told otherwise. */
async function eachList(
  { source, runDir }: LeasesOptions,
  { watchEtcd }: WatchSources,
  io: Io,
  show: (watching: Watching) => void,
): Promise<void> {
  let had = false;
  const fromDaemon = async (shown: () => void): Promise<'over' | 'again'> => {
    let revision: string | undefined;
    try {
      for await (const _ of nudges(runDir, KINDS, io.signal)) {
        const list = await leasesFromDaemon(runDir);
        if (list.revision === revision) continue;
        revision = list.revision;
        show({ list, networkBackend: needsBackend(list) ? await backendOfDaemon(runDir) : undefined });
        had = true;
        shown();
      }
    } catch (e) {
      if (source === 'auto' && e instanceof NoDaemonError) return 'over';
      throw e instanceof SilentError ? e.with({ instead: WITHOUT }) : e;
    }
    return 'again';
  };
  if (source !== 'etcd') await lasting(io, fromDaemon);
  if (io.signal.aborted) return;
  if (had) io.warn('the daemon is gone; going on with etcd');
  for await (const watching of watchEtcd(io.signal)) show(watching);
}

/** Every new state of etcd, by a watch. */
export async function* watchEtcd(
  options: LeasesOptions,
  io: Io,
  signal: AbortSignal,
): AsyncGenerator<Watching, void, undefined> {
  const { EtcdStore, listOnce } = await import('../../subnet/store.ts');
  // What the store waits for it does not throw: the first list tells whether etcd is there at all.
  await listOnce(options.etcd);
  await using store = new EtcdStore({
    ...options.etcd,
    onReport: ({ level, message }) => level !== 'info' && io.warn(message),
  });
  let config: string | undefined;
  const configs = (async () => {
    for await (const text of store.network(signal)) config = text;
  })();
  for await (const snapshot of store.watch(signal)) {
    const list = leasesJson(snapshot, 'etcd', undefined);
    yield { list, networkBackend: needsBackend(list) ? await backendOf(config) : undefined };
  }
  await configs;
}
