import { EXIT } from './contract.ts';

/** What a caller may do about an error; policy switches on this, never on the text. */
export type Retry = 'never' | 'backoff' | 'resync';

/** Base of all errors Loden raises on purpose. The message says what was tried, on what, why it failed, what to do. */
export class LodenError extends Error {
  readonly retry: Retry;
  /** Process exit code when this ends the process. */
  readonly exitCode: number;
  constructor(message: string, options: { retry?: Retry; exitCode?: number; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = new.target.name;
    this.retry = options.retry ?? 'never';
    this.exitCode = options.exitCode ?? EXIT.failure;
  }
}

/** One thing wrong in options, environment, a file or the network config. */
export interface Problem {
  /** Where: `--iface`, `FLANNELD_IFACE`, `Backend.VNI`, … */
  readonly path: string;
  /** What would have been right. */
  readonly expected: string;
  /** What was found, already redacted where secret. */
  readonly got: string;
}

/** All the problems of one configuration at once; exit 78. */
export class ConfigError extends LodenError {
  readonly problems: readonly Problem[];
  constructor(what: string, problems: readonly Problem[]) {
    const lines = problems.map((p) => `  ${p.path}: expected ${p.expected}, got ${p.got}`);
    super(`${what}: ${problems.length} problem${problems.length === 1 ? '' : 's'}\n${lines.join('\n')}`, {
      exitCode: EXIT.config,
    });
    this.problems = problems;
  }
}

/** The command line cannot be understood: unknown command or option, missing value; exit 64. */
export class UsageError extends LodenError {
  constructor(what: string) {
    super(`${what}; see loden --help`, { exitCode: EXIT.usage });
  }
}

export type StoreFault = 'unavailable' | 'unauthorized' | 'compacted' | 'conflict' | 'lease-lost';

/** A request to etcd failed. */
export class StoreError extends LodenError {
  readonly fault: StoreFault;
  constructor(fault: StoreFault, message: string, cause?: unknown) {
    super(message, {
      retry: fault === 'unavailable' || fault === 'unauthorized' ? 'backoff' : 'resync',
      exitCode: EXIT.unavailable,
      cause,
    });
    this.fault = fault;
  }
}

/** The kernel refused an operation. */
export class KernelError extends LodenError {
  /** Positive errno, e.g. 17 for EEXIST. */
  readonly errno: number;
  /** Symbolic name, e.g. `EEXIST`. */
  readonly code: string;
  /** The operation, e.g. `put route`. */
  readonly op: string;
  /** The object, in the words of `ip`. */
  readonly object: string;
  /** The kernel's own words (NLMSGERR_ATTR_MSG), if it said any. */
  readonly extack: string | undefined;
  constructor(e: { errno: number; code: string; op: string; object: string; extack?: string | undefined }) {
    // `create link` of `link eth0`: the kind is said once.
    const [verb, kind] = e.op.split(' ');
    const what = kind !== undefined && e.object.startsWith(`${kind} `) ? verb : e.op;
    super(`${what} ${e.object}: ${e.code}${e.extack ? `: ${e.extack}` : ''}`, { retry: 'backoff' });
    this.errno = e.errno;
    this.code = e.code;
    this.op = e.op;
    this.object = e.object;
    this.extack = e.extack;
  }
}

/** The native addon failed or is missing. */
export class NativeError extends LodenError {}

/** Something that cannot be, is: a bug. Logged, then the process ends. */
export class InvariantError extends LodenError {
  constructor(message: string) {
    super(`${message} (this is a bug in loden)`, { exitCode: EXIT.software });
  }
}
