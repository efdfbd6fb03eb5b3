/**
 * Runs `work` after every kick, never twice at once; kicks during a run make one more run. Failures go to `failed`
 * and do not end it.
 */
export class Convergence {
  private wanted = false;
  private running: Promise<void> | undefined;
  private stopped = false;
  private readonly work: () => Promise<void>;
  private readonly failed: (cause: unknown) => void;

  constructor(work: () => Promise<void>, failed: (cause: unknown) => void) {
    this.work = work;
    this.failed = failed;
  }

  kick(): void {
    this.wanted = true;
    if (!this.running && !this.stopped) this.running = this.run();
  }

  private async run(): Promise<void> {
    // A burst of inputs in one turn of the loop becomes one run.
    await new Promise(setImmediate);
    while (this.wanted && !this.stopped) {
      this.wanted = false;
      try {
        await this.work();
      } catch (cause) {
        this.failed(cause);
      }
    }
    this.running = undefined;
  }

  /** Ends after the run that is under way. */
  async stop(): Promise<void> {
    this.stopped = true;
    await this.running;
  }
}
