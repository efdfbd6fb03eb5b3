import { connect } from 'node:net';
import { type Addr, formatAddr, sameAddr } from '../../net/addr.ts';
import { type Firewall, judge, type Packet, readFirewall } from '../firewall/index.ts';
import { isSurelyOwn, type OwnHost, ownLease, type UplinkHints, uplinkName } from '../ownHost.ts';
import { lookAround, type World, type WorldOptions, within } from '../world.ts';
import { type Devices, type Expected, expectedFor } from './expect.ts';
import { type Flow, Inquiry, type RouteAnswer } from './kernel.ts';
import { attachmentsOf, podEnd, readSysctls, underlayOf } from './lookups.ts';
import { type Place, placeOf } from './place.ts';
import { type Echoes, findPathMtu, sendEchoes, smallestTo } from './probes.ts';
import type { EchoName, PodEnd, Seen } from './seen.ts';
import type { Question } from './types.ts';

/** Milliseconds for all questions to the kernel together. */
const KERNEL = 5_000;
/** Nobody should listen there, as traceroute(8) takes it too. */
const CLOSED_PORT = 33_434;
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
    const [world, firewall, found] = await Promise.all([
      (places.look ?? lookAround)(places.world),
      (places.firewall ?? readFirewall)(),
      within(KERNEL, devicesOf(kernel)),
    ]);
    const host: OwnHost = { world, node: places.world.node, ...found };
    const devices: Devices = {
      ...found,
      own: ownLease(host),
      uplink: uplinkName(host, found),
    };
    return {
      ...(await see(question, places.world.runDir, kernel, world, firewall, devices)),
      surelyOwn: devices.own !== undefined && isSurelyOwn(host, devices.own),
    };
  } finally {
    kernel.close();
  }
}

async function devicesOf(
  kernel: Inquiry,
): Promise<Omit<Devices, 'own' | 'uplink'> & Pick<UplinkHints, 'defaultDev'>> {
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
): Promise<Omit<Seen, 'surelyOwn'>> {
  const { to, from } = question;
  const place = placeOf(to, world, devices.own);
  const expected = place.kind === 'peer' ? expectedFor(place, to, world, devices) : undefined;
  const known = expected && 'route' in expected ? expected : undefined;
  const sourceWay = from && (await kernel.way({ to: from }));
  const iif = sourceWay && 'route' in sourceWay ? sourceWay.route.dev : undefined;
  const iifLink = devices.links.find((l) => l.name === iif);
  const first = packetOf(question, iif, place, devices);
  const [{ way, mark }, routes, rules] = await within(
    KERNEL,
    Promise.all([
      wayOf(kernel, firewall, first, { to, from, iif: iifLink?.ifindex, proto: first.proto }),
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
    sendAll(echoesFor(question, place, known, tunnel?.mtu), known?.endpoint),
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
      known?.endpoint ? underlayOf(kernel, devices, known, { firewall, packet, way }) : undefined,
      from && sourceWay ? end(from, sourceWay) : undefined,
      place.kind === 'own' ? end(to, way) : undefined,
      pathMtuOf(known, echoes, 'route' in way ? way.route.mtu : undefined),
    ]),
  );
  return {
    ...{ question, world, place, expected, own: devices.own, links: devices.links },
    ...{
      addresses: devices.addresses,
      way,
      routes,
      rules,
      mark,
      neighbour,
      fdb,
      underlay,
      firewall,
      packet,
      sysctls,
      echoes,
      pathMtu,
    },
    ...{ source, pod, connected },
  };
}

/** What is marked on its way in is routed by its mark; what is marked on its way out, anew. */
async function wayOf(
  kernel: Inquiry,
  firewall: Firewall,
  first: Packet,
  flow: Flow,
): Promise<{ readonly way: RouteAnswer; readonly mark: number | undefined }> {
  if (flow.from) {
    const { routeMark: mark } = judge(firewall, 'prerouting', first);
    return { way: await kernel.way({ ...flow, mark }), mark };
  }
  const way = await kernel.way(flow);
  const oif = 'route' in way ? way.route.dev : undefined;
  const { routeMark: mark } = judge(firewall, 'output', { ...first, oif });
  return { way: mark ? await kernel.way({ ...flow, mark }) : way, mark };
}

/** Echoes; and where the peer's host does not answer them, whether it says that a port is closed. */
async function sendAll(
  wanted: Parameters<typeof sendEchoes<EchoName>>[0],
  endpoint: Addr | undefined,
): Promise<Echoes<EchoName>> {
  const echoes = await sendEchoes<EchoName>(wanted);
  if (typeof echoes === 'string' || !endpoint) return echoes;
  const host = sameAddr(wanted.tunnel?.to, endpoint) ? echoes.tunnel : echoes.host;
  if (host?.what !== 'silent') return echoes;
  const knocked = await sendEchoes({ knock: { to: endpoint, port: CLOSED_PORT } });
  return typeof knocked === 'string' ? echoes : { ...echoes, ...knocked };
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
  return findPathMtu(known.probe, smallestTo(known.probe), known.mtu, lowered);
}

async function echoTo(addr: Addr, echoes: Echoes<EchoName>, target: Addr) {
  if (typeof echoes !== 'string' && echoes.target && sameAddr(addr, target)) return echoes.target;
  const found = await sendEchoes({ pod: { to: addr } });
  return typeof found === 'string' ? undefined : found.pod;
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
