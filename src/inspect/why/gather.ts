import { connect } from 'node:net';
import * as v from 'valibot';
import { askJson } from '../../api/client.ts';
import { type Addr, formatAddr, sameAddr } from '../../net/addr.ts';
import { type Firewall, judge, type Packet, readFirewall } from '../firewall/index.ts';
import { lookAround, type World, type WorldOptions, within } from '../world.ts';
import { type Devices, type Expected, expectedFor } from './expect.ts';
import { Inquiry, type RouteAnswer } from './kernel.ts';
import { type Place, placeOf } from './place.ts';
import { type Echoes, findPathMtu, sendEchoes, smallSize } from './probes.ts';
import type { Attachment, EchoName, PodEnd, Seen, Underlay } from './seen.ts';
import type { Question } from './types.ts';

/** Milliseconds for all questions to the kernel together. */
const KERNEL = 5_000;
/** Milliseconds for one answer of the daemon. */
const DAEMON = 2_000;
/** Milliseconds for a TCP connection. */
const CONNECT = 1_500;

/** Where to look; in tests the parts that go out. */
export interface Places {
  readonly world: WorldOptions;
  readonly look?: (options: WorldOptions) => Promise<World>;
  readonly firewall?: () => Promise<Firewall>;
}

/** Find out all there is about a question. Takes some seconds at most; throws NativeError where there is no netlink. */
export async function gather(question: Question, places: Places): Promise<Seen> {
  const kernel = new Inquiry();
  try {
    const [world, firewall, devices] = await Promise.all([
      (places.look ?? lookAround)(places.world),
      (places.firewall ?? readFirewall)(),
      within(KERNEL, devicesOf(kernel)),
    ]);
    return await see(question, places.world.runDir, kernel, world, firewall, devices);
  } finally {
    kernel.close();
  }
}

async function devicesOf(kernel: Inquiry): Promise<Devices> {
  const [links, addresses] = [await kernel.links(), await kernel.addresses()];
  const way = await kernel.way({ to: { family: 4, value: 0x08080808n } });
  return { links, addresses, defaultDev: 'route' in way ? way.route.dev : undefined };
}

async function see(
  question: Question,
  runDir: string,
  kernel: Inquiry,
  world: World,
  firewall: Firewall,
  devices: Devices,
): Promise<Seen> {
  const { to, from } = question;
  const place = placeOf(to, world);
  const expected = place.kind === 'peer' ? expectedFor(place, to, world, devices) : undefined;
  const known = expected && 'route' in expected ? expected : undefined;
  const sourceWay = from && (await kernel.way({ to: from }));
  const iif = sourceWay && 'route' in sourceWay ? sourceWay.route.dev : undefined;
  const iifLink = devices.links.find((l) => l.name === iif);
  const first = packetOf(question, iif, place, devices);
  // What is marked on its way in, or out, is routed by its mark.
  const marked = judge(firewall, from ? 'prerouting' : 'output', first).packet.mark ?? 0;
  const [way, routes, rules] = await within(
    KERNEL,
    Promise.all([
      kernel.way({ to, from, iif: iifLink?.ifindex, mark: marked, proto: first.proto }),
      kernel.routesTo(to),
      kernel.rules(to.family),
    ]),
  );
  const out = 'route' in way ? way.route.dev : undefined;
  const packet: Packet = {
    ...first,
    oif: out,
    saddr: first.saddr ?? ('route' in way ? sourceOf(way, out, to, devices) : undefined),
  };
  const tunnel = devices.links.find((l) => l.name === known?.route?.dev);
  const [echoes, tables, attachments, connected] = await Promise.all([
    sendEchoes(echoesFor(question, place, known, tunnel?.mtu)),
    within(
      KERNEL,
      Promise.all([
        tunnel && known?.neigh ? kernel.neighbour(tunnel.ifindex, known.neigh.addr) : undefined,
        tunnel && known?.fdb ? kernel.vxlanFdb(tunnel.ifindex, known.fdb.mac) : undefined,
        readSysctls(kernel, to, from !== undefined, packet),
      ]),
    ),
    from || place.kind === 'own' ? attachmentsOf(runDir) : undefined,
    question.port?.proto === 'tcp' && !from ? tryConnect(to, question.port.port) : undefined,
  ]);
  const [neighbour, fdb, sysctls] = tables;
  // What echoes were sent has made the kernel look for neighbours.
  const end = async (addr: Addr, way: RouteAnswer): Promise<PodEnd> =>
    podEnd(kernel, devices, addr, way, attachments, await echoTo(addr, echoes, to));
  const [underlay, source, pod, pathMtu] = await within(
    KERNEL + 10_000,
    Promise.all([
      known?.endpoint ? underlayOf(kernel, devices, known.endpoint, known) : undefined,
      from && sourceWay ? end(from, sourceWay) : undefined,
      place.kind === 'own' ? end(to, way) : undefined,
      pathMtuOf(known, echoes, 'route' in way ? way.route.mtu : undefined),
    ]),
  );
  return {
    ...{ question, world, place, expected, links: devices.links, addresses: devices.addresses },
    ...{ way, routes, rules, neighbour, fdb, underlay, firewall, packet, sysctls, echoes, pathMtu },
    ...{ source, pod, connected },
  };
}

/** The packet as the first chain sees it. */
function packetOf(
  { to, from, port }: Question,
  iif: string | undefined,
  place: Place,
  { addresses }: Devices,
): Packet {
  const local = addresses.some((a) => sameAddr(a.addr.addr, to));
  const icmp = to.family === 4 ? ([1, 8] as const) : ([58, 128] as const);
  return {
    family: to.family,
    iif: from ? iif : '',
    oif: from ? '' : undefined,
    saddr: from,
    daddr: to,
    proto: port ? (port.proto === 'tcp' ? 6 : 17) : icmp[0],
    ...(port ? { dport: port.port } : { icmpType: icmp[1] }),
    ctState: 'new',
    mark: 0,
    saddrType: from ? 'unicast' : 'local',
    daddrType: local ? 'local' : place.kind === 'peer' || place.kind === 'own' ? 'unicast' : undefined,
  };
}

/** The source that the kernel takes for a packet of this host's own. */
function sourceOf(
  way: Extract<RouteAnswer, { route: unknown }>,
  dev: string | undefined,
  to: Addr,
  { addresses }: Devices,
): Addr | undefined {
  if (way.route.src) return way.route.src;
  const on = addresses.filter((a) => a.dev === dev && a.addr.addr.family === to.family && a.scope === 0);
  return on[0]?.addr.addr;
}

function echoesFor(
  { to }: Question,
  place: Place,
  known: Expected | undefined,
  mtu: number | undefined,
): Partial<Record<EchoName, { to: Addr; size?: number }>> {
  if (place.kind !== 'peer') return { target: { to } };
  const end = known?.probe;
  return {
    ...(end ? { tunnel: { to: end }, full: { to: end, size: Math.min(known.mtu, mtu ?? known.mtu) } } : {}),
    ...(known?.endpoint && !sameAddr(known.endpoint, end) ? { host: { to: known.endpoint } } : {}),
    ...(sameAddr(end, to) ? {} : { target: { to } }),
  };
}

/** Full-size packets do not get there and small ones do: how large may they be? */
async function pathMtuOf(
  known: Expected | undefined,
  echoes: Echoes<EchoName>,
  lowered: number | undefined,
): Promise<number | undefined> {
  if (typeof echoes === 'string' || !known?.probe) return undefined;
  if (echoes.tunnel?.what !== 'answered' || echoes.full?.what === 'answered') return undefined;
  return findPathMtu(known.probe, smallSize(known.probe), known.mtu, lowered);
}

async function echoTo(addr: Addr, echoes: Echoes<EchoName>, target: Addr) {
  if (typeof echoes !== 'string' && echoes.target && sameAddr(addr, target)) return echoes.target;
  const found = await sendEchoes({ pod: { to: addr } });
  return typeof found === 'string' ? undefined : found.pod;
}

async function readSysctls(kernel: Inquiry, to: Addr, routed: boolean, packet: Packet) {
  if (!routed) return {};
  const devs = [packet.iif, packet.oif].filter((d) => d !== undefined && d !== '');
  const paths =
    to.family === 4
      ? ['net/ipv4/ip_forward', ...devs.map((d) => `net/ipv4/conf/${d}/forwarding`)]
      : ['net/ipv6/conf/all/forwarding'];
  const values = await Promise.all(paths.map(async (p) => [p, (await kernel.sysctl(p))?.trim()] as const));
  return Object.fromEntries(values);
}

async function underlayOf(
  kernel: Inquiry,
  { links, addresses }: Devices,
  endpoint: Addr,
  expected: Expected,
): Promise<Underlay> {
  const link = (name: string | undefined) => links.find((l) => l.name === name);
  const way = await kernel.way({ to: endpoint, ...(expected.outer ? { proto: 17 } : {}) });
  if (!('route' in way)) return { way, link: link(expected.uplink), hop: undefined, neighbour: undefined };
  const { dev, via } = way.route;
  const out = link(dev);
  const hop = via ?? endpoint;
  const own = addresses.some((a) => sameAddr(a.addr.addr, endpoint));
  const neighbour = out && !own ? await kernel.neighbour(out.ifindex, hop) : undefined;
  return { way, link: out, hop, neighbour };
}

async function podEnd(
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

async function attachmentsOf(runDir: string): Promise<v.InferOutput<typeof Attachments> | 'unknown'> {
  try {
    const answer = await within(DAEMON, askJson(runDir, { path: '/v1/attachments' }, { timeout: DAEMON }));
    const parsed = v.safeParse(Attachments, answer);
    return parsed.success ? parsed.output : 'unknown';
  } catch {
    return 'unknown';
  }
}

function tryConnect(to: Addr, port: number): Promise<'open' | 'refused' | 'silent'> {
  return new Promise((resolve) => {
    const socket = connect({ host: formatAddr(to), port, timeout: CONNECT });
    const end = (how: 'open' | 'refused' | 'silent'): void => {
      socket.destroy();
      resolve(how);
    };
    socket.on('connect', () => end('open'));
    socket.on('timeout', () => end('silent'));
    socket.on('error', (e: NodeJS.ErrnoException) => end(e.code === 'ECONNREFUSED' ? 'refused' : 'silent'));
  });
}
