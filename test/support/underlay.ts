import { addr, formatAddr } from '../../src/net/addr.ts';
import { Netns } from './netns.ts';
import type { Owner } from './owner.ts';

/** The prefixes for documentation (RFC 5737, RFC 3849): the network the hosts stand in. */
const SEGMENTS = [
  { v4: '192.0.2', v6: '2001:db8:0' },
  { v4: '198.51.100', v6: '2001:db8:1' },
  { v4: '203.0.113', v6: '2001:db8:2' },
] as const;

/** A NIC with every tunnel offload, across which super-packets go whole; or one without, from which packets go as on a wire. */
export type Offload = 'offload' | 'wire';

/** A cable between two hosts beside the segments; the first has the lower addresses. */
export interface Cable {
  /** The device on either host. */
  readonly dev: string;
  readonly ipv4: readonly [string, string];
  readonly ipv6: readonly [string, string];
}

/** What is plugged into the underlay. */
export interface Attachment {
  /** The host's own namespace; its device there is `eth0`. */
  readonly netns: Netns;
  /** The underlay's end of the cable. */
  readonly port: string;
  /** Index of the segment. */
  readonly segment: number;
  readonly ipv4: string;
  readonly ipv6: string;
}

/**
 * The network between the hosts: a namespace with one bridge for each segment (Ethernet broadcast domain) and a
 * router between them, at .254 and ::fe of each, which is every host's default gateway.
 */
export class Underlay implements AsyncDisposable {
  readonly netns: Netns;
  readonly #owner: Owner;
  readonly #mtu: number;
  #count = 0;

  private constructor(owner: Owner, netns: Netns, mtu: number) {
    this.#owner = owner;
    this.netns = netns;
    this.#mtu = mtu;
  }

  /** `mtu` bytes; `segments` 1 to 3. */
  static async create(owner: Owner, options: { mtu?: number; segments?: number } = {}): Promise<Underlay> {
    const mtu = options.mtu ?? 1500;
    const underlay = new Underlay(owner, await Netns.create(owner, 'net'), mtu);
    await underlay.netns.ipBatch(
      SEGMENTS.slice(0, options.segments ?? 1).flatMap(({ v4, v6 }, i) => [
        `link add br${i} mtu ${mtu} type bridge`,
        `addr add ${v4}.254/24 dev br${i}`,
        `addr add ${v6}::fe/64 dev br${i}`,
        `link set br${i} up`,
      ]),
    );
    // A bridge is a switch here, not a place for iptables rules.
    await underlay.netns.sysctl({
      'net/ipv4/ip_forward': 1,
      'net/ipv6/conf/all/forwarding': 1,
      'net/bridge/bridge-nf-call-iptables': 0,
      'net/bridge/bridge-nf-call-ip6tables': 0,
    });
    await underlay.netns.nft(
      `table bridge cuts {
         set pairs { type ifname . ifname; }
         set ports { type ifname; }
         chain forward {
           type filter hook forward priority 0;
           iifname . oifname @pairs drop
           iifname @ports drop
           oifname @ports drop
         }
         chain input { type filter hook input priority 0; iifname @ports drop; }
         chain output { type filter hook output priority 0; oifname @ports drop; }
       }`,
    );
    return underlay;
  }

  /** Make a namespace with `eth0` plugged into a segment: addresses of both families, default routes. */
  async attach(label: string, options: { segment?: number } = {}): Promise<Attachment> {
    const segment = options.segment ?? 0;
    const { v4, v6 } = SEGMENTS[segment]!;
    const n = ++this.#count;
    const netns = await Netns.create(this.#owner, label);
    const attachment = {
      netns,
      port: `port${n}`,
      segment,
      ipv4: `${v4}.${n}`,
      ipv6: formatAddr(addr(`${v6}::${n.toString(16)}`)),
    };
    await this.netns.ipBatch([
      `link add ${attachment.port} mtu ${this.#mtu} type veth peer name eth0 mtu ${this.#mtu} netns ${netns.name}`,
      `link set ${attachment.port} master br${segment} up`,
    ]);
    await netns.ipBatch([
      `addr add ${attachment.ipv4}/24 dev eth0`,
      `addr add ${attachment.ipv6}/64 dev eth0`,
      'link set eth0 up',
      `route add default via ${v4}.254`,
      `route add default via ${v6}::fe`,
    ]);
    return attachment;
  }

  /** Pull a host's plug: its eth0 loses the carrier until it is put back. */
  async plug(of: Attachment, state: 'in' | 'out'): Promise<void> {
    await this.netns.ip(`link set ${of.port} ${state === 'in' ? 'up' : 'down'}`);
  }

  /** A black hole between two hosts of one segment, both ways, links staying up. Returns what heals it. */
  async cut(a: Attachment, b: Attachment): Promise<() => Promise<void>> {
    return this.#drop('pairs', `"${a.port}" . "${b.port}", "${b.port}" . "${a.port}"`);
  }

  /** A black hole between a host and all others, its link staying up. Returns what heals it. */
  async isolate(host: Attachment): Promise<() => Promise<void>> {
    return this.#drop('ports', `"${host.port}"`);
  }

  /**
   * Two hosts of one segment whose path takes IP packets of at most `bytes`, and says so to nobody: larger ones vanish, both
   * ways. Both should be on a {@link wire}, else packets that are yet to be cut go whole. Returns what mends it.
   */
  async narrow(a: Attachment, b: Attachment, bytes: number): Promise<() => Promise<void>> {
    const table = `narrow_${a.port}_${b.port}`;
    const drop = (from: Attachment, to: Attachment) =>
      `iifname ${from.port} oifname ${to.port} meta length gt ${bytes} drop`;
    await this.netns.nft(
      `table bridge ${table} {
         chain forward { type filter hook forward priority 0; ${drop(a, b)}; ${drop(b, a)}; }
       }`,
    );
    return () => this.netns.nft(`delete table bridge ${table}`);
  }

  /** Change the MTU of a host's cable, both ends. */
  async setMtu(of: Attachment, mtu: number): Promise<void> {
    await this.netns.ip(`link set ${of.port} mtu ${mtu}`);
    await of.netns.ip(`link set eth0 mtu ${mtu}`);
  }

  /**
   * A cable from one host straight to another, on a device of its own: nothing is between them that costs time. For
   * benchmarks (the prefixes are those of RFC 2544 and RFC 5180). One for each pair; hosts have one at most.
   */
  async cable(a: Attachment, b: Attachment, kind: Offload): Promise<Cable> {
    const dev = 'cable0';
    const [ipv4, ipv6] = [['198.18.0.1', '198.18.0.2'] as const, ['2001:2::1', '2001:2::2'] as const];
    const mtu = this.#mtu;
    await a.netns.ip(
      `link add ${dev} mtu ${mtu} type veth peer name ${dev} mtu ${mtu} netns ${b.netns.name}`,
    );
    for (const [i, { netns }] of [a, b].entries()) {
      if (kind === 'wire') await bare(netns, dev);
      await netns.ipBatch([
        `addr add ${ipv4[i]}/24 dev ${dev}`,
        `addr add ${ipv6[i]}/64 dev ${dev}`,
        `link set ${dev} up`,
      ]);
    }
    return { dev, ipv4, ipv6 };
  }

  /** Make cables behave like a NIC without tunnel offloads: packets cross it as they would on a wire. */
  async wire(of: Attachment): Promise<void> {
    await bare(this.netns, of.port);
    await bare(of.netns, 'eth0');
  }

  async #drop(set: string, elements: string): Promise<() => Promise<void>> {
    await this.netns.nft(`add element bridge cuts ${set} { ${elements} }`);
    return () => this.netns.nft(`delete element bridge cuts ${set} { ${elements} }`);
  }

  /** The hosts go on their own. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.netns[Symbol.asyncDispose]();
  }
}

/** Take a device's offloads for sending, and let it merge what it receives, as any NIC can. */
async function bare(netns: Netns, dev: string): Promise<void> {
  const off = [
    ...['tso', 'gso', 'tx-udp_tnl-segmentation', 'tx-udp_tnl-csum-segmentation', 'tx-udp-segmentation'],
    'tx-gso-list',
  ];
  await netns.run(['ethtool', '-K', dev, ...off.flatMap((feature) => [feature, 'off'])]);
  await netns.run(['ethtool', '-K', dev, 'gro', 'on']);
}
