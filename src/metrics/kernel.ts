import type { Sample } from './exposition.ts';
import { by, type ScrapeMetric, single } from './scrape.ts';

/** What the kernel holds for us, and who else meddles with it. */
export const KERNEL_METRICS: readonly ScrapeMetric[] = [
  {
    name: 'loden_kernel_objects',
    type: 'gauge',
    help: 'Kernel objects by kind and state: in_sync, failing (the kernel refuses, or a device is missing), pending (neither).',
    labels: ['kind', 'state'],
    *samples({ status }): Generator<Sample> {
      for (const [kind, { desired, inSync, failing }] of Object.entries(status.kernel.objects)) {
        yield { labels: { kind, state: 'in_sync' }, value: inSync };
        yield { labels: { kind, state: 'failing' }, value: failing };
        yield { labels: { kind, state: 'pending' }, value: Math.max(0, desired - inSync - failing) };
      }
    },
  },
  by(
    'counter',
    'loden_repairs_total',
    "Objects and rules that somebody else had changed or removed and that were put right, by kind; `masquerade` and `forward` are the firewall's.",
    'kind',
    ({ status }) => status.kernel.repairs,
  ),
  single(
    'gauge',
    'loden_conflicts',
    "Somebody else's objects in the place of ours, left alone, and objects that somebody keeps undoing; 100 at most.",
    ({ status }) => status.kernel.conflicts.length,
  ),
  single(
    'counter',
    'loden_netlink_messages_total',
    'Messages sent to rtnetlink to change something.',
    ({ status }) => status.kernel.messages,
  ),
  single(
    'gauge',
    'loden_firewall_in_sync',
    '1: masquerading and forward rules are in place; 0: they could not be put.',
    ({ firewallInSync }) => firewallInSync,
  ),
];
