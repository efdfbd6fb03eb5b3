import { EVENT_KINDS } from '../api/eventKinds.ts';
import { DEFAULTS } from '../contract.ts';
import {
  address,
  boolean,
  CNI_VERSIONS,
  choice,
  endpoints,
  iface,
  integer,
  interval,
  type Kind,
  keyPrefix,
  listenAddress,
  networkName,
  path,
  regex,
  seconds,
  text,
} from './kinds.ts';
import { type Command, type Extra, type Option, one, perhaps, several } from './option.ts';

/**
 * Every option there is, once. From this table come the command line, the names of environment variables, what is
 * secret, `--help` and docs/options.md.
 */

/** Commands that read or change what is in etcd, by the daemon or straight. */
const OF_ETCD = [
  'leases list',
  'leases show',
  'leases reserve',
  'leases release',
  'config show',
  'config set',
] as const satisfies readonly Command[];
const OF_DAEMON = ['status', 'peers', 'events', 'metrics'] as const satisfies readonly Command[];
/** They look at this host, at the daemon if one runs, and at etcd. */
const INSPECT = ['why', 'doctor'] as const satisfies readonly Command[];

const WITH_ETCD: Extra = { commands: ['run', ...OF_ETCD, ...INSPECT] };
const RUN_DIR: Extra = {
  commands: ['run', ...OF_ETCD, ...OF_DAEMON, ...INSPECT, 'cleanup', 'cni install'],
};
const CNI_FILES: Extra = { commands: ['cni install', 'cni uninstall', 'doctor'] };
const KUBERNETES: Extra = { ignored: 'it only has a meaning with --kube-subnet-mgr' };
const KLOG: Extra = { ignored: 'Loden logs to standard error only; see --log-level and --log-format' };

export const OPTIONS = {
  'etcd-endpoints': one(
    'etcd',
    endpoints,
    'http://127.0.0.1:4001,http://127.0.0.1:2379',
    'Where etcd listens.',
    WITH_ETCD,
  ),
  'etcd-prefix': one(
    'etcd',
    keyPrefix,
    DEFAULTS.etcdPrefix,
    'Key under which config and leases are.',
    WITH_ETCD,
  ),
  'etcd-cafile': perhaps('etcd', path, 'PEM file with the CA of etcd; it alone turns TLS on.', WITH_ETCD),
  'etcd-certfile': perhaps('etcd', path, 'PEM file with the client certificate.', WITH_ETCD),
  'etcd-keyfile': perhaps('etcd', path, 'PEM file with the key of the client certificate.', WITH_ETCD),
  'etcd-username': perhaps('etcd', text, 'User of etcd.', WITH_ETCD),
  'etcd-password': perhaps(
    'etcd',
    text,
    'Password of that user. Better in the environment, where ps does not show it.',
    {
      ...WITH_ETCD,
      secret: true,
    },
  ),
  'lease-ttl': one(
    'etcd',
    seconds(2, 10 * 365 * 86_400),
    '24h',
    'Life of the subnet lease once it is no longer kept alive.',
  ),

  iface: several('Uplink', iface, 'Interface for traffic between hosts; the first that fits is taken.', {
    commands: ['run', 'doctor'],
  }),
  'iface-regex': several(
    'Uplink',
    regex,
    'Pattern for addresses or names of interfaces, tried after --iface.',
  ),
  'iface-can-reach': perhaps('Uplink', address(), 'Take the interface that the route to this address uses.'),
  'public-ip': perhaps(
    'Uplink',
    address(4),
    "Address by which peers reach this host, if not the interface's own.",
  ),
  'public-ipv6': perhaps('Uplink', address(6), 'The same for IPv6.'),

  'ip-masq': one('Network', boolean, 'false', 'Masquerade traffic of pods that leaves the overlay.', {
    commands: ['run', 'doctor'],
  }),
  'ip-masq-fully-random-disable': one('Network', boolean, 'false', 'Masquerade without fully random ports.'),
  'iptables-forward-rules': one('Network', boolean, 'true', 'Accept traffic of pods in the FORWARD chain.', {
    commands: ['run', 'doctor'],
  }),
  'ip-blackhole-route': one(
    'Network',
    boolean,
    'false',
    'Drop packets to addresses of our subnet that no pod has.',
  ),
  'udp-threads': one(
    'Network',
    integer(0, 16),
    '0',
    'Threads that forward packets of the udp backend; 0: chosen by the number of CPUs.',
  ),

  'subnet-file': one(
    'Files',
    path,
    DEFAULTS.subnetFile,
    'Where subnet, MTU and masquerading are written for others.',
    { commands: ['run', 'doctor'] },
  ),
  'run-dir': one('Files', path, DEFAULTS.runDir, "Directory of the daemon's socket.", RUN_DIR),
  'state-dir': one('Files', path, DEFAULTS.stateDir, 'Directory of what must outlive a reboot.', {
    commands: ['run', ...INSPECT, 'cleanup', 'cni install'],
  }),
  takeover: one(
    'Files',
    boolean,
    'false',
    'Take the place of the daemon that runs with this --run-dir, if there is one, and lose no packet.',
  ),

  'bin-dir': one('CNI', path, '/opt/cni/bin', 'Where runtimes look for plugins.', CNI_FILES),
  'conf-dir': one(
    'CNI',
    path,
    '/etc/cni/net.d',
    'Where runtimes look for network configurations.',
    CNI_FILES,
  ),
  'network-name': one('CNI', networkName, 'pods', "The network's name in the configuration.", {
    commands: ['cni install'],
  }),
  'cni-version': one(
    'CNI',
    choice(...CNI_VERSIONS),
    '1.0.0',
    'Version of the specification in the configuration; 1.1.0 lets runtimes that know it call GC and STATUS.',
    { commands: ['cni install'] },
  ),
  'metrics-addr': perhaps(
    'Health and logs',
    listenAddress,
    'Where to serve metrics (/metrics), the page (/) and what it reads, e.g. 0.0.0.0:9459 or :9459; read-only, without authentication.',
  ),
  'probe-interval': one(
    'Health and logs',
    interval(100, 86_400_000),
    '10s',
    'Time between two rounds of probes through the tunnel to a sample of the peers; 0: none.',
  ),
  'peer-counters': one('Health and logs', boolean, 'true', 'Count packets and bytes to and from each peer.'),
  'healthz-ip': one('Health and logs', address(), '0.0.0.0', 'Address for /healthz and /readyz.'),
  'healthz-port': one(
    'Health and logs',
    integer(0, 65_535),
    '0',
    'TCP port for /healthz and /readyz; 0: none.',
  ),
  'log-level': perhaps(
    'Health and logs',
    choice('trace', 'debug', 'info', 'warn', 'error', 'fatal'),
    'Least level that is logged; info unless -v says more.',
  ),
  'log-format': one(
    'Health and logs',
    choice('json', 'text'),
    'json',
    'One JSON object or one line of text for each event.',
  ),
  v: one('Health and logs', integer(0, 100), '0', "flanneld's log level: 2 and up is debug, 5 and up trace."),

  json: one('Output', boolean, 'false', 'Print JSON.', {
    commands: [
      ...OF_ETCD,
      'config validate',
      'status',
      'peers',
      'events',
      'metrics',
      ...INSPECT,
      'cleanup',
      'cni install',
      'cni uninstall',
      'version',
    ],
  }),
  color: one(
    'Output',
    choice('auto', 'always', 'never'),
    'auto',
    'Colours; auto: on a terminal, unless NO_COLOR is set.',
    { commands: [...OF_ETCD, 'config validate', 'status', 'peers', 'events', ...INSPECT] },
  ),
  source: one(
    'Output',
    choice('auto', 'daemon', 'etcd'),
    'auto',
    'Whom to ask; auto: the daemon, or etcd where none runs.',
    { commands: OF_ETCD },
  ),
  watch: one('Output', boolean, 'false', 'Go on and show what changes, until interrupted.', {
    commands: ['leases list', 'peers'],
  }),
  since: perhaps(
    'Output',
    text,
    'Only events after this one (its number), since this time (RFC 3339) or this long ago (10m).',
    { commands: ['events'] },
  ),
  kind: several('Output', choice(...EVENT_KINDS), 'Only events of this kind.', { commands: ['events'] }),
  from: perhaps(
    'Output',
    text,
    "Where the packet comes from: a pod's address on this host; else the host itself.",
    {
      commands: ['why'],
    },
  ),
  port: perhaps('Output', text, 'The port asked about, e.g. tcp:443 or udp:53; else an ICMP echo.', {
    commands: ['why'],
  }),
  only: several('Output', text, 'Only this check, by its id (--list).', { commands: ['doctor'] }),
  list: one('Output', boolean, 'false', 'Only tell which checks there are.', { commands: ['doctor'] }),
  root: one('Files', path, '/', "Where this host's file system is seen, from inside a container.", {
    commands: ['doctor'],
  }),
  follow: one('Output', boolean, 'false', 'Go on with what happens from now, until interrupted.', {
    commands: ['events'],
  }),

  node: perhaps('Changes', text, 'Whose it is to be: a node id, the beginning of one, or a PublicIP.', {
    commands: ['leases reserve'],
  }),
  'dry-run': one('Changes', boolean, 'false', 'Only tell what would be changed.', {
    commands: ['config set'],
  }),
  force: one(
    'Changes',
    boolean,
    'false',
    'Do it although there is something against it: leases that would be orphaned (config set); a node that may be alive (leases release); files that are not ours or were changed, a plugin that others name (cni).',
    { commands: ['leases release', 'config set', 'cni install', 'cni uninstall'] },
  ),

  'kube-subnet-mgr': one(
    'Kubernetes',
    boolean,
    'false',
    'Take the subnet from Kubernetes; not available in this version.',
  ),
  'kube-api-url': perhaps('Kubernetes', text, 'URL of the API server.', KUBERNETES),
  'kube-annotation-prefix': one(
    'Kubernetes',
    text,
    'flannel.alpha.coreos.com',
    'Prefix of annotations.',
    KUBERNETES,
  ),
  'kubeconfig-file': perhaps('Kubernetes', path, 'kubeconfig file.', KUBERNETES),
  'net-config-path': one(
    'Kubernetes',
    path,
    '/etc/kube-flannel/net-conf.json',
    'File with the network config.',
    KUBERNETES,
  ),
  'set-node-network-unavailable': one(
    'Kubernetes',
    boolean,
    'true',
    'Set the condition NetworkUnavailable.',
    KUBERNETES,
  ),

  'subnet-lease-renew-margin': one(
    'flanneld',
    integer(1, 1439),
    '60',
    'Minutes before the end of the lease to renew it.',
    {
      ignored: 'the lease is kept alive all the time, not renewed shortly before its end',
    },
  ),
  'iptables-resync': one('flanneld', integer(1, 86_400), '5', 'Seconds between two looks at the rules.', {
    ignored: 'rules are watched and put right at once, not looked at again and again',
  }),
  vmodule: perhaps('flanneld', text, 'Log levels of source files.', KLOG),
  log_backtrace_at: perhaps('flanneld', text, 'Where to log a stack trace.', KLOG),
  logtostderr: one('flanneld', boolean, 'true', 'Log to standard error.', KLOG),
  alsologtostderr: one('flanneld', boolean, 'false', 'Log to standard error as well as to files.', KLOG),
  stderrthreshold: perhaps('flanneld', text, 'Least level that goes to standard error.', KLOG),
  log_dir: perhaps('flanneld', text, 'Directory of log files.', KLOG),
} as const satisfies Readonly<Record<string, Option>>;

export type OptionName = keyof typeof OPTIONS;

type ValueOf<O> = O extends {
  readonly kind: Kind<infer T>;
  readonly many: infer M;
  readonly optional: infer P;
}
  ? M extends true
    ? readonly T[]
    : P extends true
      ? T | undefined
      : T
  : never;

/** The value each option has after parsing. */
export type Values = { readonly [K in OptionName]: ValueOf<(typeof OPTIONS)[K]> };

export const optionNames = Object.keys(OPTIONS) as readonly OptionName[];

/** The options of a command, in the table's order. */
export const optionsOf = (command: Command): readonly OptionName[] =>
  optionNames.filter((name) => (OPTIONS[name].commands as readonly Command[]).includes(command));

export const isOptionName = (name: string): name is OptionName => Object.hasOwn(OPTIONS, name);

/** `FLANNELD_ETCD_PREFIX` for `etcd-prefix`. */
export const envName = (name: OptionName): string => `FLANNELD_${name.replaceAll('-', '_').toUpperCase()}`;

/**
 * May the environment set it? What `run` takes, for every command that takes it too. Names of others are too plain: FLANNELD_PORT is what Kubernetes sets
 * for a Service called flanneld, and a FLANNELD_FORCE that was left behind would be a trap.
 */
export const hasEnvName = (name: OptionName): boolean => (OPTIONS[name] as Option).commands.includes('run');
