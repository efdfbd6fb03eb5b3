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

/** A lease, wherever it stands in an answer. */
export const leaseAnswer = v.looseObject({
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
  leases: v.array(leaseAnswer),
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
      unclaimed: v.optional(v.boolean(), false),
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
    lease: v.nullable(leaseAnswer),
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
interface Answers {
  readonly '/v1/status': StatusJson;
  readonly '/v1/leases': LeasesJson;
  readonly '/v1/peers': PeersJson;
  readonly '/v1/probes': ProbesJson;
  readonly '/v1/config': ConfigJson;
}

export type Resource = keyof Answers;
export type AnswerOf<R extends Resource> = Answers[R];

const ANSWERS: { readonly [R in Resource]: Schema<AnswerOf<R>> } = {
  '/v1/status': status,
  '/v1/leases': leases,
  '/v1/peers': peers,
  '/v1/probes': probes,
  '/v1/config': config,
};

/** The answer, or what is strange about it. */
export function readAnswer<R extends Resource>(
  resource: R,
  answer: unknown,
): { readonly value: AnswerOf<R> } | { readonly strange: string } {
  const schema: Schema<AnswerOf<R>> = ANSWERS[resource];
  const parsed = v.safeParse(schema, answer);
  if (parsed.success) return { value: parsed.output };
  const [issue] = parsed.issues;
  return { strange: `${v.getDotPath(issue) ?? 'it'}: ${issue.message}` };
}
