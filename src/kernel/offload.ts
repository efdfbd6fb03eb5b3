import { LodenError } from '../errors.ts';
import { ERRNO } from '../netlink/errno.ts';
import { activeFeatures, getFamily, getFeatures, setFeatures } from '../netlink/ethtool.ts';
import { NETLINK_GENERIC } from '../netlink/header.ts';
import { NetlinkSocket } from '../netlink/socket.ts';
import type { Refusal } from './batch.ts';

const NOT_SUPPORTED = { errno: ERRNO.EOPNOTSUPP!, code: 'EOPNOTSUPP' } as const;

/** NETIF_F_HW_CSUM by its name in `ethtool -k`: what a VXLAN device has, and all that it hands on checksums with. */
const FEATURE = 'tx-checksum-ip-generic';

/**
 * Whether devices fill in checksums that senders leave to them, by ethtool's generic netlink. A kernel that has none (before
 * 5.8) is one whose devices cannot be told: nothing of it is known, and nothing can be changed.
 */
export class TxChecksums {
  readonly #open: () => NetlinkSocket;
  #socket: NetlinkSocket | undefined;
  /** The message type of `ethtool`; null: there is none. */
  #family: Promise<number | null> | undefined;

  /** `netnsFd`: of the namespace, must be open until the first question; the process's own if absent. Opened when it is needed. */
  constructor(netnsFd?: number) {
    this.#open = () =>
      NetlinkSocket.open({ protocol: NETLINK_GENERIC, ...(netnsFd === undefined ? {} : { netnsFd }) });
  }

  /** Does the device? Undefined: it is gone, or cannot be asked: all else about links is worth knowing without this. */
  async read(ifindex: number): Promise<boolean | undefined> {
    try {
      const family = await this.#familyId();
      const reply = family === null ? undefined : await this.#use().get(getFeatures(family, ifindex));
      return reply && activeFeatures(reply.attributes).has(FEATURE);
    } catch (cause) {
      if (cause instanceof LodenError) return undefined;
      throw cause;
    }
  }

  /** Tell it. Undefined: done. */
  async write(ifindex: number, on: boolean): Promise<Refusal | undefined> {
    try {
      const family = await this.#familyId();
      if (family === null) return { ...NOT_SUPPORTED, extack: 'this kernel has no ethtool netlink' };
      const [failure] = await this.#use().transact([setFeatures(family, ifindex, new Map([[FEATURE, on]]))]);
      return failure;
    } catch (cause) {
      if (cause instanceof LodenError) return { ...NOT_SUPPORTED, extack: cause.message };
      throw cause;
    }
  }

  close(): void {
    this.#socket?.close();
  }

  #use(): NetlinkSocket {
    this.#socket ??= this.#open();
    return this.#socket;
  }

  async #familyId(): Promise<number | null> {
    this.#family ??= this.#use()
      .get(getFamily('ethtool'))
      .then((reply) => reply?.attributes.CTRL_ATTR_FAMILY_ID ?? null)
      .catch((cause) => {
        // Asked again the next time.
        this.#family = undefined;
        throw cause;
      });
    return this.#family;
  }
}
