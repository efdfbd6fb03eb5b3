import type { HostFacts } from '../backends/backend.ts';
import type { UplinkOptions } from '../config/run.ts';
import { ConfigError } from '../errors.ts';
import { chooseUplink, type UplinkFacts } from '../kernel/facts.ts';
import type { Observer } from '../kernel/observer.ts';
import type { Addr, Family } from '../net/addr.ts';
import type { Mac } from '../net/mac.ts';

/** Which way the kernel would send to an address; undefined: it knows none. */
export type WayTo = (to: Addr) => Promise<{ readonly dev: string; readonly src?: Addr } | undefined>;

/** Host facts, or why there are none yet. */
export type HostView = { readonly host: HostFacts } | { readonly waiting: string };

/** Makes host facts of the kernel as observed, and keeps them the same object while they mean the same. */
export class HostWatch {
  readonly #observer: Observer;
  readonly #wish: UplinkOptions;
  readonly #wayTo: WayTo;
  readonly #mac: (device: string) => Mac;
  /** Addresses of etcd's endpoints. */
  readonly #reserved: readonly Addr[];
  #last: { readonly fingerprint: string; readonly host: HostFacts } | undefined;

  constructor(parts: {
    observer: Observer;
    wish: UplinkOptions;
    wayTo: WayTo;
    mac: (device: string) => Mac;
    reserved: readonly Addr[];
  }) {
    this.#observer = parts.observer;
    this.#wish = parts.wish;
    this.#wayTo = parts.wayTo;
    this.#mac = parts.mac;
    this.#reserved = parts.reserved;
  }

  /** The facts now. A host that has no uplink yet is waited for, not given up: addresses may come late at boot. */
  async look(families: readonly Family[]): Promise<HostView> {
    const { state } = this.#observer;
    const { canReach } = this.#wish;
    const reach = canReach && (await this.#wayTo(canReach));
    let found: UplinkFacts;
    try {
      found = chooseUplink(this.#wish, families, {
        links: state.links(),
        addresses: state.addresses(),
        routes: state.othersRoutes(),
        ...(reach ? { reach } : {}),
      });
    } catch (e) {
      if (e instanceof ConfigError) return { waiting: e.message.replaceAll(/\n\s*/g, ' ') };
      throw e;
    }
    const acceptRa = await this.#observer.kernel.sysctl(`net/ipv6/conf/${found.uplink.name}/accept_ra`);
    const fingerprint = `${found.fingerprint}\naccept_ra ${acceptRa}`;
    if (this.#last?.fingerprint !== fingerprint) {
      const { uplink, localAddrs, publicAddrs, onLink, gateways } = found;
      this.#last = {
        fingerprint,
        host: {
          uplink: acceptRa === undefined ? uplink : { ...uplink, acceptRa: Number(acceptRa) },
          localAddrs,
          publicAddrs,
          onLink,
          mac: this.#mac,
          reserved: [...gateways, ...this.#reserved],
        },
      };
    }
    return { host: this.#last.host };
  }
}
