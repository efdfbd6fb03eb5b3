import type { Logger } from './log.ts';

/** Why a daemon stops: a signal (undefined), or an error that ends it. */
export interface Stop {
  readonly signal: AbortSignal;
  /** End the daemon because of this. */
  readonly abort: (cause: unknown) => void;
  /** What `abort` was called with first. */
  readonly cause: () => unknown;
}

/** SIGTERM and SIGINT end the daemon in order; a second one at once. */
export function stopSignal(log: Logger): Stop & Disposable {
  const controller = new AbortController();
  let cause: unknown;
  const onSignal = (name: NodeJS.Signals): void => {
    if (controller.signal.aborted) process.kill(process.pid, 'SIGKILL');
    log.info({ signal: name }, 'stopping');
    controller.abort();
  };
  process.on('SIGTERM', onSignal).on('SIGINT', onSignal);
  return {
    signal: controller.signal,
    abort: (why) => {
      cause ??= why;
      controller.abort();
    },
    cause: () => cause,
    [Symbol.dispose]: () => {
      process.off('SIGTERM', onSignal).off('SIGINT', onSignal);
    },
  };
}
