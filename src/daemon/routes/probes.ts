import * as v from 'valibot';
import type { ProbesJson } from '../../api/shapes.ts';
import { type Addr, parseAddr } from '../../net/addr.ts';
import { containsAddr } from '../../net/prefix.ts';
import { pathKey } from '../../probe/types.ts';
import { type SubnetKey, subnetOf } from '../../subnet/types.ts';
import type { Daemon } from '../daemon.ts';
import { ApiError, badRequest, notFound } from '../http/errors.ts';
import type { Route } from '../http/route.ts';
import type { RouteParts } from './parts.ts';
import { pathJson } from './paths.ts';

type Parts = Pick<RouteParts, 'daemon' | 'probing' | 'reactions'>;

/** Probes that are asked for and not answered yet. */
const MOST = 32;

const BODY = v.strictObject({ to: v.pipe(v.string(), v.minLength(1), v.maxLength(200)) });

function* probesText({ probing, reactions }: Parts): Generator<string> {
  const head: Omit<ProbesJson, 'paths'> = {
    enabled: probing.interval > 0,
    interval: probing.interval,
    sample: probing.sample,
    sent: probing.counters.sent,
    received: probing.counters.received,
    checksumOffload: reactions.checksumOffload(),
  };
  yield `${JSON.stringify(head).slice(0, -1)},"paths":[`;
  let comma = '';
  // Paths that come or go meanwhile do no harm.
  for (const report of probing.paths.values()) {
    yield `${comma}\n${JSON.stringify(pathJson(report, reactions))}`;
    comma = ',';
  }
  yield ']}\n';
}

/** The peer whose subnet has an address. */
function keyOf(addr: Addr, { asked, snapshot }: Pick<Daemon, 'asked' | 'snapshot'>): SubnetKey | undefined {
  for (const [key, lease] of (asked?.served ?? snapshot)?.leases ?? []) {
    const subnet = subnetOf(lease, addr.family);
    if (subnet && containsAddr(subnet, addr)) return key;
  }
  return undefined;
}

/** The paths that `to` means: those of a peer's lease, or the one to the subnet that an address is in. */
export function pathsTo(to: string, { daemon, probing }: Pick<Parts, 'daemon' | 'probing'>): string[] {
  const addr = parseAddr(to);
  const key = addr ? keyOf(addr, daemon) : to;
  const families = addr ? [addr.family] : ([4, 6] as const);
  return families.map((family) => `${key} ${family}`).filter((path) => probing.paths.has(path));
}

/** `GET /v1/probes`: what is known; `POST /v1/probes` with `{"to":"10.5.9.3"}` or `{"to":"10.5.9.0-24"}`: ask now. */
export function probeRoutes(parts: Parts): Route[] {
  let underway = 0;
  const probeNow = async (to: string) => {
    const { probing, reactions } = parts;
    if (probing.interval === 0)
      throw new ApiError(
        409,
        'disabled',
        'nothing is probed: the daemon runs with --probe-interval 0, or may not open raw sockets (CAP_NET_RAW), which `loden status` would tell',
      );
    const paths = pathsTo(to, parts);
    if (paths.length === 0) throw notFound(`no peer that is probed has ${JSON.stringify(to)}`);
    const reports = await Promise.all(paths.map((path) => probing.probeNow(path)));
    return {
      paths: reports
        .filter((report) => report !== undefined)
        .map((report) => pathJson(probing.paths.get(pathKey(report.target)) ?? report, reactions)),
    };
  };
  return [
    {
      method: 'GET',
      path: '/v1/probes',
      audience: 'anyone',
      handle: () => ({ pieces: probesText(parts) }),
    },
    {
      method: 'POST',
      path: '/v1/probes',
      audience: 'local',
      handle: async ({ body }) => {
        const asked = v.safeParse(BODY, body);
        if (!asked.success)
          throw badRequest(
            'the body must be {"to": …}: an IP address, or the key of a lease, and nothing else',
          );
        if (underway >= MOST)
          throw new ApiError(503, 'busy', `${underway} probes are under way already; try again later`);
        underway++;
        try {
          return { value: await probeNow(asked.output.to) };
        } finally {
          underway--;
        }
      },
    },
  ];
}
