import { addr } from '../../src/net/addr.ts';
import type { Target } from '../../src/probe/types.ts';
import type { SubnetKey } from '../../src/subnet/types.ts';
import { Netns } from './netns.ts';
import type { Owner } from './owner.ts';

/** Bytes that the tunnel adds to an IPv4 packet between hosts: Ethernet, VXLAN, UDP, IPv4. */
export const TUNNEL_OVERHEAD = 50;

/** One end of the tunnel. */
export interface TunnelEnd {
  readonly netns: Netns;
  /** On the underlay. */
  readonly public: string;
  /** Its own addresses in the tunnel. */
  readonly inner: Readonly<Record<4 | 6, string>>;
  readonly mac: string;
}

/**
 * Two hosts on one cable (`eth0`) with a VXLAN between them (`vx0`), set up by ip(8) as flannel sets it up: no learning, permanent neighbours and FDB
 * entries. No daemon is involved.
 */
export class Tunnel implements AsyncDisposable {
  readonly a: TunnelEnd;
  readonly b: TunnelEnd;

  private constructor(a: TunnelEnd, b: TunnelEnd) {
    this.a = a;
    this.b = b;
  }

  static async create(owner: Owner): Promise<Tunnel> {
    const [a, b] = await Promise.all(
      [1, 2].map(async (n) => ({
        netns: await Netns.create(owner, `end${n}`),
        public: `192.0.2.${n}`,
        inner: { 4: `10.5.${n}.0`, 6: `fd00:5:${n}::` },
        mac: `02:00:00:00:05:0${n}`,
      })),
    );
    await a!.netns.ip(`link add eth0 type veth peer name eth0 netns ${b!.netns.name}`);
    await Promise.all(
      [
        [a!, b!],
        [b!, a!],
      ].map(([own, peer]) => connect(own!, peer!)),
    );
    return new Tunnel(a!, b!);
  }

  /** Packets longer than this, IP header included, are lost on the way from host to host, and nobody says so. */
  async hole(bytes: number): Promise<void> {
    for (const { netns } of [this.a, this.b]) {
      await netns.nft(
        `table netdev hole { chain c { type filter hook ingress device eth0 priority 0; ip length > ${bytes} drop\n }\n }`,
      );
    }
  }

  async noHole(): Promise<void> {
    for (const { netns } of [this.a, this.b]) await netns.nft('delete table netdev hole');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.a.netns[Symbol.asyncDispose]();
    await this.b.netns[Symbol.asyncDispose]();
  }
}

async function connect(own: TunnelEnd, peer: TunnelEnd): Promise<void> {
  await own.netns.ipBatch([
    `addr add ${own.public}/24 dev eth0`,
    'link set eth0 up',
    `link add vx0 address ${own.mac} type vxlan id 1 local ${own.public} dev eth0 dstport 8472 nolearning`,
    `addr add ${own.inner[4]}/32 dev vx0`,
    `addr add ${own.inner[6]}/128 dev vx0`,
    'link set vx0 up',
    `route add ${peer.inner[4]}/24 via ${peer.inner[4]} dev vx0 onlink`,
    `route add ${peer.inner[6]}/48 via ${peer.inner[6]} dev vx0 onlink`,
    `neigh add ${peer.inner[4]} lladdr ${peer.mac} dev vx0 nud permanent`,
    `neigh add ${peer.inner[6]} lladdr ${peer.mac} dev vx0 nud permanent`,
  ]);
  await own.netns.run(['bridge', 'fdb', 'add', peer.mac, 'dev', 'vx0', 'dst', peer.public]);
}

/** The path to the other end, as a prober is told of it. */
export const targetOf = (end: TunnelEnd, family: 4 | 6, more: Partial<Target> = {}): Target => ({
  key: end.inner[4] as SubnetKey,
  family,
  addr: addr(end.inner[family]),
  mtu: 1450,
  dev: 'vx0',
  offloads: true,
  via: addr(end.public),
  ...more,
});
