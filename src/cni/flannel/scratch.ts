import type { AttachmentId } from '../types.ts';
import type { DelegateConfig } from './delegate.ts';

/** A kept configuration. */
export interface Scratch {
  readonly path: string;
  /** As the delegate got it. */
  readonly config: DelegateConfig;
  /** Absent on a file flannel's plugin wrote. */
  readonly id?: AttachmentId;
}

/** Keep a delegate's configuration for its DEL, before it is asked to ADD. Throws CniError (code 105). */
export async function saveScratch(
  _dataDir: string,
  _id: AttachmentId,
  _config: DelegateConfig,
): Promise<Scratch> {
  throw new Error('not yet');
}

/** What was kept of this attachment of the network, by us or by flannel's plugin; undefined when nothing was. Throws CniError (code 105). */
export async function loadScratch(
  _dataDir: string,
  _id: AttachmentId,
  _network: string,
): Promise<Scratch | undefined> {
  throw new Error('not yet');
}

/** Forget it: the delegate's DEL has succeeded. Throws CniError (code 105). */
export async function removeScratch(_scratch: Scratch): Promise<void> {
  throw new Error('not yet');
}

/** Everything of this network that we have kept in `dataDir`; what cannot be read is passed over. */
export async function listScratch(_dataDir: string, _network: string): Promise<Scratch[]> {
  throw new Error('not yet');
}
