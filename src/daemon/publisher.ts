import type { HostFacts } from '../backends/backend.ts';
import type { Lease } from '../subnet/types.ts';
import type { Parts } from './daemon.ts';
import type { NetworkInForce } from './networkSource.ts';

/** What a convergence has come to. */
export interface Outcome {
  readonly network: NetworkInForce | undefined;
  readonly held: Lease | undefined;
  readonly host: HostFacts | undefined;
  /** The newest view and the firewall are in the kernel. */
  readonly isSettled: boolean;
  /** What stands against the network config. */
  readonly problem: string | undefined;
  readonly peers: number;
}

/** Tells others what has been reached: subnet.env, the log, the service manager. */
export class Publisher {
  readonly #parts: Pick<Parts, 'subnetFile' | 'notifier' | 'news' | 'log' | 'options'>;
  #ready = false;

  constructor(parts: Pick<Parts, 'subnetFile' | 'notifier' | 'news' | 'log' | 'options'>) {
    this.#parts = parts;
  }

  /** Once ready, always: what fails later is told, and what runs goes on. */
  get ready(): boolean {
    return this.#ready;
  }

  /** `waitingFor` is asked after the subnet file is written. Resolves to false when that has to be tried again. */
  async publish(outcome: Outcome, waitingFor: () => string | undefined): Promise<boolean> {
    const { subnetFile, notifier, news, log } = this.#parts;
    const { network, held, peers, problem } = outcome;
    const isWritten = await this.#writeSubnetFile(outcome);
    if (news.changed('network', problem) && problem !== undefined && network)
      log.warn({ problem }, 'network config');
    const reason = waitingFor();
    if (reason === undefined && !this.#ready) {
      this.#ready = true;
      log.info({ lease: held?.key, peers }, 'ready');
    }
    if (news.changed('reason', reason)) {
      if (reason !== undefined)
        log[this.#ready ? 'warn' : 'info']({ reason }, this.#ready ? 'impaired' : 'not ready');
      else log.info('in order');
    }
    notifier.state(this.#ready, reason ?? `${held?.key}, ${peers} peers`);
    return isWritten || subnetFile.error === undefined;
  }

  async #writeSubnetFile({ network, held, host, isSettled }: Outcome): Promise<boolean> {
    if (!isSettled || !network || !held || !host) return true;
    const { subnetFile, log, options } = this.#parts;
    const mtu = network.backend.mtu(network.config, [...network.network.families.keys()], host);
    if (await subnetFile.write(network.network, held, mtu, options.ipMasq))
      log.info({ file: options.subnetFile, subnets: held.key, mtu }, 'subnet file written');
    return subnetFile.error === undefined;
  }
}
