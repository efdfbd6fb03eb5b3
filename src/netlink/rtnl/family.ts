import type { Family } from '../../net/addr.ts';

/** sys/socket.h */
export const AF_UNSPEC = 0;
export const AF_INET = 2;
export const AF_BRIDGE = 7;
export const AF_INET6 = 10;

export const afOf = (family: Family): number => (family === 4 ? AF_INET : AF_INET6);
