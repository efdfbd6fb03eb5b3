import type { Route } from '../http/route.ts';
import { adminRoutes } from './admin.ts';
import { attachmentRoutes } from './attachments.ts';
import { configRoutes } from './config.ts';
import { eventRoutes } from './events.ts';
import { forwarderRoutes } from './forwarder.ts';
import { leaseRoutes } from './leases.ts';
import { lifetimeRoutes } from './lifetimes.ts';
import { objectRoutes } from './objects.ts';
import type { RouteParts } from './parts.ts';
import { peerRoutes } from './peers.ts';
import { probeRoutes } from './probes.ts';
import { statusRoutes } from './status.ts';

/** Every resource of the control API but health, the page and the plugin's; docs/openapi.json has each. */
export const routes = (parts: RouteParts): Route[] => [
  ...statusRoutes(parts),
  ...leaseRoutes(parts),
  ...lifetimeRoutes(parts),
  ...peerRoutes(parts),
  ...objectRoutes(parts),
  ...eventRoutes(parts),
  ...probeRoutes(parts),
  ...configRoutes(parts),
  ...forwarderRoutes(parts),
  ...attachmentRoutes(parts),
  ...adminRoutes(parts),
];
