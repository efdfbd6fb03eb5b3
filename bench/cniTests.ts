import { createHash } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Netns } from '../test/support/netns.ts';
import { ping } from '../test/support/ping.ts';
import { percentile } from './cniFigures.ts';
import type { Variant } from './cniVariants.ts';
import { type Call, type Metered, meter } from './spawnmeter.ts';

const IFNAME = 'eth0';
/** iptables is looked for in it. */
const PATH = '/usr/sbin:/usr/bin:/sbin:/bin';
/** How often a namespace is used again. */
const AGAIN = 20;

/** A container as the runtime knows it; `result` once it is attached. */
interface Container {
  readonly id: string;
  readonly netns: Netns;
  result?: { readonly ips: readonly { readonly address: string }[] };
}

let containers = 0;
const container = (netns: Netns): Container => ({
  id: createHash('sha256').update(`${process.pid} ${++containers}`).digest('hex'),
  netns,
});

/** As libcni calls a plugin; DEL is told what ADD has answered. */
function call(variant: Variant, command: 'ADD' | 'DEL', { id, netns, result }: Container): Call {
  const { plugin, path, config } = variant;
  return {
    path: plugin,
    env: {
      ...{ CNI_COMMAND: command, CNI_CONTAINERID: id, CNI_NETNS: netns.path, CNI_IFNAME: IFNAME },
      ...{ CNI_PATH: path, PATH },
    },
    input: JSON.stringify(result ? { ...config, prevResult: result } : config),
  };
}

/** Everything that is measured of one variant in one round; namespaces of pods are used again and again. */
export async function measure(
  variant: Variant,
  pods: readonly Netns[],
  scratch: Netns,
): Promise<Record<string, number>> {
  await settled(scratch);
  const before = await rules(variant);
  const serial = pods.map(container);
  const adds = await add(variant, serial);
  const more = (await rules(variant)) - before;
  const dels = await del(variant, serial);
  const settle = await settled(scratch);
  const times = (metered: Metered) => metered.outcomes.map(({ ms }) => ms);
  const figures: Record<string, number> = {
    ...{ addP50: percentile(times(adds), 50), addP99: percentile(times(adds), 99) },
    ...{ delP50: percentile(times(dels), 50), delP99: percentile(times(dels), 99) },
    ...{ addCpu: adds.busyMs / pods.length, delCpu: dels.busyMs / pods.length },
    ...{ settle, rules: more / pods.length },
    againP50: percentile(await again(variant, pods[0]!), 50),
  };
  for (const n of [10, 100].filter((count) => count <= pods.length)) {
    await settled(scratch);
    const some = pods.slice(0, n).map(container);
    figures[`add${n}`] = (await add(variant, some, n)).wallMs;
    await settled(scratch);
    figures[`del${n}`] = (await del(variant, some, n)).wallMs;
  }
  return figures;
}

/** Attach them all; throws unless each has an address of its own, and one that works. */
async function add(variant: Variant, all: readonly Container[], atOnce = 1): Promise<Metered> {
  const metered = await metering(variant, 'ADD', all, atOnce);
  for (const [i, { stdout }] of metered.outcomes.entries()) all[i]!.result = JSON.parse(stdout);
  const addresses = all.map(addressOf);
  const distinct = new Set(addresses).size;
  if (distinct !== all.length) throw new Error(`${all.length} pods have ${distinct} addresses`);
  await connected(all);
  return metered;
}

/** Detach them all; throws unless devices and addresses are free again. */
async function del(variant: Variant, all: readonly Container[], atOnce = 1): Promise<Metered> {
  const metered = await metering(variant, 'DEL', all, atOnce);
  const links = await variant.host.netns.ipJson<{ ifname: string }[]>('link show type veth');
  const left = links.map(({ ifname }) => ifname).filter((name) => name !== 'eth0');
  const taken = readdirSync(variant.store).filter((name) => /^[0-9a-f]+[.:]/.test(name));
  if (left.length + taken.length > 0)
    throw new Error(`after DEL there are ${[...left, ...taken].join(', ')}`);
  return metered;
}

async function metering(
  variant: Variant,
  command: 'ADD' | 'DEL',
  all: readonly Container[],
  atOnce: number,
): Promise<Metered> {
  const metered = await meter(
    variant.host.netns,
    all.map((one) => call(variant, command, one)),
    atOnce,
  );
  const bad = metered.outcomes.find(({ status }) => status !== 0);
  if (bad) throw new Error(`${command} by ${variant.plugin}: status ${bad.status}: ${bad.stdout}`);
  return metered;
}

const addressOf = ({ result }: Container): string => result!.ips[0]!.address.replace(/\/.*/, '');

/** The first and the last reach each other: two pods speak for all. */
async function connected(all: readonly Container[]): Promise<void> {
  const [first, last] = [all[0]!, all.at(-1)!];
  for (const [from, to] of [
    [first, last],
    [last, first],
  ] as const) {
    // The first echo may be lost to a bridge that does not know the other yet.
    const answered = (await ping(from.netns, addressOf(to))) ?? (await ping(from.netns, addressOf(to)));
    if (answered === undefined) throw new Error(`${addressOf(from)} does not reach ${addressOf(to)}`);
  }
}

/** ADDs of another container right after the DEL of one in the same namespace, with the same interface. Milliseconds each. */
async function again(variant: Variant, netns: Netns): Promise<number[]> {
  const calls = Array.from({ length: AGAIN }, () => container(netns)).flatMap((one) => [
    call(variant, 'ADD', one),
    call(variant, 'DEL', one),
  ]);
  const { outcomes } = await meter(variant.host.netns, calls);
  const bad = outcomes.find(({ status }) => status !== 0);
  if (bad) throw new Error(`attaching again by ${variant.plugin}: status ${bad.status}: ${bad.stdout}`);
  return outcomes.filter((_, i) => i > 0 && i % 2 === 0).map(({ ms }) => ms);
}

/** Rules and chains of all of the host's firewall. */
async function rules({ host }: Variant): Promise<number> {
  const listing = await host.netns.run(['nft', '-s', 'list', 'ruleset']);
  return listing.split('\n').filter((line) => /^\t\t\S|chain /.test(line)).length;
}

/**
 * Wait until the kernel owes nothing more: what was deleted is freed after a grace period, by a worker. The deletion of a
 * device is acknowledged only after all that was deleted before. Returns how much longer that took than it takes on an idle
 * kernel, milliseconds.
 */
async function settled(scratch: Netns): Promise<number> {
  const first = await deletion(scratch);
  await sleep(100);
  const idle = Math.min(await deletion(scratch), await deletion(scratch));
  return Math.max(0, first - idle);
}

async function deletion(scratch: Netns): Promise<number> {
  const start = performance.now();
  await scratch.ipBatch(['link add settle0 type veth peer name settle1', 'link del settle0']);
  return performance.now() - start;
}
