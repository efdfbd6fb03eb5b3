import type { AttachmentId, CniVersion, PluginCall } from '../types.ts';
import type { Asked } from './args.ts';
import type { JsonObject, NetConfig } from './config.ts';
import type { CniResult } from './result.ts';

interface Common {
  /** Of the configuration, and so of the answer. */
  readonly version: CniVersion;
  /** `name`. */
  readonly network: string;
  readonly config: NetConfig;
  /** The whole configuration as it came. */
  readonly raw: JsonObject;
}

/** CNI_NETNS must not be the namespace the plugin itself runs in. */
interface Netns {
  /** `<dev>:<ino>` (decimal) that CNI_NETNS must not have: else {@link ownNetns}. Absent with CNI_NETNS_OVERRIDE. */
  readonly forbiddenNetns?: string;
}

export interface AddRequest extends Common, AttachmentId, Netns {
  readonly command: 'ADD';
  readonly netns: string;
  readonly asked: Asked;
  /** Of the plugins before us in the chain. */
  readonly prevResult?: CniResult;
}

export interface CheckRequest extends Common, AttachmentId {
  readonly command: 'CHECK';
  readonly netns: string;
  readonly prevResult: CniResult;
}

export interface DelRequest extends Common, AttachmentId, Netns {
  readonly command: 'DEL';
  /** Absent when empty; may be gone. */
  readonly netns?: string;
  /** What is wrong in the configuration and was replaced by its default: a DEL does not fail for that. */
  readonly problems: readonly string[];
}

export interface StatusRequest extends Common {
  readonly command: 'STATUS';
}

export interface GcRequest extends Common {
  readonly command: 'GC';
  /** `cni.dev/valid-attachments`: everything else of this network is to go. */
  readonly valid: readonly AttachmentId[];
}

export interface VersionRequest {
  readonly command: 'VERSION';
}

export type Request = AddRequest | CheckRequest | DelRequest | StatusRequest | GcRequest | VersionRequest;

/** What is asked for. Throws CniError, the first thing wrong in the order in which libcni looks. */
export function readRequest(_call: PluginCall): Request {
  throw new Error('not yet');
}
