import { join } from 'node:path';
import { FILES } from '../contract.ts';
import { ConfigError, type Problem } from '../errors.ts';
import { show } from '../fields.ts';
import { type Addr, type Family, formatAddr } from '../net/addr.ts';
import { scopeOf } from '../net/scope.ts';
import { checkEtcd, type EtcdOptions, etcdOptions } from './etcd.ts';
import type { ListenAddress } from './kinds.ts';
import type { Option } from './option.ts';
import { OPTIONS, type Values } from './options.ts';
import { type Env, type Flags, readSources, type Settings, strangeVariables } from './sources.ts';

/** Which interface carries the traffic between hosts. */
export interface UplinkOptions {
  /** Names or addresses, in order. */
  readonly ifaces: readonly string[];
  readonly regexes: readonly RegExp[];
  readonly canReach: Addr | undefined;
  /** PublicIP and PublicIPv6 where they are not the interface's own. */
  readonly publicAddrs: ReadonlyMap<Family, Addr>;
}

/** All that `loden run` was told. */
export interface RunOptions {
  readonly etcd: EtcdOptions;
  /** Seconds. */
  readonly leaseTtl: number;
  readonly uplink: UplinkOptions;
  readonly ipMasq: boolean;
  /** Masquerade with fully random ports. */
  readonly fullyRandom: boolean;
  readonly forwardRules: boolean;
  readonly blackholeRoute: boolean;
  /** Of the udp backend; 0: chosen by the number of CPUs. */
  readonly udpThreads: number;
  readonly subnetFile: string;
  readonly runDir: string;
  readonly stateDir: string;
  /** Take the place of a running daemon. */
  readonly takeover: boolean;
  /** Undefined: no health server. */
  readonly healthz: { readonly ip: string; readonly port: number } | undefined;
  /** Undefined: neither metrics nor a page. `host` undefined: all addresses. */
  readonly metrics: ListenAddress | undefined;
  /** Milliseconds between rounds of probes; 0: none. */
  readonly probeInterval: number;
  readonly peerCounters: boolean;
  readonly log: { readonly level: NonNullable<Values['log-level']>; readonly format: Values['log-format'] };
  /** To be logged once: options without effect, unknown variables. */
  readonly notes: readonly string[];
  /** Every option with its origin; secrets masked. */
  readonly settings: Settings;
}

/** Longest path of a Unix socket, bytes: sun_path less its NUL (unix(7)). */
const SOCKET_PATH_MAX = 107;

export function checkRunDir(values: Values, settings: Settings): Problem[] {
  const socket = join(values['run-dir'] ?? '', FILES.handoverSocket);
  const bytes = Buffer.byteLength(socket);
  if (bytes <= SOCKET_PATH_MAX) return [];
  return [
    {
      path: settings.get('run-dir')!.from,
      expected: `a path short enough for the sockets in it, which may have ${SOCKET_PATH_MAX} bytes`,
      got: `${show(socket)} with ${bytes}`,
    },
  ];
}

function checkPublicAddrs(values: Values, settings: Settings): Problem[] {
  return (['public-ip', 'public-ipv6'] as const).flatMap((name) => {
    const a = values[name];
    if (!a || scopeOf(a) === 'global') return [];
    return [
      { path: settings.get(name)!.from, expected: 'an address that peers can send to', got: formatAddr(a) },
    ];
  });
}

function checkKubernetes(values: Values, settings: Settings): Problem[] {
  if (!values['kube-subnet-mgr']) return [];
  const expected = 'false: subnets come from etcd, Kubernetes is not available in this version';
  return [{ path: settings.get('kube-subnet-mgr')!.from, expected, got: 'true' }];
}

/** klog's numbers: 0 and 1 are news for operators, 2 to 4 for debugging, the rest for developers. */
const klogLevel = (v: number): 'info' | 'debug' | 'trace' => (v < 2 ? 'info' : v < 5 ? 'debug' : 'trace');

function notes(settings: Settings, env: Env): string[] {
  const idle = [...settings.values()].flatMap(({ name, origin, from }) => {
    const { ignored }: Option = OPTIONS[name];
    return ignored !== undefined && origin !== 'default' ? [`${from} has no effect: ${ignored}`] : [];
  });
  return [...idle, ...strangeVariables(env).map((name) => `${show(name)} in the environment is no option`)];
}

/** The options of `loden run` from the command line and the environment; throws ConfigError with all problems. */
export function runOptions(flags: Flags, env: Env): RunOptions {
  const { values, settings, problems } = readSources('run', flags, env);
  for (const check of [checkEtcd, checkRunDir, checkPublicAddrs, checkKubernetes])
    problems.push(...check(values, settings));
  if (problems.length > 0) throw new ConfigError('the options of loden run cannot be used', problems);
  const publicAddrs = new Map<Family, Addr>();
  for (const a of [values['public-ip'], values['public-ipv6']]) if (a) publicAddrs.set(a.family, a);
  const port = values['healthz-port'];
  return {
    etcd: etcdOptions(values),
    leaseTtl: values['lease-ttl'],
    uplink: {
      ifaces: values.iface,
      regexes: values['iface-regex'],
      canReach: values['iface-can-reach'],
      publicAddrs,
    },
    ipMasq: values['ip-masq'],
    fullyRandom: !values['ip-masq-fully-random-disable'],
    forwardRules: values['iptables-forward-rules'],
    blackholeRoute: values['ip-blackhole-route'],
    udpThreads: values['udp-threads'],
    subnetFile: values['subnet-file'],
    runDir: values['run-dir'],
    stateDir: values['state-dir'],
    takeover: values.takeover,
    healthz: port === 0 ? undefined : { ip: formatAddr(values['healthz-ip']), port },
    metrics: values['metrics-addr'],
    probeInterval: values['probe-interval'],
    peerCounters: values['peer-counters'],
    log: { level: values['log-level'] ?? klogLevel(values.v), format: values['log-format'] },
    notes: notes(settings, env),
    settings,
  };
}
