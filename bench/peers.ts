import { DEFAULTS, KEYS } from '../src/contract.ts';

/** Room for 65,536 subnets. */
export const NETWORK_CONFIG = { Network: '10.0.0.0/8', SubnetLen: 24, Backend: { Type: 'vxlan' } } as const;

/** Where invented peers begin: the first 256 subnets are left to the daemon under test. */
const FIRST = 256;
/** 198.18.0.0/15 is set aside for benchmarks (RFC 2544). */
const PUBLIC = (198 << 24) | (18 << 16);

const dotted = (n: number): string => [n >>> 24, (n >>> 16) & 255, (n >>> 8) & 255, n & 255].join('.');
const hex = (n: number): string => n.toString(16).padStart(2, '0');

/** The `index`-th invented peer (from 0, below 65,000), as flannel's vxlan backend would have written it. */
export function peer(index: number): { key: string; value: string; subnet: string } {
  const network = dotted(((10 << 24) | ((FIRST + index) << 8)) >>> 0);
  const publicIP = dotted((PUBLIC + 1 + index) >>> 0);
  const mac = `02:10:de:${hex((index >>> 16) & 255)}:${hex((index >>> 8) & 255)}:${hex(index & 255)}`;
  return {
    key: `${DEFAULTS.etcdPrefix}/${KEYS.subnets}/${network}-24`,
    value: `{"PublicIP":"${publicIP}","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"${mac}"}}`,
    subnet: `${network}/24`,
  };
}

export const peers = (count: number) => Array.from({ length: count }, (_, i) => peer(i));
