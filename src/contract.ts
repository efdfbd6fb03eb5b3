/**
 * The facts that several parts of Loden, its tests and other programs share. Each stands here once;
 * docs/contracts.md explains them in words. This module imports nothing.
 */

/** Version reported by `loden version`, `/v1/status` and the build-info metric. Kept equal to package.json by a test. */
export const VERSION = '0.1.0';

/** `rtm_protocol` of every route Loden owns (linux/rtnetlink.h leaves 4..255 to user space; 76 is unused in rt_protos). */
export const ROUTE_PROTOCOL = 76;

/**
 * `rtm_protocol` of pods' routes, on the host and in their namespaces. Not {@link ROUTE_PROTOCOL}: what has that one and does not follow from
 * leases is removed.
 */
export const POD_ROUTE_PROTOCOL = 77;

/** `rtm_protocol` of routes written by flanneld (RTPROT_BOOT): adopted, never assumed ours elsewhere. */
export const RTPROT_BOOT = 3;

/** IFLA_IFALIAS set on links Loden made or adopted: the mark of ownership. */
export const LINK_ALIAS = 'loden';

/** The nft table that holds masquerading, one for each family (`ip`, `ip6`). */
export const NFT_TABLE = 'loden';

/** The nft table of family `netdev` that counts packets to and from peers while somebody asks for it. */
export const NFT_COUNTERS = 'loden-peers';

/** The comment that marks Loden's rules in `filter FORWARD`. */
export const FORWARD_COMMENT = 'loden forward';

/** Set by other overlays and kube-proxy on packets that must not be masqueraded again. */
export const NO_MASQ_MARK = 0x4000;

/** The udp backend's TUN device, as flannel names it. */
export const TUN_DEVICE = 'flannel0';

/** IFLA_TXQLEN of that device, packets: what waits in each of its queues while nobody forwards, e.g. during a restart. */
export const TUN_QUEUE = 8192;

/** UDP port of the udp backend, flannel's default. */
export const UDP_PORT = 8285;

export const DEFAULTS = {
  etcdPrefix: '/coreos.com/network',
  runDir: '/run/loden',
  stateDir: '/var/lib/loden',
  subnetFile: '/run/flannel/subnet.env',
  /** Seconds. */
  leaseTtl: 86_400,
} as const;

/** Files inside `--run-dir` and `--state-dir`. */
export const FILES = {
  /** HTTP/1.1 over a Unix socket, `/v1/…`; mode 0660. */
  controlSocket: 'loden.sock',
  /** SEQPACKET, passes descriptors (udp backend). */
  handoverSocket: 'handover.sock',
  /** The forwarder's counters (udp backend), mapped by it and by whoever reads them; native/core/stats.h. */
  forwarderStats: 'forwarder.stats',
  /** What the forwarder does (udp backend), so that a daemon that starts forwards at once; mode 0600. */
  forwarderTable: 'forwarder.table',
  /** JSON, the devices whose tx checksum offload the daemon has turned off, 0600. */
  offload: 'offload.json',
  /** flock'ed by the running daemon. */
  stateLock: 'lock',
  /** JSON `{ "node": "<id>" }`, 0600. */
  nodeId: 'node.json',
  /** JSON, the last lease held and adopted MACs, 0600. */
  lastState: 'last.json',
} as const;

/** Between the CNI plugin and the daemon, and what both have on disk. docs/cni.md explains it. */
export const CNI = {
  /** The one resource the plugin speaks to on the control socket; POST, JSON both ways. */
  resource: '/v1/cni',
  /** Content type of an answer that names delegates to be run, instead of what the runtime is to get. */
  delegates: 'application/vnd.loden.delegates+json',
  /** Header of an answer whose text the plugin prints on standard error. */
  warning: 'x-loden-warning',
  /** Names the plugin binary may have; both do the same, the second for existing configurations. */
  names: ['loden', 'flannel'],
  /** Bytes of the configuration on standard input, and of all of the environment. */
  largestConfig: 1 << 20,
  /** Bytes of a request: the configuration, escaped at worst six times as long, and a delegate's result beside it. */
  largestRequest: 16 << 20,
  /** Milliseconds the plugin waits for an answer. */
  timeout: 30_000,
  /** host-local's default store, `ipam.dataDir`. */
  dataDir: '/var/lib/cni/networks',
  /** Where flannel's plugin keeps the delegate's configuration, `dataDir`. */
  flannelDataDir: '/var/lib/cni/flannel',
  /** Below the state directory: DELs that came while no daemon ran, one file each; `delQueue` in the config. */
  delQueue: 'cni/del',
  /** Below the state directory: one file for each attachment. */
  attachments: 'cni/attachments',
  /** Below the state directory: files that are used again. */
  spares: 'cni/spares',
  bridge: 'cni0',
} as const;

/** Relative to the etcd prefix. */
export const KEYS = {
  config: 'config',
  subnets: 'subnets',
  /** `<prefix>/loden/challenge/<node id>`: see docs/contracts.md, "A cloned state directory". */
  challenge: 'loden/challenge',
} as const;

/** The one extra, last key in a lease value; readers that do not know it ignore it. */
export const NODE_FIELD = 'Loden';

/** sysexits.h numbers where one fits. */
export const EXIT = {
  ok: 0,
  /** A command failed at run time. */
  failure: 1,
  /** EX_USAGE: unknown option or command. */
  usage: 64,
  /** EX_UNAVAILABLE: no daemon answers at `--run-dir`, or etcd does not answer a one-shot command. */
  unavailable: 69,
  /** EX_SOFTWARE: an invariant was broken; a bug. */
  software: 70,
  /** EX_TEMPFAIL: another daemon serves this network on this host. */
  busy: 75,
  /** EX_CONFIG: options, files or the network config are wrong. */
  config: 78,
} as const;

/** Netlink messages in one chunk: more hold the kernel's RTNL lock too long (measured: 500 blocked 205 ms). */
export const NETLINK_CHUNK = 64;

/** Milliseconds; what the reconciler waits after a kernel notification before it looks. */
export const RECONCILE_DEBOUNCE = 50;
/** Milliseconds between two full audits of the kernel. */
export const AUDIT_INTERVAL = 600_000;

/** Milliseconds; deadline of every unary etcd request. */
export const STORE_DEADLINE = 5_000;

export const HEALTH = {
  alive: 'flanneld is running',
  ready: 'flanneld is ready',
  notReady: 'flanneld is not ready yet',
} as const;
