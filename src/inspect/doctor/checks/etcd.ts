import { knownValue } from '../../world.ts';
import type { EndpointFact, Facts } from '../facts.ts';
import { type Check, type Found, failure, info, ok, skipped, warning } from '../types.ts';

/** Milliseconds of a small request: above, changes of leases are felt; far above, leases run out. */
const [SLOW, VERY_SLOW] = [150, 1_000];

/** Does etcd answer, and how fast? */
export const etcd: Check<Facts> = {
  id: 'etcd',
  group: 'etcd',
  title: 'etcd answers',
  look(facts) {
    if ('missing' in facts.etcd) return [skipped(facts.etcd.missing)];
    const endpoints = facts.etcd.value;
    const well = endpoints.filter((e) => e.state === 'answers');
    const found: Found[] = [];
    for (const e of endpoints) found.push(...trouble(e, facts, well.length > 0), ...slow(e), ...alarms(e));
    const connected = knownValue(facts.world.status)?.store;
    if (connected && !connected.connected && well.length > 0)
      found.push(
        warning(
          null,
          `etcd answers here, but the daemon is not connected: ${connected.error ?? 'it does not say why'}`,
          'wait a few seconds and look again; then compare its options (loden config show) with those given here',
        ),
      );
    const times = well.map((e) => `${e.endpoint} in ${milliseconds(e.latency)}`);
    if (times.length > 0) found.push(ok(`answers: ${times.join(', ')}`));
    return found.length > 0 ? found : [skipped('no endpoint is known')];
  },
};

const milliseconds = (n: number | null): string =>
  n === null ? '?' : `${n < 10 ? n.toFixed(1) : Math.round(n)} ms`;

const HINT: Readonly<Record<Exclude<EndpointFact['state'], 'answers'>, string>> = {
  unreachable:
    'start etcd there, open its client port (2379) in firewalls between, or correct --etcd-endpoints',
  'wrong-scheme':
    'write https:// instead of http:// in --etcd-endpoints, or the other way round; https needs --etcd-cafile',
  untrusted:
    'compare --etcd-cafile, --etcd-certfile and --etcd-keyfile with the certificates of etcd, and the clocks',
  unauthorized:
    'check --etcd-username and --etcd-password, and that the user may read and write the prefix: etcdctl user get, etcdctl role get',
  failing: 'look at the log of etcd there; etcdctl endpoint status, etcdctl member list',
};

function trouble(e: EndpointFact, facts: Facts, others: boolean): Found[] {
  if (e.state === 'answers') return [];
  const cause = `etcd at ${e.endpoint} ${WORDS[e.state]}: ${e.error ?? 'no reason is known'}`;
  if (e.state === 'unauthorized' && facts.options.passwordHidden)
    return [
      skipped(
        `etcd at ${e.endpoint} asks for a password, which the daemon does not show: give --etcd-username and --etcd-password`,
        e.endpoint,
      ),
    ];
  // Without --etcd-endpoints there are two by default, of which one is of former times.
  if (others && facts.options.endpointsByDefault && e.state === 'unreachable')
    return [info(e.endpoint, cause)];
  return [(others ? warning : failure)(e.endpoint, cause, HINT[e.state])];
}

const WORDS: Readonly<Record<Exclude<EndpointFact['state'], 'answers'>, string>> = {
  unreachable: 'cannot be reached',
  'wrong-scheme': 'speaks another protocol than the URL says',
  untrusted: 'and we do not trust each other',
  unauthorized: 'refuses us',
  failing: 'does not answer as it should',
};

function slow(e: EndpointFact): Found[] {
  if (e.least === null || e.least < SLOW) return [];
  const cause = `etcd at ${e.endpoint} takes ${milliseconds(e.latency)} for a small request (median of ${e.asked}; the fastest ${milliseconds(e.least)})`;
  const fix =
    'look at its disk (etcd_disk_wal_fsync_duration_seconds) and at the network to it; a cluster across sites has the latency between them';
  return [(e.least >= VERY_SLOW ? failure : warning)(e.endpoint, cause, fix)];
}

const alarms = (e: EndpointFact): Found[] =>
  e.alarms.map((alarm) =>
    alarm === 'NOSPACE'
      ? failure(
          e.endpoint,
          `etcd at ${e.endpoint} is out of space (alarm NOSPACE): no lease can be taken, changed or kept alive`,
          "etcdctl compact $(etcdctl endpoint status -w json | grep -o '\"revision\":[0-9]*' | grep -o '[0-9]*' | head -1); etcdctl defrag; etcdctl alarm disarm; " +
            'then raise --quota-backend-bytes or turn on --auto-compaction-retention',
        )
      : failure(
          e.endpoint,
          `etcd at ${e.endpoint} says that it is not well: ${alarm}`,
          'etcdctl endpoint health, etcdctl member list and its log tell more',
        ),
  );
