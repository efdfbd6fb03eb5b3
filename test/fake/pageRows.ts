import type { PeerView } from '../../page/src/model/rows.ts';
import type { LeaseJson, PathJson } from '../../src/api/shapes.ts';

/** Of our own lease: nothing is the matter. */
export const CALM = { fenced: false, isEnding: false };

export const lease = (subnet: string, more: Partial<LeaseJson> = {}): LeaseJson => ({
  key: subnet.replaceAll('/', '-').replace(',', '&'),
  subnets: subnet.split(','),
  publicIP: '192.0.2.1',
  publicIPv6: null,
  backend: 'vxlan',
  data: null,
  dataV6: null,
  node: 'aa',
  instance: 'bb',
  reservation: false,
  etcdLease: '1',
  createRevision: '1',
  modRevision: '1',
  self: false,
  ...more,
});
export const path = (health: PathJson['health'], more: Partial<PathJson> = {}): PathJson =>
  ({ health, rtt: 1, sent: 20, lost: 0, pathMtu: 1450, routeMtu: null, ...more }) as PathJson;
export const peer = (key: string, paths: readonly PathJson[], more: Partial<PeerView> = {}): PeerView => ({
  key,
  backend: 'vxlan',
  problem: null,
  paths,
  traffic: null,
  inRate: null,
  outRate: null,
  ...more,
});
