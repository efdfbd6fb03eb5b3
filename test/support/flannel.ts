import { randomBytes } from 'node:crypto';
import { localMac } from '../../src/net/mac.ts';
import { type Cluster, NETWORK } from './cluster.ts';
import { flannelEnv, flannelKey, flannelPeers, putFlannelLease, writeSubnetFile } from './flannelLease.ts';
import type { Host } from './host.ts';
import { nthSubnet } from './pinned.ts';

const DEVICE = { 4: 'flannel.1', 6: 'flannel-v6.1' } as const;
const MULTICAST = { 4: '224.0.0.0/4', 6: 'ff00::/8' } as const;

export interface FlannelOptions {
  /** The host has the n-th subnets. */
  readonly n: number;
  /** `--ip-masq`, by the rules of which kind; undefined: without. */
  readonly masq?: 'iptables' | 'nft';
}

/** What the vxlan backend adds to a lease value. */
interface VxlanData {
  readonly BackendData?: { readonly VtepMAC: string };
  readonly BackendV6Data?: { readonly VtepMAC: string };
}

/**
 * A host on which flanneld v0.28 with the vxlan backend has run: made by iproute2, iptables and nft just as flanneld
 * makes it, with the same lease in etcd. There is no process; {@link sync} does what flanneld does about its peers.
 */
export class FlannelHost {
  readonly host: Host;
  readonly #cluster: Cluster;
  readonly #n: number;
  readonly #masq: FlannelOptions['masq'];
  readonly #macs = { 4: localMac(randomBytes(6)), 6: localMac(randomBytes(6)) } as const;

  private constructor(cluster: Cluster, host: Host, options: FlannelOptions) {
    this.#cluster = cluster;
    this.host = host;
    this.#n = options.n;
    this.#masq = options.masq;
  }

  /** Make `host` such a host; its peers' leases are taken as they are now. */
  static async make(cluster: Cluster, host: Host, options: FlannelOptions): Promise<FlannelHost> {
    const flannel = new FlannelHost(cluster, host, options);
    for (const family of cluster.families) await flannel.#device(family);
    await host.netns.sysctl({ 'net/ipv4/ip_forward': 1, 'net/ipv6/conf/all/forwarding': 1 });
    await flannel.writeLease();
    await flannel.sync();
    await flannel.writeRules();
    writeSubnetFile(host, flannel.subnetEnv);
    return flannel;
  }

  subnet(family: 4 | 6): string {
    return nthSubnet(family, this.#n);
  }

  mac(family: 4 | 6): string {
    return this.#macs[family];
  }

  get key(): string {
    return flannelKey(this.#cluster.families.map((f) => this.subnet(f)));
  }

  /** The lease value as flanneld writes it. */
  get value(): Readonly<Record<string, unknown>> {
    const has = (family: 4 | 6) => this.#cluster.families.includes(family);
    return {
      PublicIP: has(4) ? this.host.at.ipv4 : '0.0.0.0',
      PublicIPv6: has(6) ? this.host.at.ipv6 : null,
      BackendType: 'vxlan',
      ...(has(4) ? { BackendData: { VNI: 1, VtepMAC: this.#macs[4] } } : {}),
      ...(has(6) ? { BackendV6Data: { VNI: 1, VtepMAC: this.#macs[6] } } : {}),
    };
  }

  get subnetEnv(): Readonly<Record<string, string>> {
    const options = { mtu: 1450, masq: this.#masq !== undefined };
    return flannelEnv(this.#cluster.families, (f) => this.subnet(f), options);
  }

  /** Write the lease, also over one of ours: on an etcd lease of its own. */
  async writeLease(): Promise<void> {
    await putFlannelLease(this.#cluster, this.key, this.value);
  }

  /** Put neighbour, FDB entry and route of every peer that has a lease now, one over another. */
  async sync(): Promise<void> {
    const { netns } = this.host;
    for (const { subnets, value } of await flannelPeers(this.#cluster, this.key)) {
      const data = value as typeof value & VxlanData;
      for (const family of this.#cluster.families) {
        const subnet = subnets[family]!;
        const end = subnet.slice(0, subnet.indexOf('/'));
        const mac = (family === 4 ? data.BackendData : data.BackendV6Data)!.VtepMAC;
        const dev = DEVICE[family];
        await netns.ip(`neigh replace ${end} lladdr ${mac} dev ${dev} nud permanent`);
        const dst = family === 4 ? value.PublicIP : value.PublicIPv6!;
        await netns.run(['bridge', 'fdb', 'replace', mac, 'dev', dev, 'dst', dst, 'self', 'permanent']);
        await netns.ip(`route replace ${subnet} via ${end} dev ${dev} onlink`);
      }
    }
  }

  /** MTU: always 50 less than the uplink's, in either family. */
  async #device(family: 4 | 6): Promise<void> {
    const { netns, at } = this.host;
    const dev = DEVICE[family];
    const local = family === 4 ? at.ipv4 : at.ipv6;
    await netns.ipBatch([
      `link add ${dev} address ${this.#macs[family]} mtu 1450 type vxlan id 1 dev eth0 local ${local} dstport 8472 nolearning`,
      `addr add ${this.subnet(family).replace(/\/\d+$/, family === 4 ? '/32' : '/128')} dev ${dev}`,
      `link set ${dev} up`,
    ]);
    await netns.sysctl({ [`net/ipv6/conf/${dev}/accept_ra`]: 0 });
  }

  /** Masquerade and forward rules, if it is to have them. */
  async writeRules(): Promise<void> {
    for (const family of this.#masq ? this.#cluster.families : []) {
      if (this.#masq === 'nft') await this.host.netns.nft(this.#nftRules(family));
      else await this.#iptables(family);
    }
  }

  async #iptables(family: 4 | 6): Promise<void> {
    const [net, pod] = [NETWORK[family], this.subnet(family)];
    const masq = '-m comment --comment "flanneld masq"';
    const forward = '-m comment --comment "flanneld forward"';
    const rules = `*nat
:FLANNEL-POSTRTG - [0:0]
-A POSTROUTING ${masq} -j FLANNEL-POSTRTG
-A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 ${masq} -j RETURN
-A FLANNEL-POSTRTG -s ${pod} -d ${net} ${masq} -j RETURN
-A FLANNEL-POSTRTG -s ${net} -d ${pod} ${masq} -j RETURN
-A FLANNEL-POSTRTG ! -s ${net} -d ${pod} ${masq} -j RETURN
-A FLANNEL-POSTRTG -s ${net} ! -d ${MULTICAST[family]} ${masq} -j MASQUERADE --random-fully
-A FLANNEL-POSTRTG ! -s ${net} -d ${net} ${masq} -j MASQUERADE --random-fully
COMMIT
*filter
:FLANNEL-FWD - [0:0]
-A FORWARD ${forward} -j FLANNEL-FWD
-A FLANNEL-FWD -s ${net} ${forward} -j ACCEPT
-A FLANNEL-FWD -d ${net} ${forward} -j ACCEPT
COMMIT
`;
    await this.host.netns.run([family === 4 ? 'iptables-restore' : 'ip6tables-restore', '-n'], {
      input: rules,
    });
  }

  #nftRules(family: 4 | 6): string {
    const [net, pod] = [NETWORK[family], this.subnet(family)];
    const ip = family === 4 ? 'ip' : 'ip6';
    return `table ${ip} flannel-ipv${family} {
  comment "rules for flannel-ipv${family}"
  chain forward {
    comment "chain to accept flannel traffic"
    type filter hook forward priority filter;
    ${ip} saddr ${net} accept
    ${ip} daddr ${net} accept
  }
  chain postrtg {
    comment "chain to manage traffic masquerading by flannel"
    type nat hook postrouting priority srcnat;
    meta mark 0x4000 return
    ${ip} saddr ${pod} ${ip} daddr ${net} return
    ${ip} saddr ${net} ${ip} daddr ${pod} return
    ${ip} saddr != ${pod} ${ip} daddr ${net} return
    ${ip} saddr ${net} ${ip} daddr != ${MULTICAST[family]} masquerade fully-random
    ${ip} saddr != ${net} ${ip} daddr ${net} masquerade fully-random
  }
}`;
  }
}
