import * as v from 'valibot';
import type { ConfigJson, LeasesJson, PeersJson, ProbesJson, StatusJson } from '../api/shapes.ts';

/**
 * What a daemon must answer for its answer to be used. It may be of another version: further members are let through, and what an older
 * one does not have yet has a default.
 */

const text = v.string();
const number = v.number();
const textOrNull = v.nullable(text);
const numberOrNull = v.nullable(number);

const lease = v.looseObject({
  key: text,
  subnets: v.array(text),
  publicIP: textOrNull,
  publicIPv6: textOrNull,
  backend: textOrNull,
  data: v.unknown(),
  dataV6: v.unknown(),
  node: textOrNull,
  instance: textOrNull,
  reservation: v.boolean(),
  etcdLease: textOrNull,
  createRevision: text,
  modRevision: text,
  self: v.boolean(),
});

const leases = v.looseObject({
  revision: text,
  source: v.picklist(['daemon', 'etcd']),
  leases: v.array(lease),
  setAside: v.array(v.looseObject({ key: text, reason: text })),
});

const path = v.looseObject({
  key: text,
  family: v.picklist([4, 6]),
  target: text,
  health: v.picklist(['unprobed', 'reachable', 'lossy', 'unreachable']),
  at: textOrNull,
  rtt: numberOrNull,
  leastRtt: numberOrNull,
  sent: number,
  lost: number,
  fullSize: v.picklist(['unknown', 'passes', 'lost']),
  pathMtu: numberOrNull,
  routeMtu: numberOrNull,
  checksum: v.picklist(['unknown', 'good', 'corrupted']),
  error: textOrNull,
});

const probes = v.looseObject({
  enabled: v.boolean(),
  interval: number,
  sample: number,
  sent: number,
  received: number,
  checksumOffload: v.nullable(
    v.looseObject({ device: text, state: v.picklist(['on', 'off']), reason: textOrNull }),
  ),
  paths: v.array(path),
});

const traffic = v.looseObject({ outPackets: number, outBytes: number, inPackets: number, inBytes: number });

const peers = v.looseObject({
  revision: text,
  at: text,
  peers: v.array(
    v.looseObject({
      key: text,
      subnets: v.array(text),
      publicIP: textOrNull,
      publicIPv6: textOrNull,
      backend: text,
      data: v.unknown(),
      dataV6: v.unknown(),
      node: textOrNull,
      reservation: v.boolean(),
      problem: textOrNull,
      paths: v.array(path),
      traffic: v.nullable(traffic),
    }),
  ),
});

const config = v.looseObject({
  options: v.array(
    v.looseObject({
      name: text,
      origin: v.picklist(['flag', 'environment', 'default']),
      from: text,
      values: v.array(text),
    }),
  ),
  network: v.looseObject({ key: text, config: v.unknown(), inForce: v.boolean(), problem: textOrNull }),
});

const status = v.looseObject({
  version: text,
  node: text,
  instance: text,
  pid: number,
  startedAt: text,
  ready: v.boolean(),
  reason: textOrNull,
  lease: v.looseObject({
    state: v.picklist(['waiting', 'held', 'fenced']),
    lease: v.nullable(lease),
    secondsLeft: numberOrNull,
    reason: textOrNull,
  }),
  network: v.nullable(v.looseObject({ IPv4: textOrNull, IPv6: textOrNull, backend: text })),
  uplink: v.nullable(
    v.looseObject({
      name: text,
      mtu: number,
      addrs: v.array(text),
      publicIP: textOrNull,
      publicIPv6: textOrNull,
    }),
  ),
  mtu: numberOrNull,
  subnetFile: text,
  peers: number,
  paths: v.optional(
    v.looseObject({
      unprobed: number,
      reachable: number,
      lossy: number,
      unreachable: number,
      lowered: number,
    }),
    { unprobed: 0, reachable: 0, lossy: 0, unreachable: 0, lowered: 0 },
  ),
  setAside: number,
  kernel: v.looseObject({
    revision: textOrNull,
    objects: v.record(text, v.looseObject({ desired: number, inSync: number, failing: number })),
    failing: v.array(v.looseObject({ object: text, error: text })),
    conflicts: v.array(v.looseObject({ object: text, with: text })),
    repairs: v.record(text, number),
    messages: number,
  }),
  forwarder: v.unknown(),
  cni: v.looseObject({
    attachments: number,
    queued: number,
    stale: v.array(text),
    commands: v.record(text, v.unknown()),
  }),
  store: v.looseObject({ connected: v.boolean(), revision: textOrNull, requests: number, error: textOrNull }),
  problems: v.array(text),
});

type Schema<T> = v.GenericSchema<unknown, T>;

/** By resource of the control API. */
export const ANSWERS = {
  '/v1/status': status as unknown as Schema<StatusJson>,
  '/v1/leases': leases as unknown as Schema<LeasesJson>,
  '/v1/peers': peers as unknown as Schema<PeersJson>,
  '/v1/probes': probes as unknown as Schema<ProbesJson>,
  '/v1/config': config as unknown as Schema<ConfigJson>,
} as const;

export type Resource = keyof typeof ANSWERS;
export type AnswerOf<R extends Resource> = v.InferOutput<(typeof ANSWERS)[R]>;

/** The answer, or what is strange about it. */
export function readAnswer<R extends Resource>(
  resource: R,
  answer: unknown,
): { readonly value: AnswerOf<R> } | { readonly strange: string } {
  const parsed = v.safeParse(ANSWERS[resource] as unknown as Schema<AnswerOf<R>>, answer);
  if (parsed.success) return { value: parsed.output };
  const [issue] = parsed.issues;
  return { strange: `${v.getDotPath(issue) ?? 'it'}: ${issue.message}` };
}
