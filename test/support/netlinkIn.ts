import { closeSync, openSync } from 'node:fs';
import * as rtnl from '../../src/netlink/rtnl.ts';
import { type NetlinkOptions, NetlinkSocket } from '../../src/netlink/socket.ts';
import type { Netns } from './netns.ts';

/** Call with a descriptor of the namespace, which is closed again. */
export function withNetnsFd<T>(netns: Netns, use: (fd: number) => T): T {
  const fd = openSync(netns.path, 'r');
  try {
    return use(fd);
  } finally {
    closeSync(fd);
  }
}

/** Our netlink socket, inside. */
export const netlinkIn = (netns: Netns, options: Omit<NetlinkOptions, 'netnsFd'> = {}): NetlinkSocket =>
  withNetnsFd(netns, (netnsFd) => NetlinkSocket.open({ ...options, netnsFd }));

/** The number of a device there. */
export async function ifindexOf(nl: NetlinkSocket, name: string): Promise<number> {
  const link = await nl.get(rtnl.link.get({}, { IFLA_IFNAME: name }));
  if (!link) throw new Error(`there is no device ${name}`);
  return link.header.ifi_index;
}
