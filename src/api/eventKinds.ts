/** What an event may be about, in the order in which it is offered as a choice. */
export const EVENT_KINDS = [
  'daemon', // started, ready, impaired, in order again
  'lease', // our own
  'peer', // somebody else's lease came, went or changed; a peer is refused or served again
  'store', // etcd
  'config', // the network config
  'repair', // the kernel or the firewall had been changed by others
  'kernel', // it refuses an object, accepts it again; conflicts
  'path', // a peer became unreachable, lossy, reachable
  'mtu', // a peer's route was lowered, raised again
  'offload', // checksum offload was turned off, on again
  'forwarder',
  'pods', // the CNI plugin's side
] as const;

export type EventKind = (typeof EVENT_KINDS)[number];
