import { LodenError } from '../errors.ts';

/** Error codes: below 100 the specification's, the others ours (spec section "Error"). */
export const CODE = {
  incompatibleVersion: 1,
  unsupportedField: 2,
  unknownContainer: 3,
  invalidEnvironment: 4,
  ioFailure: 5,
  decodingFailure: 6,
  invalidConfig: 7,
  /** The container's namespace is the plugin's own. */
  invalidNetns: 8,
  tryAgainLater: 11,
  /** STATUS: ADD cannot be served. */
  notAvailable: 50,
  /** STATUS: nor may existing containers be well connected. */
  limited: 51,
  /** The node's subnet has no free address. */
  usedUp: 100,
  /** The bridge has what it must not have, and is in use. */
  bridgeBlocked: 101,
  /** The kernel refuses something. */
  kernel: 102,
  /** An asked-for address cannot be had. */
  addressTaken: 103,
  /** CHECK: the attachment is not as it was made. */
  differs: 104,
  /** A file of the address store or of the attachments cannot be read or written. */
  files: 105,
  internal: 999,
} as const;

/** A failure that the runtime is told. */
export class CniError extends LodenError {
  readonly code: number;
  readonly details: string | undefined;
  constructor(code: number, msg: string, details?: string, cause?: unknown) {
    super(msg, cause === undefined ? {} : { cause });
    this.code = code;
    this.details = details;
  }
}
