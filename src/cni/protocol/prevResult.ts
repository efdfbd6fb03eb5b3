import type { Attachment } from '../types.ts';
import type { CniResult } from './result.ts';

/** Read `prevResult` in the form of any version; throws CniError (code 7) with everything wrong in it. */
export function parseResult(_value: unknown): CniResult {
  throw new Error('not yet');
}

/** The result of a chain so far with ours appended; our indices of interfaces are shifted. */
export function mergeResults(_before: CniResult, _ours: CniResult): CniResult {
  throw new Error('not yet');
}

/** What a prevResult says otherwise than the attachment, in words; nothing when they agree. The MAC is not compared: see {@link macIn}. */
export function differences(_prev: CniResult, _attachment: Attachment): string[] {
  throw new Error('not yet');
}

/** The MAC the container's interface is to have: a chained plugin (tuning) may have changed it after us. */
export function macIn(_prev: CniResult, _attachment: Attachment): string | undefined {
  throw new Error('not yet');
}
