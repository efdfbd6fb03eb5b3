import { compareAddr } from '../../../net/addr.ts';
import { containsPrefix, formatPrefix, overlaps, type Prefix, parsePrefix } from '../../../net/prefix.ts';
import { releaseGone } from '../../words.ts';
import { knownValue, whyMissing } from '../../world.ts';
import type { Facts } from '../facts.ts';
import { overlayOf } from '../overlay.ts';
import { type Check, type Found, failure, orOk, skipped, warning } from '../types.ts';

interface Held {
  readonly key: string;
  readonly subnet: Prefix;
}

/** Do the leases of all nodes go together? */
export const leases: Check<Facts> = {
  id: 'leases',
  group: 'Leases',
  title: 'leases of all nodes',
  look(facts) {
    const list = knownValue(facts.world.leases);
    if (!list) return [skipped(whyMissing(facts.world.leases) ?? 'the leases are not known')];
    const held = list.leases.flatMap((l) =>
      l.subnets.flatMap((text): Held[] => {
        const subnet = parsePrefix(text);
        return subnet ? [{ key: l.key, subnet }] : [];
      }),
    );
    const found = [...overlapping(held), ...outside(held, facts)];
    for (const { key, reason } of list.setAside)
      found.push(
        warning(
          key,
          `the key ${key} in etcd cannot be read as a lease, and its node gets nothing: ${reason}`,
          `see who writes it; to remove it: etcdctl del <prefix>/subnets/${key.split('/').at(-1)}`,
        ),
      );
    const told = new Set(found.map((f) => f.subject));
    for (const { key, problem } of unserved(facts))
      if (!told.has(key) && !isAddressProblem(problem))
        found.push(
          warning(
            key,
            `the peer ${key} is not served: ${problem}`,
            `loden leases show ${key.replace(/-(?=\d+$)/, '/')}`,
          ),
        );
    return orOk(found, `${list.leases.length} leases at revision ${list.revision}, none in another's way`);
  },
};

/** Peers that the daemon cannot serve. */
const unserved = (facts: Facts): readonly { readonly key: string; readonly problem: string }[] =>
  (knownValue(facts.world.peers)?.peers ?? []).flatMap(({ key, problem }) =>
    problem === null ? [] : [{ key, problem }],
  );

/** The check of public addresses tells of these. */
const isAddressProblem = (problem: string): boolean => /is this host's own|PublicIP/.test(problem);

function overlapping(held: readonly Held[]): Found[] {
  const sorted = [...held].sort(
    (a, b) => compareAddr(a.subnet.addr, b.subnet.addr) || a.subnet.len - b.subnet.len,
  );
  const found: Found[] = [];
  let widest: Held | undefined;
  for (const here of sorted) {
    if (widest && widest.key !== here.key && overlaps(widest.subnet, here.subnet))
      found.push(
        failure(
          here.key,
          `the leases ${widest.key} and ${here.key} overlap: ${formatPrefix(here.subnet)} belongs to two nodes`,
          `see which of the two nodes lives; ${releaseGone(formatPrefix(here.subnet))}`,
        ),
      );
    if (!widest || !containsPrefix(widest.subnet, here.subnet)) widest = here;
  }
  return found;
}

function outside(held: readonly Held[], facts: Facts): Found[] {
  const overlay = overlayOf(facts);
  if (!overlay) return [];
  return held
    .filter(({ subnet }) => {
      const net = overlay.networks.find((n) => n.addr.family === subnet.addr.family);
      return net !== undefined && !containsPrefix(net, subnet);
    })
    .map(({ key, subnet }) =>
      warning(
        key,
        `the lease ${key} is outside the network ${overlay.networks.map(formatPrefix).join(' and ')}: it is left from an earlier network config, and its node is not reached`,
        `restart loden on that node; ${releaseGone(formatPrefix(subnet))}`,
      ),
    );
}
