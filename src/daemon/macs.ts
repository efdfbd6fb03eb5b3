import { createHash } from 'node:crypto';
import { localMac, type Mac } from '../net/mac.ts';
import type { NodeId } from '../subnet/types.ts';

/** The MAC of a device we make: the same at every start of this node, another on every node and device. */
export function derivedMac(node: NodeId, device: string): Mac {
  return localMac(createHash('sha256').update(`${node} ${device}`).digest());
}
