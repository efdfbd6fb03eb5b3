import type { Mac } from '../net/mac.ts';
import type { Prefix } from '../net/prefix.ts';
import type { PodNetns } from './attach/netns.ts';
import type { PodEnd } from './attach/podEnd.ts';
import type { Attachment, NodeNetwork } from './types.ts';

/** The node's network, new or known for the first time since the start. */
export interface NodeChange {
  readonly node: NodeNetwork;
  readonly inUse: (subnet: Prefix) => boolean;
  /** Bridges that records name; those that were made here are known by their alias. */
  readonly bridges: Iterable<string>;
}

/** The kernel's side of attachments, as the commands need it: {@link Attacher} of src/cni/attach/. All throw CniError. */
export interface Engine {
  /**
   * Make everything, or nothing: what fails leaves no trace. `inUse`: do pods hold addresses of this prefix? Resolves to the MAC of the
   * bridge, if there is one, which others may have made.
   */
  add(
    a: Attachment,
    node: NodeNetwork,
    inUse: (subnet: Prefix) => boolean,
    netns?: PodNetns,
  ): Promise<{ readonly bridgeMac: Mac | undefined }>;
  /** Remove everything; nothing there is fine. `hostMac`: known of an attachment whose alias somebody has changed. */
  remove(a: Pick<Attachment, 'hostIf'> & Partial<Pick<Attachment, 'hostMac'>>): Promise<void>;
  /** Remove an interface that no record tells of, inside the container. True: it was there. */
  removeInside(end: PodEnd): Promise<boolean>;
  /** What is not as it was made, in words. */
  check(a: Attachment, node: NodeNetwork, inUse: (subnet: Prefix) => boolean): Promise<readonly string[]>;
  /** Names of the host's ends there are. */
  hostEnds(): Promise<ReadonlySet<string>>;
  /** Addresses have been given back, or the node's network is another: what was kept for pods that are gone may go. */
  settle(changed?: NodeChange): Promise<void>;
}
