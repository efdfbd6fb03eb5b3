import type { HostFacts } from '../backends/backend.ts';
import type { Observer } from '../kernel/observer.ts';
import type { HostView, HostWatch } from './hostWatch.ts';
import type { NetworkInForce } from './networkSource.ts';
import { checkHost, refuseIfHopeless } from './overlay.ts';

/** What is known of this host, for the backend in force. */
export class HostLook {
  readonly #hostWatch: HostWatch;
  readonly #observer: Observer;
  #view: HostView = { waiting: 'looking for the uplink' };
  #facts: HostFacts | undefined;

  constructor({ hostWatch, observer }: { readonly hostWatch: HostWatch; readonly observer: Observer }) {
    this.#hostWatch = hostWatch;
    this.#observer = observer;
  }

  /** The facts that were last good: the kernel is programmed for these. */
  get facts(): HostFacts | undefined {
    return this.#facts;
  }

  /** Are they good now? */
  get isUsable(): boolean {
    return 'host' in this.#view;
  }

  /** Why they are not, in words. */
  get waiting(): string | undefined {
    return 'waiting' in this.#view ? this.#view.waiting : undefined;
  }

  /** Look again; true when the facts are others now. Throws ConfigError when `mayRefuse` and the backend can never run here. */
  async look(inForce: NetworkInForce, mayRefuse: boolean): Promise<boolean> {
    const families = [...inForce.network.families.keys()];
    const devices = inForce.backend.devices(inForce.config, families);
    const { owner } = this.#observer;
    if (devices.some((d) => !owner.devices.has(d)) || owner.devices.size !== devices.length)
      this.#observer.own({ devices: new Set(devices) });
    this.#view = await this.#hostWatch.look(families);
    if (!('host' in this.#view)) return false;
    const { host } = this.#view;
    if (host !== this.#facts && mayRefuse) refuseIfHopeless(inForce, host);
    const against = checkHost(inForce, host);
    if (against.length > 0) {
      this.#view = {
        waiting: against.map((p) => `${p.path}: expected ${p.expected}, got ${p.got}`).join('; '),
      };
      return false;
    }
    const isNew = host !== this.#facts;
    this.#facts = host;
    return isNew;
  }
}
