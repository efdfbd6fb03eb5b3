import type { KernelFacts } from './facts.ts';

export interface Feature {
  /** As in {@link KernelFacts.features}. */
  readonly name: string;
  /** Kconfig symbol. */
  readonly symbol: string;
  /** As in /proc/modules. */
  readonly module: string;
}

/** What Loden may ask of a kernel that not every kernel has. */
export const FEATURES: readonly Feature[] = [
  { name: 'vxlan', symbol: 'CONFIG_VXLAN', module: 'vxlan' },
  { name: 'tun', symbol: 'CONFIG_TUN', module: 'tun' },
  { name: 'bridge', symbol: 'CONFIG_BRIDGE', module: 'bridge' },
  { name: 'veth', symbol: 'CONFIG_VETH', module: 'veth' },
  { name: 'nf_tables', symbol: 'CONFIG_NF_TABLES', module: 'nf_tables' },
  { name: 'nft_masq', symbol: 'CONFIG_NFT_MASQ', module: 'nft_masq' },
  { name: 'br_netfilter', symbol: 'CONFIG_BRIDGE_NETFILTER', module: 'br_netfilter' },
];

export interface FeatureSources {
  /** The kernel's configuration; undefined: it is not to be had. */
  readonly config: string | undefined;
  /** modules.builtin */
  readonly builtin: string | undefined;
  /** modules.dep */
  readonly dep: string | undefined;
  /** /proc/modules */
  readonly loaded: string;
  /** Of the modules asked for, those with a directory in /sys/module. */
  readonly inSys: ReadonlySet<string>;
}

/** The names of modules in modules.builtin or modules.dep, as /proc/modules has them. */
const moduleNames = (text: string | undefined): ReadonlySet<string> | undefined =>
  text === undefined
    ? undefined
    : new Set(
        Array.from(text.matchAll(/^(?:\S*\/)?([^/\s:]+)\.ko(?:\.(?:gz|xz|zst))?(?=:|\s|$)/gm), (m) =>
          m[1]!.replaceAll('-', '_'),
        ),
      );

/** What of {@link FEATURES} a kernel has. */
export function featureStates(from: FeatureSources): KernelFacts['features'] {
  const builtin = moduleNames(from.builtin);
  const dep = moduleNames(from.dep);
  const loaded = new Set(Array.from(from.loaded.matchAll(/^(\S+) /gm), (m) => m[1]!));
  const state = ({ symbol, module }: Feature) => {
    if (loaded.has(module)) return 'loaded';
    const set = from.config && new RegExp(`^${symbol}=([ym])$`, 'm').exec(from.config)?.[1];
    if (set === 'y' || builtin?.has(module)) return 'builtin';
    // What is built in has a directory in /sys/module only if it has parameters: that it is missing tells nothing.
    if (from.inSys.has(module)) return 'builtin';
    if (dep) return dep.has(module) ? 'module' : 'absent';
    if (from.config === undefined) return 'unknown';
    return set === 'm' ? 'module' : 'absent';
  };
  return new Map(FEATURES.map((f) => [f.name, state(f)]));
}
