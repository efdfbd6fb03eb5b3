import type { ForwarderAbility } from '../native/forwarder.ts';
import { type Addr, formatAddr } from '../net/addr.ts';

/** What went wrong, on what, and what to do, for people. */

const ofDevice: Readonly<Record<string, string>> = {
  ENOENT:
    'there is no /dev/net/tun; load the kernel module tun (modprobe tun), or give the container that device',
  EPERM: 'it needs CAP_NET_ADMIN',
  EACCES: '/dev/net/tun may not be opened',
  EINVAL: 'the device of that name is of another make; it is going to be exchanged',
  EBUSY: 'another program has it for itself alone',
};

/** The device could not be attached to. */
export const deviceTrouble =
  (device: string) =>
  ({ code = '', message }: NodeJS.ErrnoException): string =>
    code === 'ENODEV'
      ? `waiting for the device ${device}`
      : `cannot attach to the device ${device}: ${ofDevice[code] ? `${code}: ${ofDevice[code]}` : message}`;

const ofSocket: Readonly<Record<string, string>> = {
  EADDRINUSE:
    'another program listens there (flanneld? `ss -ulnp` tells); stop it, or choose another Backend.Port',
  EADDRNOTAVAIL: 'the address is not on this host any more',
  EAFNOSUPPORT: 'the kernel has no IPv6',
  EACCES: 'a port below 1024 needs CAP_NET_BIND_SERVICE',
};

/** A socket could not be opened. */
export const socketTrouble =
  (a: Addr, port: number) =>
  ({ code = '', message }: NodeJS.ErrnoException): string =>
    `cannot listen on UDP ${a.family === 6 ? `[${formatAddr(a)}]` : formatAddr(a)}:${port}: ${
      ofSocket[code] ? `${code}: ${ofSocket[code]}` : message
    }`;

const OFFLOADS: Readonly<Record<keyof ForwarderAbility, string>> = {
  gso: 'UDP_SEGMENT',
  gro: 'UDP_GRO',
  tso: 'TCP segmentation of the TUN device',
  uso: 'UDP segmentation of the TUN device',
};

/** What the kernel does not do for us, as far as it has been asked. */
export const refusedOffloads = (ability: ForwarderAbility | undefined): string[] =>
  (Object.keys(OFFLOADS) as (keyof ForwarderAbility)[])
    .filter((name) => ability?.[name] === false)
    .map((name) => OFFLOADS[name]);
