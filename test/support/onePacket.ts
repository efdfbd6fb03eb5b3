import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Cluster, NETWORK } from './cluster.ts';
import { flannelEnv, flannelKey, flannelPeers, putFlannelLease, writeSubnetFile } from './flannelLease.ts';
import type { Host } from './host.ts';
import { nthSubnet } from './pinned.ts';
import type { Proc } from './proc.ts';

const ONEPACKET = fileURLToPath(new URL('../../build/native/onepacket', import.meta.url));

/** As flanneld names it. */
export const ONE_PACKET_DEVICE = 'flannel0';

export interface OnePacketOptions {
  /** The host has the n-th subnet. */
  readonly n: number;
  /** Its endpoint: one of the host's addresses; that of eth0. */
  readonly local?: string;
  /** UDP port of everybody; 8285. */
  readonly port?: number;
  /** Of the device and the pods, bytes; 1472. */
  readonly mtu?: number;
}

/**
 * A host on which flanneld with the udp backend runs, IPv4: a forwarder in flannel's wire format that handles one packet
 * at a time (native/tools/onepacket.cc), its TUN and the route to the whole network as flanneld makes them, and a
 * lease in flannel's form. {@link sync} does what flanneld does about its peers. It ends with the host.
 */
export class OnePacketHost {
  readonly host: Host;
  readonly #cluster: Cluster;
  readonly #options: Required<OnePacketOptions>;
  #forwarder: Proc | undefined;

  private constructor(cluster: Cluster, host: Host, options: OnePacketOptions) {
    this.#cluster = cluster;
    this.host = host;
    this.#options = { local: host.at.ipv4, port: 8285, mtu: 1472, ...options };
  }

  /** Make `host` such a host; its peers' leases are taken as they are now. Writes subnet.env, so it can have pods. */
  static async make(cluster: Cluster, host: Host, options: OnePacketOptions): Promise<OnePacketHost> {
    const made = new OnePacketHost(cluster, host, options);
    await host.netns.sysctl({ 'net/ipv4/ip_forward': 1 });
    await made.writeLease();
    await made.start();
    writeSubnetFile(
      host,
      flannelEnv([4], () => made.subnet, { mtu: made.#options.mtu, masq: false }),
    );
    return made;
  }

  get subnet(): string {
    return nthSubnet(4, this.#options.n);
  }

  /** The TUN's own address: the subnet's first. */
  get address(): string {
    return this.subnet.slice(0, this.subnet.indexOf('/'));
  }

  /** Address of its UDP socket. */
  get endpoint(): string {
    return this.#options.local;
  }

  get key(): string {
    return flannelKey([this.subnet]);
  }

  /** The lease value as flanneld writes it: the udp backend has no name in it and no data. */
  get value(): Readonly<Record<string, unknown>> {
    return { PublicIP: this.#options.local, PublicIPv6: null };
  }

  /** The forwarder's process. */
  get forwarder(): Proc {
    if (!this.#forwarder) throw new Error(`no forwarder has been started on ${this.host.name}`);
    return this.#forwarder;
  }

  get #routesFile(): string {
    return join(this.host.dir, 'onepacket.routes');
  }

  /** Write the lease, also over one of ours. */
  writeLease(): Promise<void> {
    return putFlannelLease(this.#cluster, this.key, this.value);
  }

  /** Start the forwarder and set up its device. */
  async start(): Promise<void> {
    const { local, port, mtu } = this.#options;
    const { netns } = this.host;
    await this.#writeRoutes();
    this.#forwarder = await netns.start(
      [
        ...[ONEPACKET, '--device', ONE_PACKET_DEVICE, '--local', local, '--address', this.address],
        ...['--routes', this.#routesFile, '--port', String(port), '--mtu', String(mtu)],
      ],
      { log: join(this.host.dir, 'onepacket.log') },
    );
    await this.#forwarder.saying(/ready/);
    // Its ICMP errors have the host's own address and come in from outside: flanneld leaves them to be dropped.
    await netns.sysctl({ [`net/ipv4/conf/${ONE_PACKET_DEVICE}/accept_local`]: 1 });
    await netns.ipBatch([
      `link set ${ONE_PACKET_DEVICE} mtu ${mtu}`,
      `addr add ${this.address}/32 dev ${ONE_PACKET_DEVICE}`,
      `link set ${ONE_PACKET_DEVICE} up`,
      `route add ${NETWORK[4]} dev ${ONE_PACKET_DEVICE}`,
    ]);
  }

  /** Stop the forwarder; its device goes with it. */
  async stop(): Promise<void> {
    await this.forwarder.stop();
  }

  /** Take the peers that have a lease now. */
  async sync(): Promise<void> {
    const before = this.forwarder.output().length;
    const count = await this.#writeRoutes();
    this.forwarder.kill('SIGHUP');
    await this.forwarder.saying(new RegExp(`(?<=^[^]{${before},})${count} routes`));
  }

  /** Returns how many there are. */
  async #writeRoutes(): Promise<number> {
    const lines = (await flannelPeers(this.#cluster, this.key))
      .filter(({ subnets }) => subnets[4] !== undefined)
      .map(({ subnets, value }) => `${subnets[4]} ${value.PublicIP}\n`);
    writeFileSync(`${this.#routesFile}.new`, lines.join(''));
    renameSync(`${this.#routesFile}.new`, this.#routesFile);
    return lines.length;
  }
}
