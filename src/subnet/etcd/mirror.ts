import { KEYS } from '../../contract.ts';
import { isObject } from '../../fields.ts';
import { parseKey } from '../key.ts';
import type { Lease, Revision, SubnetKey } from '../types.ts';
import { decodeValue, isInstance } from '../value.ts';
import type { ChallengeKey, PrefixView, Unreadable } from '../view.ts';
import type { KeyValue } from './wire.ts';

/** What is under `<prefix>/subnets/`, by the name behind that. A name is in one of `leases` and `unreadable`. */
interface Subnets {
  /** The text each was read from, to be compared with what comes. */
  readonly values: Map<string, string>;
  readonly leases: Map<SubnetKey, Lease>;
  readonly unreadable: Map<string, Unreadable>;
}

const noSubnets = (): Subnets => ({ values: new Map(), leases: new Map(), unreadable: new Map() });

/**
 * A copy of everything under the prefix: filled by a whole list, kept by events. It does no I/O. Keys are compared by
 * value, so one that has not changed keeps its Lease object over any number of lists.
 */
export class Mirror {
  readonly #prefix: string;
  readonly #onSetAside: (key: string, reason: string) => void;
  #subnets = noSubnets();
  #challenges = new Map<string, ChallengeKey>();
  #config: string | undefined;
  #revision: Revision = 0n;
  #epoch = 0;
  #list = 0;
  #occupancy = 0;
  #view: PrefixView | undefined;

  /** `onSetAside` is called once for each key and reason. */
  constructor(prefix: string, onSetAside: (key: string, reason: string) => void) {
    this.#prefix = prefix;
    this.#onSetAside = onSetAside;
  }

  /** How many lists it has been filled from. */
  get lists(): number {
    return this.#list;
  }

  /** Take in a list: add every key, then {@link Filling.finish}. Until then the mirror stays as it was. */
  fill(): Filling {
    const subnets = noSubnets();
    const challenges = new Map<string, ChallengeKey>();
    let config: string | undefined;
    let isOccupancyNew = false;
    return {
      add: (kv) => {
        const place = this.#place(kv.key);
        if (place?.in === 'subnets') isOccupancyNew = this.#take(subnets, place.name, kv) || isOccupancyNew;
        else if (place?.in === 'challenge') challenges.set(place.name, readChallenge(kv));
        else if (place?.in === 'config') config = kv.value;
      },
      finish: (revision, restored) => {
        if (isOccupancyNew || subnets.values.size !== this.#subnets.values.size) this.#occupancy++;
        if (restored) this.#epoch++;
        this.#subnets = subnets;
        this.#challenges = challenges;
        this.#config = config;
        this.#revision = revision;
        this.#list++;
        this.#view = undefined;
      },
    };
  }

  /** Take in one event of the watch. */
  apply(type: 'Put' | 'Delete', kv: KeyValue): void {
    const place = this.#place(kv.key);
    if (kv.modRevision > this.#revision) this.#revision = kv.modRevision;
    this.#view = undefined;
    if (place?.in === 'config') this.#config = type === 'Put' ? kv.value : undefined;
    else if (place?.in === 'challenge') {
      if (type === 'Put') this.#challenges.set(place.name, readChallenge(kv));
      else this.#challenges.delete(place.name);
    } else if (place?.in === 'subnets') {
      const { values, leases, unreadable } = this.#subnets;
      if (type === 'Put') {
        if (this.#take(this.#subnets, place.name, kv)) this.#occupancy++;
      } else if (values.delete(place.name)) {
        this.#occupancy++;
        leases.delete(place.name as SubnetKey);
        unreadable.delete(place.name);
      }
    }
  }

  /** What it holds now; undefined before the first list. The same object until something changes. */
  view(): PrefixView | undefined {
    if (this.#list === 0) return undefined;
    this.#view ??= {
      epoch: this.#epoch,
      list: this.#list,
      occupancy: this.#occupancy,
      revision: this.#revision,
      config: this.#config,
      leases: new Map(this.#subnets.leases),
      unreadable: new Map(this.#subnets.unreadable),
      setAside: new Map(Array.from(this.#subnets.unreadable, ([key, u]) => [key, u.reason])),
      challenges: new Map(this.#challenges),
    };
    return this.#view;
  }

  #place(
    key: string,
  ): { readonly in: 'config' | 'subnets' | 'challenge'; readonly name: string } | undefined {
    if (!key.startsWith(`${this.#prefix}/`)) return undefined;
    const rest = key.slice(this.#prefix.length + 1);
    if (rest === KEYS.config) return { in: 'config', name: '' };
    if (rest.startsWith(`${KEYS.subnets}/`))
      return { in: 'subnets', name: rest.slice(KEYS.subnets.length + 1) };
    if (rest.startsWith(`${KEYS.challenge}/`)) {
      return { in: 'challenge', name: rest.slice(KEYS.challenge.length + 1) };
    }
    return undefined;
  }

  /** Put one key into `into`, read anew if it is not what the mirror has; true when it is new or was made anew. */
  #take(into: Subnets, name: string, kv: KeyValue): boolean {
    const { values, leases, unreadable } = this.#subnets;
    const oldLease = leases.get(name as SubnetKey);
    const oldUnreadable = unreadable.get(name);
    const old = oldLease ?? oldUnreadable;
    const isSame = old !== undefined && values.get(name) === kv.value && hasRevisions(old, kv);
    const read = isSame ? old : readSubnet(name, kv);
    if ('key' in read) {
      // Not `name`: that is a part of the whole key's text, and would keep it.
      into.values.set(read.key, kv.value);
      into.leases.set(read.key, read);
      into.unreadable.delete(read.key);
    } else {
      if (read.reason !== oldUnreadable?.reason) this.#onSetAside(name, read.reason);
      into.values.set(name, kv.value);
      into.leases.delete(name as SubnetKey);
      into.unreadable.set(name, read);
    }
    return old?.createRevision !== kv.createRevision;
  }
}

/** A list being taken in. */
export interface Filling {
  add(kv: KeyValue): void;
  /** `restored`: this list is of an earlier or another history than the last. */
  finish(revision: Revision, restored: boolean): void;
}

const hasRevisions = (read: Lease | Unreadable, kv: KeyValue): boolean =>
  read.modRevision === kv.modRevision &&
  read.createRevision === kv.createRevision &&
  read.etcdLease === etcdLeaseOf(kv);

const etcdLeaseOf = ({ lease }: KeyValue): Lease['etcdLease'] => (lease === 0n ? 'reservation' : lease);

function readSubnet(name: string, kv: KeyValue): Lease | Unreadable {
  const revisions = {
    createRevision: kv.createRevision,
    modRevision: kv.modRevision,
    etcdLease: etcdLeaseOf(kv),
  };
  const key = parseKey(name);
  if ('reason' in key) return { ...revisions, reason: key.reason, occupies: key.occupies };
  const value = decodeValue(kv.value);
  if ('reason' in value) return { ...revisions, reason: value.reason, occupies: key.subnets };
  return { ...value.attrs, ...revisions, key: key.key, subnets: key.subnets };
}

function readChallenge(kv: KeyValue): ChallengeKey {
  let instance: string | undefined;
  try {
    const value: unknown = kv.value.length < 1024 ? JSON.parse(kv.value) : undefined;
    if (isObject(value) && isInstance(value.instance)) instance = value.instance;
  } catch {
    // Whoever wrote it will get no answer by name; an owner deletes it all the same.
  }
  return { instance, modRevision: kv.modRevision };
}
