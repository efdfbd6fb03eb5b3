import type { Addr } from '../net/addr.ts';
import type { Mac } from '../net/mac.ts';
import type { Prefix } from '../net/prefix.ts';

/** What the parts of the plugin's server side share. */

/** CNI_COMMAND. */
export type Command = 'ADD' | 'DEL' | 'CHECK' | 'STATUS' | 'GC' | 'VERSION';

/** Versions of the CNI specification; an absent cniVersion is 0.1.0. */
export type CniVersion = '0.1.0' | '0.2.0' | '0.3.0' | '0.3.1' | '0.4.0' | '1.0.0' | '1.1.0';

/** What the plugin binary sends: the body of `POST /v1/cni`. */
export interface PluginCall {
  /** Those of CNI_COMMAND, CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME, CNI_ARGS, CNI_PATH, CNI_NETNS_OVERRIDE that are set. */
  readonly env: Readonly<Record<string, string>>;
  /** The configuration, as it came. */
  readonly stdin: string;
  /** The plugin's own network namespace, `<dev>:<ino>` in decimal. */
  readonly netns?: string;
  /** The delegates that were asked for so far in this call, in order, with what came of them. */
  readonly delegated?: readonly DelegateOutcome[];
}

export interface DelegateOutcome {
  /** Exit code; 127 when there is no such plugin in CNI_PATH, 128 + n when a signal ended it. */
  readonly exit: number;
  /** Its standard output, or the plugin's own error in the same form when it could not be run. */
  readonly stdout: string;
}

/** A plugin that the binary is to run, in CNI_PATH. */
export interface Delegate {
  /** Name of the executable: letters, digits, `.`, `_`, `-`. */
  readonly plugin: string;
  /** Environment beside what the call had: CNI_COMMAND, and CNI_CONTAINERID and CNI_IFNAME where they are others. */
  readonly env: Readonly<Record<string, string>>;
  /** Goes to its standard input. */
  readonly config: unknown;
}

/** What a call gets. */
export type PluginAnswer =
  /** Exit 0; nothing on standard output when there is no `result`. */
  | { readonly kind: 'done'; readonly result?: unknown; readonly warning?: string }
  /** Exit 1 with the error on standard output. */
  | { readonly kind: 'error'; readonly error: CniFailure }
  /** Run these one after the other, stop at the first that fails, and call again with `delegated`. */
  | { readonly kind: 'delegates'; readonly delegates: readonly Delegate[] };

/** The error of the specification (section "Error"). */
export interface CniFailure {
  readonly cniVersion: string;
  readonly code: number;
  readonly msg: string;
  readonly details?: string;
}

/** An attachment is one interface of a container: both together name it, whatever the network. */
export interface AttachmentId {
  readonly containerId: string;
  readonly ifname: string;
}

export type Mode = 'bridge' | 'ptp';

export interface AttachedAddress {
  /** With host bits and the length of the subnet, e.g. 10.42.1.5/24. */
  readonly address: Prefix;
  readonly gateway: Addr;
}

/** All that is to be known about an attachment: its kernel objects and its result follow from it. */
export interface Attachment extends AttachmentId {
  /** `name` of the network configuration. */
  readonly network: string;
  /** CNI_NETNS at ADD. */
  readonly netns: string;
  readonly mode: Mode;
  /** Mode `bridge`: the bridge's name. */
  readonly bridge?: string;
  /** The host's end of the veth; follows from network, container and interface. */
  readonly hostIf: string;
  readonly hostMac: Mac;
  /** Of the container's end. */
  readonly mac: Mac;
  /** Bytes. */
  readonly mtu: number;
  readonly hairpin: boolean;
  /** One for each family. */
  readonly addresses: readonly AttachedAddress[];
  /** Beside the default routes: destinations via the gateway of their family (`ipam.routes`). */
  readonly routes: readonly Prefix[];
  /** host-local's store the addresses are taken from, without the network's name. */
  readonly dataDir: string;
}

/** The node's part of the overlay, as pods need it. */
export interface NodeNetwork {
  /** One for each family: our lease's subnet within the network. */
  readonly subnets: readonly { readonly subnet: Prefix; readonly network: Prefix }[];
  /** Bytes of an inner packet. */
  readonly mtu: number;
  /** --ip-masq: the daemon masquerades itself, so delegates need not. */
  readonly ipMasq: boolean;
}

/** Can pods be given addresses now? */
export type NodeState =
  | { readonly ready: true; readonly network: NodeNetwork }
  /** Why not, and what to do. */
  | { readonly ready: false; readonly reason: string };
