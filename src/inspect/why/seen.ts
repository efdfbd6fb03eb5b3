import type { LeaseJson } from '../../api/shapes.ts';
import type { ObservedAddress, ObservedLink } from '../../kernel/observed.ts';
import type { Addr } from '../../net/addr.ts';
import type { Firewall, Packet } from '../firewall/index.ts';
import type { World } from '../world.ts';
import type { Expected } from './expect.ts';
import type { IpRule } from './ipRules.ts';
import type { FoundFdb, FoundNeigh, RouteAnswer } from './kernel.ts';
import type { FoundRoute } from './kernelWords.ts';
import type { Place } from './place.ts';
import type { Echo, Echoes } from './probes.ts';
import type { Question } from './types.ts';

/** All that was found out for one question: a value, from which the hops are judged. */
export interface Seen {
  readonly question: Question;
  readonly world: World;
  readonly place: Place;
  /** Our lease. */
  readonly own: LeaseJson | undefined;
  /** Else its address alone says so, and it cannot be told which node this is. */
  readonly surelyOwn: boolean;
  /** For a peer's address and our own subnet's; or why it is not known. */
  readonly expected: Expected | { readonly unknown: string } | undefined;
  readonly links: readonly ObservedLink[];
  readonly addresses: readonly ObservedAddress[];
  /** The kernel's answer for this packet. */
  readonly way: RouteAnswer;
  /** All that is configured for the address, the most specific first. */
  readonly routes: readonly FoundRoute[];
  readonly rules: readonly IpRule[];
  /** By which it is routed; undefined: it cannot be told (and 0 was asked with). */
  readonly mark: number | undefined;
  readonly neighbour: FoundNeigh | undefined;
  readonly fdb: FoundFdb | undefined;
  readonly underlay: Underlay | undefined;
  readonly firewall: Firewall;
  /** What this host sends or lets through, as the firewall sees it first; `iif` is `''` for its own. */
  readonly packet: Packet;
  /** Values of sysctls, by path; undefined: cannot be read. */
  readonly sysctls: Readonly<Record<string, string | undefined>>;
  readonly echoes: Echoes<EchoName>;
  /** Bytes of the largest packet that was found to pass when full-size ones do not. */
  readonly pathMtu: number | undefined;
  /** The pod it comes from. */
  readonly source: PodEnd | undefined;
  /** The pod on this host it is for. */
  readonly pod: PodEnd | undefined;
  /** What came of a TCP connection to the port asked about; undefined: not tried. */
  readonly connected: 'open' | 'refused' | 'silent' | undefined;
}

/**
 * `tunnel`: the peer's end; `full`: there, as large as should fit; `host`: its public address; `target`: the address itself; `knock`: no echo but
 * a datagram to a closed port of the public address, when that does not answer echoes.
 */
export type EchoName = 'tunnel' | 'full' | 'host' | 'target' | 'knock';

/** The way to the peer's public address. */
export interface Underlay {
  readonly way: RouteAnswer;
  /** By which outer packets are routed; undefined: it cannot be told (and 0 was asked with). */
  readonly mark: number | undefined;
  /** Of its family. */
  readonly rules: readonly IpRule[];
  /** The device it leaves by. */
  readonly link: ObservedLink | undefined;
  /** The gateway, or the peer itself where it is on the link. */
  readonly hop: Addr | undefined;
  readonly neighbour: FoundNeigh | undefined;
}

/** The end of a pod's cable on this host. */
export interface PodEnd {
  readonly addr: Addr;
  readonly way: RouteAnswer;
  /** The bridge, or the pod's own device. */
  readonly device: ObservedLink | undefined;
  readonly neighbour: FoundNeigh | undefined;
  /** The port of the bridge behind which it is. */
  readonly port: ObservedLink | undefined;
  /** Of the daemon; undefined: there is none with this address; 'unknown': nobody could be asked. */
  readonly attachment: Attachment | undefined | 'unknown';
  readonly echo: Echo | undefined;
}

export interface Attachment {
  readonly containerId: string;
  readonly ifname: string;
  readonly hostIf: string;
  readonly bridge: string | null;
  readonly netns: string;
}
