import { closeSync, openSync } from 'node:fs';
import { Attacher, type AttacherOptions } from '../../src/cni/attach/attacher.ts';
import { addressMac, hostIfName, hostMac } from '../../src/cni/attach/names.ts';
import type { Attachment, Mode, NodeNetwork } from '../../src/cni/types.ts';
import { addr, type Family } from '../../src/net/addr.ts';
import { formatPrefix, network, prefix } from '../../src/net/prefix.ts';
import { Netns } from './netns.ts';
import type { Owner } from './owner.ts';

/** Attachments and nodes for tests of what is made of them. */

export type Families = readonly Family[];

export const MTU = 1450;

/** The node with the `n`th subnet. */
export const nodeOf = (families: Families, n = 1, mtu = MTU): NodeNetwork => ({
  mtu,
  ipMasq: false,
  subnets: families.map((family) =>
    family === 4
      ? { subnet: prefix(`10.42.${n}.0/24`), network: prefix('10.42.0.0/16') }
      : { subnet: prefix(`fd00:42:0:${n}::/64`), network: prefix('fd00:42::/48') },
  ),
});

export const gatewayOf = (family: Family, n = 1): string =>
  family === 4 ? `10.42.${n}.1` : `fd00:42:0:${n}::1`;
export const addressOf = (family: Family, i: number, n = 1): string =>
  family === 4 ? `10.42.${n}.${i}` : `fd00:42:0:${n}::${i.toString(16)}`;

export interface AttachmentOptions {
  readonly mode?: Mode;
  readonly families?: Families;
  /** Of the node's subnet. */
  readonly subnet?: number;
  readonly netns?: string;
  readonly ifname?: string;
  readonly network?: string;
  readonly hairpin?: boolean;
}

/** The pod with the `i`th address. */
export function attachment(i: number, options: AttachmentOptions = {}): Attachment {
  const { mode = 'bridge', families = [4], subnet = 1, netns = '/run/netns/none' } = options;
  const id = {
    network: options.network ?? 'pods',
    containerId: `pod-${i}`,
    ifname: options.ifname ?? 'eth0',
  };
  const addresses = families.map((family) => ({
    address: prefix(`${addressOf(family, i, subnet)}/${family === 4 ? 24 : 64}`),
    gateway: addr(gatewayOf(family, subnet)),
  }));
  return {
    ...id,
    netns,
    mode,
    ...(mode === 'bridge' ? { bridge: 'cni0' } : {}),
    hostIf: hostIfName(id),
    hostMac: hostMac(id),
    mac: addressMac(addresses.map((a) => a.address.addr)),
    mtu: MTU,
    hairpin: options.hairpin ?? true,
    addresses,
    routes: [],
    dataDir: '/nowhere',
  };
}

export interface AttachHostOptions extends AttacherOptions {
  /** Told the descriptor of the host's namespace before there is an attacher. */
  readonly onHostFd?: (fd: number) => void;
}

/** A host with an attacher in this process, and pods. */
export class AttachHost implements AsyncDisposable {
  readonly netns: Netns;
  readonly attacher: Attacher;
  readonly #fd: number;
  readonly #owner: Owner;
  readonly #pods: Netns[] = [];
  /** What pods have, as records would tell. */
  readonly attached = new Map<string, Attachment>();

  private constructor(owner: Owner, netns: Netns, { onHostFd, ...options }: AttachHostOptions) {
    this.#owner = owner;
    this.netns = netns;
    this.#fd = openSync(netns.path, 'r');
    onHostFd?.(this.#fd);
    this.attacher = Attacher.open({ hostNetnsFd: this.#fd, ...options });
  }

  static async create(owner: Owner, options: AttachHostOptions = {}): Promise<AttachHost> {
    return new AttachHost(owner, await Netns.create(owner, 'host'), options);
  }

  /** The daemon of the same host anew. */
  static async beside(host: AttachHost): Promise<AttachHost> {
    const next = new AttachHost(host.#owner, host.netns, {});
    for (const [key, a] of host.attached) next.attached.set(key, a);
    return next;
  }

  get fd(): number {
    return this.#fd;
  }

  readonly inUse = (subnet: Parameters<typeof network>[0]): boolean =>
    [...this.attached.values()].some((a) =>
      a.addresses.some(({ address }) => formatPrefix(network(address)) === formatPrefix(network(subnet))),
    );

  async pod(): Promise<Netns> {
    const pod = await Netns.create(this.#owner, 'pod');
    this.#pods.push(pod);
    return pod;
  }

  async add(a: Attachment, node: NodeNetwork): Promise<void> {
    await this.attacher.add(a, node, this.inUse);
    this.attached.set(a.hostIf, a);
  }

  async remove(a: Attachment): Promise<void> {
    await this.attacher.remove(a);
    this.attached.delete(a.hostIf);
    await this.attacher.settle();
  }

  /** Everything `ip` tells, so that two moments can be compared, but for what the kernel does at its leisure: carrier, link-local addresses. */
  async portrait(netns: Netns = this.netns): Promise<string> {
    const parts = await Promise.all(
      ['link', 'addr', 'route show table all', '-6 route show table all', 'neigh show nud permanent'].map(
        (what) => netns.ip(`-o ${what}`),
      ),
    );
    const lines = parts
      .join('\n')
      .replaceAll(/NO-CARRIER,|,LOWER_UP|,M-DOWN| linkdown| state \S+/g, '')
      .split('\n');
    // A listing of routes that is disturbed in the middle may have some of them twice.
    return [...new Set(lines)].filter((line) => !line.includes('fe80::')).join('\n');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.attacher.close();
    closeSync(this.#fd);
    await Promise.all([...this.#pods, this.netns].map((netns) => netns[Symbol.asyncDispose]()));
  }
}
