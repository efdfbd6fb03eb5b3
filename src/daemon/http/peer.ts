import type { Socket } from 'node:net';
import { addon } from '../../native/addon.ts';
import { ApiError } from './errors.ts';

/** The user at the other end of a Unix socket, as of when it connected (SO_PEERCRED, unix(7)); undefined: it has gone. */
export function peerUid(socket: Socket): number | undefined {
  const { fd } = (socket as Socket & { readonly _handle?: { readonly fd: number } })._handle ?? { fd: -1 };
  return fd < 0 ? undefined : addon().peerCred(fd).uid;
}

/** Root and the daemon's own user: they could do all of it without being asked. */
export const isOwner = (uid: number | undefined): boolean =>
  uid !== undefined && (uid === 0 || uid === process.getuid?.());

/** Throws for who may read here, and change nothing. */
export function refuseOthers(socket: Socket, what: string): void {
  const uid = peerUid(socket);
  if (isOwner(uid)) return;
  throw new ApiError(
    403,
    'forbidden',
    `user ${uid ?? 'unknown'} may not ${what}: only root and the daemon's own user may`,
  );
}
