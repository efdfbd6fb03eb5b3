import { LodenError } from '../errors.ts';
import { writeSubnetEnv } from '../subnet/subnetEnv.ts';
import type { Lease, NetworkConfig } from '../subnet/types.ts';

/** Keeps subnet.env: what Docker, CNI plugins and rkt read the node's subnet from. */
export class SubnetFile {
  readonly #path: string;
  #written = false;
  #error: string | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  /** It says what it should, or did once. */
  get written(): boolean {
    return this.#written;
  }

  get error(): string | undefined {
    return this.#error;
  }

  /** Make it say this; true when it had to be written. A failure is kept in `error` and tried again at the next call. */
  async write(network: NetworkConfig, lease: Lease, mtu: number, ipMasq: boolean): Promise<boolean> {
    try {
      const changed = await writeSubnetEnv(this.#path, {
        networks: [...network.families.values()].map((f) => f.network),
        subnets: lease.subnets,
        mtu,
        ipMasq,
      });
      this.#written = true;
      this.#error = undefined;
      return changed;
    } catch (e) {
      if (!(e instanceof LodenError)) throw e;
      this.#error = e.message;
      return false;
    }
  }
}
