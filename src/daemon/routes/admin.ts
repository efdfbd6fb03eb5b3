import type { Route } from '../http/route.ts';
import type { RouteParts } from './parts.ts';

/**
 * What changes something in etcd; for root and the daemon's own user. All answer JSON; errors are 400 `bad-request` (what is asked for
 * cannot be read), 409 `refused` (the state of things is against it), 409 `conflict` (somebody else was quicker; try again), 422 `config`
 * (something is wrong in the network config, all of it in the message), 503 (etcd does not answer).
 *
 * - `POST /v1/reservations` with `{"subnet": "10.5.7.0/24", "node": "…"}`: reserve a subnet for a node, which is named by its id, the
 *   beginning of it (4 digits or more), or a PublicIP. `subnet` is of one family or of both joined by a comma, or a lease key. Answers
 *   200 (201 when a key was created) and `LeaseChangeJson`.
 * - `DELETE /v1/leases/:key`, also `?force=true`: give back a reservation. `:key` is a lease key, a subnet with its slash escaped, or a key
 *   that cannot be read. Answers 200 and `LeaseChangeJson`.
 * - `PUT /v1/network` with `{"config": "<text>", "revision": "123", "force": false, "dryRun": false}`, all but `config` optional: put the
 *   network config, unless it was written after `revision`. Answers 200 and `NetworkChangeJson`.
 */
export function adminRoutes(parts: Pick<RouteParts, 'options' | 'etcd' | 'events'>): Route[] {
  // What is asked for once in a blue moon takes no memory until then.
  const api = () => import('./adminRequests.ts');
  return [
    {
      method: 'POST',
      path: '/v1/reservations',
      audience: 'owner',
      handle: async (request) => (await api()).postReservation(request, parts),
    },
    {
      method: 'DELETE',
      path: '/v1/leases/:key',
      audience: 'owner',
      handle: async (request) => (await api()).deleteLease(request, parts),
    },
    {
      method: 'PUT',
      path: '/v1/network',
      audience: 'owner',
      handle: async (request) => (await api()).putNetwork(request, parts),
    },
  ];
}
