import type { ObservedAddress, ObservedLink, ObservedRoute } from '../../kernel/observed.ts';
import type { Family } from '../../net/addr.ts';
import type { parseSubnetEnv } from '../../subnet/subnetEnv.ts';
import type { Firewall } from '../firewall/index.ts';
import type { World } from '../world.ts';
import type { Fact } from './types.ts';

/** A link of this host's, with what only doctor asks of foreign ones. */
export interface LinkFact extends ObservedLink {
  /** A VXLAN device without a VNI of its own: it takes all of its port. */
  readonly external: boolean;
}

/** A UDP socket of this network namespace. */
export interface UdpSocket {
  readonly family: Family;
  /** `0.0.0.0`, `::`, or one address. */
  readonly address: string;
  readonly port: number;
  /** Undefined: the kernel's own, as of a VXLAN device, or (not as root) unknown. */
  readonly process: { readonly pid: number; readonly name: string } | undefined;
}

/** What this kernel has of what may be modules. */
export interface KernelFacts {
  readonly release: string;
  /** `builtin`, `loaded`: usable now; `module`: the kernel loads it when it is asked for; `absent`; `unknown`: nothing tells. */
  readonly features: ReadonlyMap<string, 'builtin' | 'loaded' | 'module' | 'absent' | 'unknown'>;
  /** Is there /dev/net/tun? */
  readonly tunDevice: boolean;
  /** Is there /proc/net/if_inet6? */
  readonly ipv6: boolean;
}

/** A configuration file of systemd's with its sections, in the order in which it is read. */
export interface UnitFile {
  readonly path: string;
  /** `section.key` in lower case to the values, in order. */
  readonly settings: ReadonlyMap<string, readonly string[]>;
}

/** Who else manages the network here. */
export interface Managers {
  /** Names of programs that run in this network namespace, as the kernel shortens them to 15 bytes. */
  readonly running: ReadonlySet<string>;
  /** `*.link` files, first wins. */
  readonly linkFiles: readonly UnitFile[];
  /** `*.network` files, first wins. */
  readonly networkFiles: readonly UnitFile[];
  /** networkd.conf and its drop-ins, later ones count. */
  readonly networkdConf: readonly UnitFile[];
  /** NetworkManager.conf and its drop-ins, later ones count. */
  readonly networkManagerConf: readonly UnitFile[];
  /** `dhcpcd.conf` and connman's `main.conf`, as they stand. */
  readonly plain: ReadonlyMap<string, string>;
}

/** One etcd endpoint, as it was tried. */
export interface EndpointFact {
  readonly endpoint: string;
  /** How far it went; `answers`: requests are answered. */
  readonly state: 'unreachable' | 'wrong-scheme' | 'untrusted' | 'unauthorized' | 'failing' | 'answers';
  /** What went wrong, in words; null when it answers. */
  readonly error: string | null;
  /** Milliseconds of the median of {@link asked} requests. */
  readonly latency: number | null;
  /** Of the fastest of them: what a busy machine adds is not in it. */
  readonly least: number | null;
  readonly asked: number;
  /** Milliseconds that its clock is ahead of ours; null: not known. */
  readonly clockAhead: number | null;
  readonly version: string | null;
  /** `NOSPACE`, `CORRUPT`. */
  readonly alarms: readonly string[];
  /** What its certificate says, milliseconds since 1970. */
  readonly certificate: { readonly from: number; readonly to: number; readonly subject: string } | null;
}

/** A PEM file that the options name. */
export interface CertificateFact {
  readonly option: string;
  readonly path: string;
  readonly from: number | null;
  readonly to: number | null;
  /** Why it cannot be used. */
  readonly error: string | null;
}

export interface ClockFact {
  /** Milliseconds since 1970. */
  readonly now: number;
  /** Does the kernel say that somebody keeps it right? Null: not known. */
  readonly synchronised: boolean | null;
}

/** What is installed for runtimes that attach pods. */
export interface CniFacts {
  readonly confDir: string;
  /** Network configurations by name, in the order in which runtimes take the first; undefined: no such directory. */
  readonly configurations:
    | readonly {
        readonly file: string;
        /** Types of the plugins in order; null: it cannot be read. */
        readonly plugins: readonly string[] | null;
        /** `cniVersion` */
        readonly version: string | null;
        readonly mtu: number | null;
      }[]
    | undefined;
  readonly binDir: string;
  /** Programs in it. */
  readonly binaries: ReadonlySet<string>;
  /** Does a container runtime run here? */
  readonly runtime: string | undefined;
}

/** Options that apply: those given, else the running daemon's, else the defaults. */
export interface Applied {
  readonly runDir: string;
  readonly stateDir: string;
  readonly subnetFile: string;
  readonly endpoints: readonly string[];
  /** Nobody has said where etcd is. */
  readonly endpointsByDefault: boolean;
  /** The daemon has a password that it does not show. */
  readonly passwordHidden: boolean;
  readonly ipMasq: boolean;
  readonly forwardRules: boolean;
  /** Names or addresses, in order. */
  readonly ifaces: readonly string[];
}

/** All that checks look at. */
export interface Facts {
  readonly options: Applied;
  readonly privileged: boolean;
  /** This node's id; null: it has none yet; undefined: it cannot be read. */
  readonly node: string | null | undefined;
  readonly world: World;
  readonly links: Fact<readonly LinkFact[]>;
  readonly addresses: Fact<readonly ObservedAddress[]>;
  /** Of the main table. */
  readonly routes: Fact<readonly ObservedRoute[]>;
  /** By path below /proc/sys; what is not there is absent. */
  readonly sysctls: Fact<ReadonlyMap<string, string>>;
  readonly kernel: Fact<KernelFacts>;
  readonly firewall: Fact<Firewall>;
  readonly sockets: Fact<readonly UdpSocket[]>;
  readonly managers: Fact<Managers>;
  readonly etcd: Fact<readonly EndpointFact[]>;
  readonly certificates: Fact<readonly CertificateFact[]>;
  readonly clock: Fact<ClockFact>;
  /** Null: there is no such file. */
  readonly subnetEnv: Fact<ReturnType<typeof parseSubnetEnv> | null>;
  readonly cni: Fact<CniFacts>;
}
