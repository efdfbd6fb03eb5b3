import { closeSync, openSync } from 'node:fs';
import { POD_ROUTE_PROTOCOL } from '../../src/contract.ts';
import type { Kernel } from '../../src/kernel/kernel.ts';
import type { ObservedLink } from '../../src/kernel/observed.ts';
import { type OnceResult, reconcileOnce } from '../../src/kernel/once.ts';
import type { KernelObject, Sysctl, VethLink } from '../../src/kernel/types.ts';
import { type Addr, addr, type Family } from '../../src/net/addr.ts';
import { mac } from '../../src/net/mac.ts';
import { everything, hostPrefix, type prefix } from '../../src/net/prefix.ts';
import { kernelIn } from './kernelIn.ts';
import { Netns } from './netns.ts';
import { thisProcess } from './owner.ts';

/** Pods as kernel objects, for tests of the kernel's side alone: what stands behind CNI is not here. */

export const HOST_IF = 'veth0123456789a';
export const POD_MAC = mac('0a:58:0a:2a:01:02');
export const HOST_MAC = mac('02:aa:bb:cc:dd:01');
const GATEWAY = { 4: addr('10.42.1.1'), 6: addr('fd00:42:1::1') } as const;
const POD = { 4: addr('10.42.1.2'), 6: addr('fd00:42:1::2') } as const;
const LEN = { 4: 24, 6: 64 } as const;

export type Families = readonly Family[];

const sysctl = (dev: string, name: string, value: string): Sysctl => ({
  kind: 'sysctl',
  path: `net/ipv6/conf/${dev}/${name}`,
  value,
  dev,
});

const route = (dev: string, dst: ReturnType<typeof prefix>, via?: Addr): KernelObject => ({
  kind: 'route',
  type: 'unicast',
  dst,
  ...(via ? { via } : {}),
  dev,
  onlink: false,
  protocol: POD_ROUTE_PROTOCOL,
});

export const bridgeObjects = (families: Families): KernelObject[] => [
  {
    kind: 'link',
    name: 'cni0',
    mac: mac('0a:58:0a:2a:01:01'),
    mtu: 1450,
    up: true,
    alias: 'loden',
    bridge: true,
  },
  sysctl('cni0', 'accept_ra', '0'),
  ...families.map(
    (f): KernelObject => ({
      kind: 'address',
      dev: 'cni0',
      addr: { addr: GATEWAY[f], len: LEN[f] },
    }),
  ),
];

export interface Wanted {
  readonly families: Families;
  readonly mode: 'bridge' | 'ptp';
  readonly mtu?: number;
}

/** `netnsFd` absent: as for CHECK. */
export function hostObjects({ families, mode, mtu = 1450 }: Wanted, netnsFd?: number): KernelObject[] {
  const peer = netnsFd === undefined ? {} : { peer: { netnsFd, name: 'eth0', mac: POD_MAC, mtu } };
  const link: VethLink = {
    kind: 'link',
    name: HOST_IF,
    mac: HOST_MAC,
    mtu,
    up: true,
    alias: 'loden cni net c1 eth0',
    veth: mode === 'bridge' ? { ...peer, master: 'cni0', hairpin: true } : peer,
  };
  if (mode === 'bridge') return [link];
  return [
    link,
    sysctl(HOST_IF, 'accept_ra', '0'),
    sysctl(HOST_IF, 'accept_dad', '0'),
    ...families.flatMap((f): KernelObject[] => [
      { kind: 'address', dev: HOST_IF, addr: hostPrefix(GATEWAY[f]) },
      { kind: 'neigh', dev: HOST_IF, addr: POD[f], mac: POD_MAC },
      route(HOST_IF, hostPrefix(POD[f])),
    ]),
  ];
}

export function podObjects({ families, mode, mtu = 1450 }: Wanted): KernelObject[] {
  return [
    { kind: 'link', name: 'eth0', mac: POD_MAC, mtu, up: true, alias: '', veth: {} },
    sysctl('eth0', 'accept_ra', '0'),
    sysctl('eth0', 'accept_dad', '0'),
    ...families.flatMap((f): KernelObject[] =>
      mode === 'bridge'
        ? [
            { kind: 'address', dev: 'eth0', addr: { addr: POD[f], len: LEN[f] } },
            route('eth0', everything(f), GATEWAY[f]),
          ]
        : [
            { kind: 'address', dev: 'eth0', addr: hostPrefix(POD[f]) },
            { kind: 'neigh', dev: 'eth0', addr: GATEWAY[f], mac: HOST_MAC },
            route('eth0', hostPrefix(GATEWAY[f])),
            route('eth0', everything(f), GATEWAY[f]),
          ],
    ),
  ];
}

export interface Place extends AsyncDisposable {
  readonly host: Netns;
  readonly pod: Netns;
}

/** A host and a pod's namespace, with duplicate address detection as a real one has. */
export async function place(): Promise<Place> {
  const owner = thisProcess();
  const [host, pod] = await Promise.all([Netns.create(owner, 'host'), Netns.create(owner, 'pod')]);
  for (const netns of [host, pod]) {
    await netns.sysctl({ 'net/ipv6/conf/default/accept_dad': 1, 'net/ipv6/conf/all/accept_dad': 0 });
  }
  return {
    host,
    pod,
    async [Symbol.asyncDispose]() {
      await pod[Symbol.asyncDispose]();
      await host[Symbol.asyncDispose]();
    },
  };
}

/** A pod attached as an ADD does it. */
export async function attach(
  host: Kernel,
  pod: Kernel,
  podNetns: Netns,
  wanted: Wanted,
): Promise<{
  readonly host: OnceResult;
  readonly pod: OnceResult | undefined;
  readonly bare?: ObservedLink;
}> {
  const fd = openSync(podNetns.path, 'r');
  try {
    const bridge = wanted.mode === 'bridge' ? await host.linkNamed('cni0') : undefined;
    let bare: ObservedLink | undefined;
    let inside: Promise<OnceResult> | undefined;
    const outside = await reconcileOnce(host, hostObjects(wanted, fd), {
      apply: true,
      fresh: new Map([[HOST_IF, undefined]]),
      ...(bridge ? { known: new Map([['cni0', bridge.ifindex]]) } : {}),
      onMade: (link) => {
        bare = link;
        const fresh = new Map([['eth0', link.peer]]);
        inside = reconcileOnce(pod, podObjects(wanted), { apply: true, fresh });
      },
    });
    const result = { host: outside, pod: await inside, ...(bare ? { bare } : {}) };
    // A port does not forward, a device does not send, before the kernel has acted upon its carrier.
    await Promise.all([host.linkNamed(HOST_IF), host.linkNamed('cni0'), pod.linkNamed('eth0')]);
    return result;
  } finally {
    closeSync(fd);
  }
}

/** A {@link place} with a pod in it. */
export async function attached(wanted: Wanted): Promise<Place & { host: Netns; pod: Netns }> {
  const at = await place();
  const host = kernelIn(at.host);
  const pod = kernelIn(at.pod);
  try {
    if (wanted.mode === 'bridge') await reconcileOnce(host, bridgeObjects(wanted.families), { apply: true });
    const done = await attach(host, pod, at.pod, wanted);
    if (done.host.failures[0] ?? done.pod?.failures[0]) throw done.host.failures[0] ?? done.pod?.failures[0];
    return at;
  } catch (cause) {
    await at[Symbol.asyncDispose]();
    throw cause;
  } finally {
    host.close();
    pod.close();
  }
}
