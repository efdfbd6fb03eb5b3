import * as v from 'valibot';
import { askJson } from '../../api/client.ts';
import { type Addr, formatAddr, sameAddr } from '../../net/addr.ts';
import { judge, type Packet } from '../firewall/index.ts';
import { within } from '../world.ts';
import type { Devices, Expected } from './expect.ts';
import type { Inquiry, RouteAnswer } from './kernel.ts';
import { firstMark, type Inner, outerPacket } from './passages.ts';
import type { Attachment, PodEnd, Underlay } from './seen.ts';

/** What is looked up for single hops: settings, the way to the peer's public address, pods of this host. */

/** Milliseconds for one answer of the daemon. */
const DAEMON = 2_000;

/** Those by which this host lets packets of a pod through. */
export async function readSysctls(kernel: Inquiry, to: Addr, routed: boolean, packet: Packet) {
  if (!routed) return {};
  const devs = [packet.iif, packet.oif].filter((d) => d !== undefined && d !== '');
  const paths =
    to.family === 4
      ? ['net/ipv4/ip_forward', ...devs.map((d) => `net/ipv4/conf/${d}/forwarding`)]
      : ['net/ipv6/conf/all/forwarding'];
  const values = await Promise.all(paths.map(async (p) => [p, (await kernel.sysctl(p))?.trim()] as const));
  return Object.fromEntries(values);
}

/** The way of outer packets to a peer that has a public address, by the mark that the firewall gives them. */
export async function underlayOf(
  kernel: Inquiry,
  { links, addresses }: Devices,
  expected: Expected,
  inner: Inner,
): Promise<Underlay> {
  const endpoint = expected.endpoint!;
  const link = (name: string | undefined) => links.find((l) => l.name === name);
  const flow = { to: endpoint, ...(expected.outer ? { proto: 17 } : {}) };
  const first = firstMark(inner, expected);
  let [way, rules] = await Promise.all([kernel.way({ ...flow, mark: first }), kernel.rules(endpoint.family)]);
  let mark = first;
  if (expected.outer && 'route' in way) {
    const { dev: oif, src } = way.route;
    const out = { ...outerPacket(expected, src, first), iif: '', oif };
    mark = judge(inner.firewall, 'output', out).routeMark;
    if (mark !== undefined && mark !== first) way = await kernel.way({ ...flow, mark });
  }
  const found = { way, mark, rules };
  if (!('route' in way))
    return { ...found, link: link(expected.uplink), hop: undefined, neighbour: undefined };
  const { dev, via } = way.route;
  const out = link(dev);
  const hop = via ?? endpoint;
  const own = addresses.some((a) => sameAddr(a.addr.addr, endpoint));
  const neighbour = out && !own ? await kernel.neighbour(out.ifindex, hop) : undefined;
  return { ...found, link: out, hop, neighbour };
}

/** A pod of this host, or what should be one. */
export async function podEnd(
  kernel: Inquiry,
  { links }: Devices,
  addr: Addr,
  way: RouteAnswer,
  attachments: readonly (Attachment & { readonly addresses: readonly string[] })[] | 'unknown' | undefined,
  echo: PodEnd['echo'],
): Promise<PodEnd> {
  const text = formatAddr(addr);
  const attachment =
    attachments === undefined || attachments === 'unknown'
      ? 'unknown'
      : attachments.find((a) => a.addresses.some((p) => p.startsWith(`${text}/`)));
  const device = 'route' in way ? links.find((l) => l.name === way.route.dev) : undefined;
  const neighbour = device && (await kernel.neighbour(device.ifindex, addr));
  const behind =
    device?.type === 'bridge' && neighbour?.mac
      ? (await kernel.bridgeFdb(device.ifindex, neighbour.mac))?.port
      : undefined;
  const name = attachment !== 'unknown' && attachment ? attachment.hostIf : behind;
  return { addr, way, device, neighbour, port: links.find((l) => l.name === name), attachment, echo };
}

const Attachments = v.array(
  v.looseObject({
    containerId: v.string(),
    ifname: v.string(),
    addresses: v.array(v.string()),
    hostIf: v.string(),
    bridge: v.nullable(v.string()),
    netns: v.string(),
  }),
);

/** Pods that the daemon has attached. */
export async function attachmentsOf(runDir: string): Promise<v.InferOutput<typeof Attachments> | 'unknown'> {
  try {
    const answer = await within(DAEMON, askJson(runDir, { path: '/v1/attachments' }, { timeout: DAEMON }));
    const parsed = v.safeParse(Attachments, answer);
    return parsed.success ? parsed.output : 'unknown';
  } catch {
    return 'unknown';
  }
}
