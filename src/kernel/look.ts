import type { Family } from '../net/addr.ts';
import type { DesiredState } from './desired.ts';
import type { Kernel } from './kernel.ts';
import type { ObservedLink, ObservedRoute } from './observed.ts';
import { ObservedState } from './state.ts';
import type { Sysctl } from './types.ts';

/**
 * What the kernel holds of, and on, the devices that are wanted or that something is wanted on, and of no others: a host may
 * have thousands of devices and a million routes. `fresh`, `known`: see OnceOptions in once.ts. At once when there is
 * nothing to look at. Rejects when the kernel does not answer.
 */
export function lookAt(
  kernel: Kernel,
  wanted: DesiredState,
  fresh: ReadonlyMap<string, number | undefined>,
  known: ReadonlyMap<string, number>,
): ObservedState | Promise<ObservedState> {
  const state = new ObservedState();
  for (const [name, ifindex] of [...fresh, ...known]) {
    if (ifindex === undefined) continue;
    const link = bare(name, ifindex, wanted);
    state.setLink(ifindex, link);
    kernel.remember(link);
  }
  const names = new Set<string>();
  const need = (name: string | undefined): void => {
    if (name !== undefined && !fresh.has(name) && !known.has(name)) names.add(name);
  };
  for (const o of wanted.link.values()) {
    need(o.name);
    need(o.vxlan?.underlay ?? o.veth?.master);
  }
  const { address, neigh, fdb, route } = wanted;
  for (const objects of [address, neigh, fdb, route]) for (const o of objects.values()) need(o.dev);
  const sysctls = [...wanted.sysctl.values()].filter(({ dev }) => dev === undefined || !fresh.has(dev));
  const hasPlaceless = Iterator.from(route.values()).some(({ dev }) => dev === undefined);
  if (names.size + sysctls.length === 0 && !hasPlaceless) return state;
  return look(kernel, state, wanted, names, sysctls);
}

async function look(
  kernel: Kernel,
  state: ObservedState,
  wanted: DesiredState,
  names: ReadonlySet<string>,
  sysctls: readonly Sysctl[],
): Promise<ObservedState> {
  await Promise.all([
    ...Array.from(names, (name) => device(kernel, state, name)),
    ...sysctls.map(({ path }) => kernel.sysctl(path).then((value) => state.setSysctl(path, value))),
  ]);
  const seen = [...names].map((name) => state.link(name)).filter((link) => link !== undefined);
  await Promise.all(seen.map((link) => standing(kernel, state, link, wanted)));
  await routes(kernel, state, seen, wanted);
  return state;
}

async function device(kernel: Kernel, state: ObservedState, name: string): Promise<void> {
  const link = await kernel.linkNamed(name);
  if (link) state.setLink(link.ifindex, link);
}

/** An end of a veth as it is when the other end was just made, with it. */
function bare(name: string, ifindex: number, wanted: DesiredState): ObservedLink {
  const link = Iterator.from(wanted.link.values()).find((o) => o.name === name);
  return {
    kind: 'link',
    ifindex,
    name,
    type: 'veth',
    ...(link?.mac === undefined ? {} : { mac: link.mac }),
    mtu: link?.mtu ?? 0,
    up: false,
    carrier: false,
  };
}

const isOn = (objects: ReadonlyMap<string, { readonly dev?: string }>, dev: string): boolean =>
  Iterator.from(objects.values()).some((o) => o.dev === dev);

/** Addresses, neighbours and FDB entries of one device, where any are wanted. */
async function standing(
  kernel: Kernel,
  state: ObservedState,
  { name, ifindex }: ObservedLink,
  { address, neigh, fdb }: DesiredState,
): Promise<void> {
  const jobs: Promise<unknown>[] = [];
  if (isOn(address, name))
    jobs.push(kernel.addresses(ifindex).then((rows) => state.setAddresses(rows, ifindex)));
  if (isOn(neigh, name)) jobs.push(kernel.neighs(ifindex).then((rows) => state.setNeighs(name, rows)));
  if (isOn(fdb, name)) jobs.push(kernel.fdb(ifindex).then((rows) => state.setFdb(name, rows)));
  await Promise.all(jobs);
}

/** Routes through the devices, whoever put them; of those without a device the ones with a wanted protocol. */
async function routes(
  kernel: Kernel,
  state: ObservedState,
  links: readonly ObservedLink[],
  { route }: DesiredState,
): Promise<void> {
  const families = new Map<Family, Promise<readonly ObservedRoute[]>[]>([
    [4, []],
    [6, []],
  ]);
  const asked = new Set<string>();
  for (const { dst, dev, protocol } of route.values()) {
    const { family } = dst.addr;
    const question = `${family} ${dev ?? `protocol ${protocol}`}`;
    if (asked.has(question)) continue;
    asked.add(question);
    const oif = links.find(({ name }) => name === dev)?.ifindex;
    if (dev !== undefined && oif === undefined) continue;
    const query = oif === undefined ? { family, protocol } : { family, oif };
    families.get(family)!.push(kernel.routes(query, (o) => oif !== undefined || o.dev === undefined));
  }
  for (const [family, listings] of families) {
    if (listings.length === 0) continue;
    await state.setRoutes(family, 0, (await Promise.all(listings)).flat(), new Set());
  }
}
