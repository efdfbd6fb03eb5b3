import { readMessage } from '../netlink/message.ts';
import { messages } from '../netlink/protocol.ts';
import { AF_BRIDGE, neighShape, RTM_DELNEIGH } from '../netlink/rtnl.ts';
import { source } from '../netlink/wire.ts';
import { readFdb } from './fdb.ts';
import type { Names } from './names.ts';
import { readNeigh } from './neigh.ts';
import type { ObservedFdb, ObservedNeigh } from './observed.ts';
import { type Fdb, type Neigh, objectKey } from './types.ts';

/** What a notification tells of one neighbour or FDB entry: what is there under the key now, if it is permanent. */
export type Entry = { readonly dev: string; readonly key: string } & (
  | { readonly kind: 'neigh'; readonly row: ObservedNeigh | undefined }
  | { readonly kind: 'fdb'; readonly row: ObservedFdb | undefined }
);

/** Undefined when it is of a device that is not known, or has no key. */
export function readEntry(notification: Uint8Array, names: Names): Entry | undefined {
  const s = source(notification);
  const raw = messages(s).next().value;
  if (!raw) return undefined;
  const message = readMessage(neighShape, s, raw);
  const { NDA_DST: addr, NDA_LLADDR: mac } = message.attributes;
  const dev = names.name(message.header.ndm_ifindex);
  if (dev === undefined) return undefined;
  const isGone = raw.type === RTM_DELNEIGH;
  if (message.header.ndm_family === AF_BRIDGE) {
    if (!mac) return undefined;
    const key = objectKey({ kind: 'fdb', dev, mac } as Fdb);
    return { kind: 'fdb', dev, key, row: isGone ? undefined : readFdb(message, names) };
  }
  if (!addr) return undefined;
  const key = objectKey({ kind: 'neigh', dev, addr } as Neigh);
  return { kind: 'neigh', dev, key, row: isGone ? undefined : readNeigh(message, names) };
}
