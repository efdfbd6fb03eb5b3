import { KEYS } from '../../contract.ts';
import { isObject } from '../../fields.ts';
import { parseKey } from '../key.ts';
import type { Lease, Revision, SubnetKey } from '../types.ts';
import { decodeValue, isInstance } from '../value.ts';
import type { ChallengeKey, PrefixView, Unreadable } from '../view.ts';
import type { KeyValue } from './wire.ts';

/** A lease or an unreadable key, with what it was read from. */
interface Entry {
  readonly kv: KeyValue;
  readonly lease?: Lease;
  readonly unreadable?: Unreadable;
}

/** What changed, by whole value. */
type Entries = Map<string, Entry>;

/**
 * A copy of everything under the prefix: filled by a whole list, kept by events. Pure but for the time it takes:
 * it does no I/O. Entries are compared by value, so a key that has not changed keeps its Lease object over any
 * number of lists.
 */
export class Mirror {
  readonly #prefix: string;
  readonly #onSetAside: (key: string, reason: string) => void;
  #entries: Entries = new Map();
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

  get revision(): Revision {
    return this.#revision;
  }

  /** How many lists it has been filled from. */
  get lists(): number {
    return this.#list;
  }

  /** Take in a list: add every key, then {@link Filling.finish}. Until then the mirror stays as it was. */
  fill(): Filling {
    const entries: Entries = new Map();
    const challenges = new Map<string, ChallengeKey>();
    let config: string | undefined;
    return {
      add: (kv) => {
        const place = this.#place(kv.key);
        if (place?.in === 'subnets') entries.set(place.name, this.#entry(place.name, kv));
        else if (place?.in === 'challenge') challenges.set(place.name, readChallenge(kv));
        else if (place?.in === 'config') config = kv.value;
      },
      finish: (revision, restored) => {
        let changed = entries.size !== this.#entries.size;
        for (const [name, { kv }] of entries) {
          if (changed) break;
          changed = this.#entries.get(name)?.kv.createRevision !== kv.createRevision;
        }
        if (changed) this.#occupancy++;
        if (restored) this.#epoch++;
        this.#entries = entries;
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
    if (!place) return;
    if (place.in === 'config') this.#config = type === 'Put' ? kv.value : undefined;
    else if (place.in === 'challenge') {
      if (type === 'Put') this.#challenges.set(place.name, readChallenge(kv));
      else this.#challenges.delete(place.name);
    } else if (type === 'Put') {
      const entry = this.#entry(place.name, kv);
      if (this.#entries.get(place.name)?.kv.createRevision !== kv.createRevision) this.#occupancy++;
      this.#entries.set(place.name, entry);
    } else if (this.#entries.delete(place.name)) this.#occupancy++;
  }

  /** What it holds now; undefined before the first list. The same object until something changes. */
  view(): PrefixView | undefined {
    if (this.#list === 0) return undefined;
    if (this.#view) return this.#view;
    const leases = new Map<SubnetKey, Lease>();
    const unreadable = new Map<string, Unreadable>();
    const setAside = new Map<string, string>();
    for (const [name, entry] of this.#entries) {
      if (entry.lease) leases.set(entry.lease.key, entry.lease);
      if (entry.unreadable) {
        unreadable.set(name, entry.unreadable);
        setAside.set(name, entry.unreadable.reason);
      }
    }
    this.#view = {
      epoch: this.#epoch,
      list: this.#list,
      occupancy: this.#occupancy,
      revision: this.#revision,
      config: this.#config,
      leases,
      unreadable,
      setAside,
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

  #entry(name: string, kv: KeyValue): Entry {
    const old = this.#entries.get(name);
    if (old && sameKeyValue(old.kv, kv)) return old;
    const entry = readEntry(name, kv);
    const reason = entry.unreadable?.reason;
    if (reason !== undefined && reason !== old?.unreadable?.reason) this.#onSetAside(name, reason);
    return entry;
  }
}

/** A list being taken in. */
export interface Filling {
  add(kv: KeyValue): void;
  /** `restored`: this list is of an earlier or another history than the last. */
  finish(revision: Revision, restored: boolean): void;
}

const sameKeyValue = (a: KeyValue, b: KeyValue): boolean =>
  a.value === b.value &&
  a.modRevision === b.modRevision &&
  a.createRevision === b.createRevision &&
  a.lease === b.lease;

function readEntry(name: string, kv: KeyValue): Entry {
  const revisions = {
    createRevision: kv.createRevision,
    modRevision: kv.modRevision,
    etcdLease: kv.lease === 0n ? ('reservation' as const) : kv.lease,
  };
  const key = parseKey(name);
  if ('reason' in key)
    return { kv, unreadable: { ...revisions, reason: key.reason, occupies: key.occupies } };
  const value = decodeValue(kv.value);
  if ('reason' in value) {
    return { kv, unreadable: { ...revisions, reason: value.reason, occupies: key.subnets } };
  }
  return { kv, lease: { ...value.attrs, ...revisions, key: key.key, subnets: key.subnets } };
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
