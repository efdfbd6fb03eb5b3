import { join } from 'node:path';
import { FILES } from '../contract.ts';
import { forwarderJson } from '../forwarder/stats.ts';
import type { MetricSources } from '../metrics/index.ts';
import { addon } from '../native/addon.ts';
import { Damper } from './events/damper.ts';
import type { EventLog } from './events/log.ts';
import { podHappenings } from './events/pods.ts';
import { serveControl } from './http/control.ts';
import { pageRoutes } from './http/page.ts';
import type { Route } from './http/route.ts';
import { serveHealth, servePublic } from './http/tcp.ts';
import type { Logger } from './log.ts';
import { matrixRoutes } from './matrix/routes.ts';
import type { PluginHandler } from './pluginApi.ts';
import { routes } from './routes/index.ts';
import { metricsRoutes } from './routes/metrics.ts';
import type { RouteParts } from './routes/parts.ts';
import type { Watch } from './watch.ts';

export interface OperatorParts extends RouteParts {
  readonly log: Logger;
  readonly watch: Pick<Watch, 'requests' | 'behind'>;
  readonly startedAt: Date;
}

/** What metrics are computed from. */
const sources = (parts: OperatorParts): MetricSources => ({
  status: parts.status,
  startedAt: parts.startedAt,
  leaseTtl: () => (parts.daemon.leaseState?.state === 'held' ? parts.daemon.leaseState.ttl : undefined),
  refused: () => parts.daemon.refusedPeers.size,
  behind: () => parts.watch.behind.seconds(),
  firewallInSync: () => parts.daemon.situation().firewall?.inSync,
  requests: parts.watch.requests,
  probes: () => (parts.probing.interval > 0 ? parts.probing.counters : undefined),
  checksumOffload: () => parts.reactions.checksumOffload()?.state ?? null,
  forwarder: () => forwarderJson(parts.forwarder, addon()),
  cni: () => parts.cni.json(),
  events: () => parts.events.counts(),
});

/** Calls of the plugin's, and what is told of them. */
function noted(plugin: PluginHandler, { note }: Pick<EventLog, 'note'>): PluginHandler {
  const words = (_: string, count: number): string => `${count} more pods could not be attached or detached`;
  const damper = new Damper(note, { words });
  return async (call) => {
    const answer = await plugin(call);
    damper.note(...podHappenings(call, answer));
    return answer;
  };
}

/** Every route but health, the page and the plugin's, and how to end what they go on doing. */
export function operatorRoutes(parts: OperatorParts): {
  readonly routes: readonly Route[];
  readonly stop: () => void;
} {
  const matrix = matrixRoutes(parts);
  return {
    routes: [...routes(parts), ...matrix.routes, ...metricsRoutes(sources(parts))],
    stop: () => matrix.stop(),
  };
}

/**
 * Opens what operators and the plugin speak to: the control socket, --metrics-addr, --healthz-port. Throws LodenError when one cannot be
 * listened on.
 */
export async function serveOperators(parts: OperatorParts, stack: AsyncDisposableStack): Promise<void> {
  const { options, log, daemon, events, cni } = parts;
  const table = operatorRoutes(parts);
  stack.defer(table.stop);
  const ready = () => daemon.ready;
  const onFault = (err: unknown, method: string, path: string): void =>
    log.error({ err, method, path: path.slice(0, 200) }, 'a request could not be answered');
  stack.use(
    await serveControl(join(options.runDir, FILES.controlSocket), {
      ready,
      routes: table.routes,
      plugin: noted((call) => cni.handle(call), events),
      onFault,
    }),
  );
  // From here on its time runs: what the socket's calls take is not added to it.
  stack.defer(() => cni.end());
  const { metrics, healthz } = options;
  if (metrics)
    stack.use(await servePublic(metrics, { ready, routes: [...table.routes, ...pageRoutes()], onFault }));
  if (healthz) stack.use(await serveHealth(healthz.ip, healthz.port, ready));
}
