import type { Prefix } from '../net/prefix.ts';
import type { PodNetns } from './attach/netns.ts';
import type { Attachment, NodeNetwork } from './types.ts';

/** The kernel's side of attachments, as the commands need it: {@link Attacher} of src/cni/attach/. All throw CniError. */
export interface Engine {
  /** Make everything, or nothing: what fails leaves no trace. `inUse`: do pods hold addresses of this prefix? */
  add(a: Attachment, node: NodeNetwork, inUse: (subnet: Prefix) => boolean, netns?: PodNetns): Promise<void>;
  /** Remove everything; nothing there is fine. */
  remove(a: Pick<Attachment, 'hostIf'>): Promise<void>;
  /** What is not as it was made, in words. */
  check(a: Attachment, node: NodeNetwork, inUse: (subnet: Prefix) => boolean): Promise<readonly string[]>;
  /** Names of the host's ends there are. */
  hostEnds(): Promise<ReadonlySet<string>>;
  /** Addresses have been given back: what was kept for their pods may go. */
  settle(): Promise<void>;
}
