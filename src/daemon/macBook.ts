import { LINK_ALIAS } from '../contract.ts';
import type { Mac } from '../net/mac.ts';

/** What is known of an existing device of that name. */
export interface ExistingDevice {
  readonly type?: string;
  readonly mac?: Mac;
  readonly alias?: string;
}

/**
 * The MACs of our devices, each decided once: peers have written them into their kernels, so a MAC may not change while
 * the device can be kept. A device that somebody else made (flanneld) brings its own; one of ours has the one
 * remembered; a new one gets the one derived from the node id.
 */
export class MacBook {
  readonly #decided = new Map<string, Mac>();
  #remembered: ReadonlyMap<string, Mac>;
  readonly #existing: (device: string) => ExistingDevice | undefined;
  readonly #derive: (device: string) => Mac;
  readonly #remember: (macs: ReadonlyMap<string, Mac>) => void;

  /** `remember` is called with all MACs that differ from the derived ones, when there is a new one among them. */
  constructor(parts: {
    remembered: ReadonlyMap<string, Mac>;
    existing: (device: string) => ExistingDevice | undefined;
    derive: (device: string) => Mac;
    remember: (macs: ReadonlyMap<string, Mac>) => void;
  }) {
    this.#remembered = parts.remembered;
    this.#existing = parts.existing;
    this.#derive = parts.derive;
    this.#remember = parts.remember;
  }

  /** The MAC `device` must have. */
  of(device: string): Mac {
    const known = this.#decided.get(device);
    if (known) return known;
    const found = this.#existing(device);
    const theirs = found?.type === 'vxlan' ? found.mac : undefined;
    const remembered = this.#remembered.get(device);
    const foreign = theirs !== undefined && found?.alias !== LINK_ALIAS;
    const mac = (foreign ? theirs : (remembered ?? theirs)) ?? this.#derive(device);
    this.#decided.set(device, mac);
    if (mac !== remembered && mac !== this.#derive(device)) {
      this.#remember(new Map([...this.#remembered, ...this.#decided]));
    }
    return mac;
  }

  /** This node has another id, because the one it had is in use elsewhere, and with it the MACs: it gets new ones. */
  renew(): void {
    const devices = new Set([...this.#decided.keys(), ...this.#remembered.keys()]);
    this.#remembered = new Map(Array.from(devices, (device) => [device, this.#derive(device)]));
    this.#decided.clear();
    this.#remember(this.#remembered);
  }
}
