import type { Family } from '../net/addr.ts';
import { formatPrefix, network, offset, type Prefix, parsePrefix } from '../net/prefix.ts';
import { readSmall, writeAtomically } from './files.ts';

/** What subnet.env tells Docker, CNI plugins and rkt. */
export interface SubnetEnv {
  /** The whole network, of each enabled family. */
  readonly networks: readonly Prefix[];
  /** The node's subnet of each enabled family (network addresses). */
  readonly subnets: readonly Prefix[];
  /** Bytes. */
  readonly mtu: number;
  readonly ipMasq: boolean;
}

const NAMES = [
  [4, 'FLANNEL_NETWORK', 'FLANNEL_SUBNET'],
  [6, 'FLANNEL_IPV6_NETWORK', 'FLANNEL_IPV6_SUBNET'],
] as const;

/** The file's text, byte for byte flannel's: the subnet is written as the node's own address in it, subnet + 1. */
export function formatSubnetEnv(env: SubnetEnv): string {
  const of = (prefixes: readonly Prefix[], family: Family) => prefixes.find((p) => p.addr.family === family);
  let text = '';
  for (const [family, networkName, subnetName] of NAMES) {
    const [whole, subnet] = [of(env.networks, family), of(env.subnets, family)];
    if (!whole || !subnet) continue;
    const own = { addr: offset(network(subnet).addr, 1n), len: subnet.len };
    text += `${networkName}=${formatPrefix(whole)}\n${subnetName}=${formatPrefix(own)}\n`;
  }
  return `${text}FLANNEL_MTU=${env.mtu}\nFLANNEL_IPMASQ=${env.ipMasq}\n`;
}

/** What a subnet.env says, whoever wrote it; what cannot be understood is passed over. Subnets are network addresses. */
export function parseSubnetEnv(text: string): Partial<SubnetEnv> & Pick<SubnetEnv, 'networks' | 'subnets'> {
  const values = new Map<string, string>();
  for (const line of text.split('\n')) {
    const match = /^\s*(?:export\s+)?([A-Z0-9_]+)=(.*?)\s*$/.exec(line);
    if (match) values.set(match[1]!, match[2]!.replace(/^(["'])(.*)\1$/, '$2'));
  }
  const read = (family: Family, name: string): Prefix[] => {
    const p = parsePrefix(values.get(name) ?? '');
    return p?.addr.family === family && p.len > 0 ? [network(p)] : [];
  };
  const mtu = values.get('FLANNEL_MTU') ?? '';
  const ipMasq = values.get('FLANNEL_IPMASQ');
  return {
    networks: NAMES.flatMap(([family, name]) => read(family, name)),
    subnets: NAMES.flatMap(([family, , name]) => read(family, name)),
    ...(/^[1-9]\d{1,5}$/.test(mtu) ? { mtu: Number(mtu) } : {}),
    ...(ipMasq === 'true' || ipMasq === 'false' ? { ipMasq: ipMasq === 'true' } : {}),
  };
}

/** What the file says; nothing when there is no such file or it cannot be read: its subnets are a wish only. */
export async function readSubnetEnv(path: string): Promise<ReturnType<typeof parseSubnetEnv>> {
  return parseSubnetEnv((await readSmall(path).catch(() => undefined)) ?? '');
}

/** Make the file say this, 0644 in a directory of 0755; true when it had to be written. Throws LodenError. */
export async function writeSubnetEnv(path: string, env: SubnetEnv): Promise<boolean> {
  const text = formatSubnetEnv(env);
  const there = await readSmall(path).catch(() => undefined);
  if (there === text) return false;
  await writeAtomically(path, text, 0o644, 0o755);
  return true;
}
