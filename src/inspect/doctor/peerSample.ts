import type { LeaseJson } from '../../api/shapes.ts';
import { knownValue } from '../world.ts';
import type { Facts } from './facts.ts';
import { listed, peerLeases } from './overlay.ts';

/** Peers for whom rules are gone through, besides those that do not answer: enough for any rule that is for more than a few. */
const MOST = 64;

/** Peers to judge by, and how many there are: all, or those that do not answer and as many others, evenly spread over the address space. */
export interface Sample {
  readonly peers: readonly LeaseJson[];
  readonly of: number;
}

/** Pure. */
export function sampleOfPeers(facts: Facts): Sample {
  const all = peerLeases(facts);
  if (all.length <= MOST) return { peers: all, of: all.length };
  const silent = new Set(
    (knownValue(facts.world.probes)?.paths ?? [])
      .filter((p) => p.health === 'unreachable')
      .slice(0, MOST)
      .map((p) => p.key),
  );
  const spread = new Set(Array.from({ length: MOST }, (_, i) => Math.floor((i * all.length) / MOST)));
  return { peers: all.filter((l, i) => silent.has(l.key) || spread.has(i)), of: all.length };
}

/** What a claim about all peers must add when it is only of some: ` (judged for 64 of 5000 peers)`. */
export const limitOf = ({ peers, of }: Sample): string =>
  peers.length < of ? ` (judged for ${peers.length} of ${of} peers)` : '';

/** Which of the peers of a sample a finding is about, where it is not about all: ` (of the peer 10.5.9.0-24)`. */
export function concerned(keys: ReadonlySet<string>, { peers }: Sample): string {
  if (keys.size >= peers.length) return '';
  return ` (of the ${keys.size === 1 ? 'peer' : 'peers'} ${listed([...keys])})`;
}
