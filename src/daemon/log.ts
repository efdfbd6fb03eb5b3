import pino from 'pino';

export type Logger = pino.Logger;

export interface LogOptions {
  readonly level: string;
  readonly format: 'json' | 'text';
}

/** Names whose values never reach a log, at the top of an event or one level down. */
const SECRETS = [
  'password',
  'etcdPassword',
  'etcd-password',
  'FLANNELD_ETCD_PASSWORD',
  'token',
  'authorization',
  'PSK',
];

/** Bytes of unwritten log kept while nobody reads standard error; what comes after is dropped, the daemon never blocks. */
const LOG_BACKLOG = 1 << 20;

/** `2026-01-02T03:04:05.678Z INFO message key=value …`, for people. */
function textLine(json: string): string {
  try {
    const { time, level, msg, ...fields } = JSON.parse(json) as Record<string, unknown>;
    const words = Object.entries(fields).map(
      ([k, v]) => `${k}=${typeof v === 'string' && !/[\s"=]/.test(v) ? v : JSON.stringify(v)}`,
    );
    return `${[time, String(level).toUpperCase(), msg, ...words].join(' ')}\n`;
  } catch {
    return json;
  }
}

/**
 * The daemon's log: one line an event on standard error, as flanneld does. Names and addresses are fields.
 * `flush` must run before the process ends.
 */
export function openLog(options: LogOptions): { log: Logger; flush: () => void } {
  const sink = pino.destination({ dest: 2, sync: false, maxLength: LOG_BACKLOG });
  const stream = options.format === 'json' ? sink : { write: (line: string) => sink.write(textLine(line)) };
  const log = pino(
    {
      level: options.level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: { paths: SECRETS.flatMap((s) => [`["${s}"]`, `*["${s}"]`]), censor: '[redacted]' },
      serializers: { err: errorFields },
    },
    stream,
  );
  return {
    log,
    flush: () => {
      try {
        sink.flushSync();
      } catch {
        // The sink was never ready or its reader is gone: there is nobody to tell.
      }
    },
  };
}

/** An error as fields: its message and those of its causes, without a stack unless it is a bug. */
function errorFields(err: unknown): unknown {
  if (!(err instanceof Error)) return String(err);
  const causes: string[] = [];
  for (let c = err.cause; c instanceof Error && causes.length < 5; c = c.cause) causes.push(c.message);
  const known = err.name.endsWith('Error') && 'retry' in err;
  return {
    type: err.name,
    message: err.message,
    ...(causes.length > 0 ? { causes } : {}),
    ...(known ? {} : { stack: err.stack }),
  };
}

/**
 * Says a thing when it changes, not every time it is found: the same text under the same key is logged again
 * only after it was cleared.
 */
export class ChangeLog {
  private readonly said = new Map<string, string>();

  /** True when `text` is news under `key`; undefined clears the key (true when it had been set). */
  changed(key: string, text: string | undefined): boolean {
    if (this.said.get(key) === text) return false;
    if (text === undefined) this.said.delete(key);
    else this.said.set(key, text);
    return true;
  }
}
