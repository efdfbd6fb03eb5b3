import type { PathReport, Probing } from './types.ts';

/** Nobody probes. */
export const NO_PROBING: Probing = {
  paths: new Map<string, PathReport>(),
  counters: { sent: 0, received: 0, rtt: { buckets: [], sum: 0, count: 0 }, lost: 0 },
  interval: 0,
  sample: 0,
  setTargets: async () => {},
  probeNow: async () => undefined,
  mayCheck: () => false,
  checkNow: async () => 'unknown',
  watch: () => {},
  stop: async () => {},
};
