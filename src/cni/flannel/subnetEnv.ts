import type { Family } from '../../net/addr.ts';
import { network, type Prefix, parsePrefix, samePrefix } from '../../net/prefix.ts';
import { CniError, CODE } from '../errors.ts';
import type { NodeNetwork } from '../types.ts';

/** What flannel's plugin reads out of subnet.env. */
export interface FlannelEnv {
  /** FLANNEL_NETWORK, perhaps several, then FLANNEL_IPV6_NETWORK; each once. */
  readonly networks: readonly Prefix[];
  /** FLANNEL_SUBNET, then FLANNEL_IPV6_SUBNET, without host bits. */
  readonly subnets: readonly Prefix[];
  /** Bytes. */
  readonly mtu: number;
  readonly ipMasq: boolean;
}

const NETWORKS = { FLANNEL_NETWORK: 4, FLANNEL_IPV6_NETWORK: 6 } as const;
const SUBNETS = { FLANNEL_SUBNET: 4, FLANNEL_IPV6_SUBNET: 6 } as const;

/**
 * Read subnet.env as flannel's plugin does, which is stricter than what the daemon itself does with an earlier one: a line that
 * cannot be understood is an error, not passed over. `file` is its name in errors. Throws CniError (code 11: whoever
 * writes the file is yet to do so) in flannel's words.
 */
export function parseFlannelEnv(text: string, file: string): FlannelEnv {
  const values = new Map<string, string>();
  for (const line of text.split('\n')) {
    const at = line.indexOf('=');
    // A later line wins, as for flannel and for a shell.
    if (at > 0) values.set(line.slice(0, at), line.slice(at + 1).replace(/\r$/, ''));
  }
  const fail = (why: string) =>
    new CniError(
      CODE.tryAgainLater,
      `loadFlannelSubnetEnv failed: ${why}`,
      `${file} is written by loden or flanneld once the node has its subnet`,
    );
  const cidr = (value: string, name: string, family: Family): Prefix => {
    const prefix = parsePrefix(value);
    if (prefix?.addr.family !== family)
      throw fail(`${file}: ${name}: invalid CIDR address: ${value.slice(0, 100)}`);
    return network(prefix);
  };
  const networks: Prefix[] = [];
  for (const [name, family] of Object.entries(NETWORKS)) {
    for (const value of values.get(name)?.split(',') ?? []) {
      const prefix = cidr(value, name, family);
      if (!networks.some((n) => samePrefix(n, prefix))) networks.push(prefix);
    }
  }
  const subnets: Prefix[] = [];
  for (const [name, family] of Object.entries(SUBNETS)) {
    const value = values.get(name);
    if (value !== undefined) subnets.push(cidr(value, name, family));
  }
  const [mtu, ipMasq] = [values.get('FLANNEL_MTU'), values.get('FLANNEL_IPMASQ')];
  if (mtu !== undefined && (!/^\d{1,10}$/.test(mtu) || Number(mtu) > 0xffff_ffff))
    throw fail(`${file}: FLANNEL_MTU: invalid syntax: ${mtu.slice(0, 100)}`);
  const missing = [
    ...(networks.length === 0 ? Object.keys(NETWORKS) : []),
    ...(subnets.length === 0 ? Object.keys(SUBNETS) : []),
    ...(mtu === undefined ? ['FLANNEL_MTU'] : []),
    ...(ipMasq === undefined ? ['FLANNEL_IPMASQ'] : []),
  ];
  if (missing.length > 0) throw fail(`${file} is missing ${missing.join(', ')}`);
  return { networks, subnets, mtu: Number(mtu), ipMasq: ipMasq === 'true' };
}

/** The same out of the daemon's own knowledge. */
export function flannelEnvOf(node: NodeNetwork): FlannelEnv {
  const ordered = node.subnets.toSorted((a, b) => a.subnet.addr.family - b.subnet.addr.family);
  return {
    networks: ordered.map((s) => network(s.network)),
    subnets: ordered.map((s) => network(s.subnet)),
    mtu: node.mtu,
    ipMasq: node.ipMasq,
  };
}
