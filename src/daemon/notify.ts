import { addon } from '../native/addon.ts';

/** What is known of the service manager: sd_notify(3), sd_watchdog_enabled(3). */
export interface NotifyEnv {
  readonly NOTIFY_SOCKET?: string | undefined;
  readonly WATCHDOG_USEC?: string | undefined;
  readonly WATCHDOG_PID?: string | undefined;
}

/** Time asked for at each sign of life while we wait for the store, so that a start-up timeout does not end the wait. */
const EXTEND_USEC = 60_000_000;

/** Talks to systemd, or to nobody when it did not start us. */
export class Notifier {
  private readonly socket: string | undefined;
  private timer: NodeJS.Timeout | undefined;
  private status = '';
  private ready = false;

  constructor(env: NotifyEnv) {
    this.socket = env.NOTIFY_SOCKET || undefined;
    const usec = Number(env.WATCHDOG_USEC);
    const forUs = !env.WATCHDOG_PID || Number(env.WATCHDOG_PID) === process.pid;
    const watchdog = this.socket && forUs && Number.isFinite(usec) && usec > 0 ? usec / 1000 : undefined;
    if (!this.socket) return;
    // Half the watchdog's time, as sd_watchdog_enabled(3) advises; before READY the same tick extends the start-up timeout.
    this.timer = setInterval(
      () => this.tick(watchdog !== undefined),
      Math.min(watchdog ? watchdog / 2 : 20_000, 20_000),
    );
    this.timer.unref();
    this.tick(false);
  }

  private send(...lines: string[]): void {
    if (this.socket && lines.length > 0) addon().sdNotify(this.socket, lines.join('\n'));
  }

  private tick(watchdog: boolean): void {
    this.send(
      ...(watchdog ? ['WATCHDOG=1'] : []),
      ...(this.ready ? [] : [`EXTEND_TIMEOUT_USEC=${EXTEND_USEC}`]),
    );
  }

  /** STATUS= in `systemctl status`, and READY=1 the first time `ready` is true. */
  state(ready: boolean, status: string): void {
    const first = ready && !this.ready;
    if (first) this.ready = true;
    if (!first && status === this.status) return;
    this.status = status;
    this.send(...(first ? ['READY=1'] : []), `STATUS=${status.replaceAll('\n', ' ')}`);
  }

  stopping(): void {
    this.send('STOPPING=1');
    clearInterval(this.timer);
  }
}
