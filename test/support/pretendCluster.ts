import { RTT_CLASSES } from '../../src/api/cell.ts';
import type { MatrixJson } from '../../src/api/matrix.ts';
import type {
  LeaseJson,
  LeasesJson,
  LifetimesJson,
  PathJson,
  PeerJson,
  PeersJson,
  StatusJson,
} from '../../src/api/shapes.ts';
import type { Route } from '../../src/daemon/http/route.ts';
import { eventRoutes } from '../../src/daemon/routes/events.ts';
import { type Node, PretendNodes } from './pretendNodes.ts';

/** What the API of one daemon among many nodes answers: what the page has to bear. */
export class PretendCluster extends PretendNodes {
  #lease(node: Node): LeaseJson {
    return {
      key: node.key,
      subnets: [node.subnet],
      publicIP: node.ip,
      publicIPv6: null,
      backend: 'vxlan',
      data: {
        VNI: 1,
        VtepMAC: `0e:00:${node.ip
          .split('.')
          .map((b) => Number(b).toString(16).padStart(2, '0'))
          .join(':')}`,
      },
      dataV6: null,
      node: `${node.ip}`.replaceAll('.', '').padStart(32, 'a'),
      instance: '00000000000000aa',
      reservation: node.reservation,
      etcdLease: node.reservation ? null : '7587869134534234',
      createRevision: '12',
      modRevision: '12',
      self: node === this.all[0],
    };
  }

  #path(node: Node): PathJson {
    const health = node.up ? (node.lost > 0 ? 'lossy' : 'reachable') : 'unreachable';
    return {
      key: node.key,
      family: 4,
      target: node.subnet.replace('/24', ''),
      health,
      at: new Date().toISOString(),
      rtt: node.up ? Math.round(node.rtt * 1000) / 1000 : null,
      leastRtt: node.up ? Math.round(node.rtt * 900) / 1000 : null,
      sent: 20,
      lost: node.up ? node.lost : 20,
      fullSize: node.up ? 'passes' : 'unknown',
      pathMtu: node.up ? 1450 : null,
      routeMtu: null,
      checksum: 'good',
      error: null,
    };
  }

  leases(): LeasesJson {
    return {
      revision: this.revision,
      source: 'daemon',
      leases: this.sorted.map((n) => this.#lease(n)),
      setAside: [],
    };
  }

  /** Half of the nodes that do not answer have not done so for long; of those that came last etcd has not told. */
  lifetimes(): LifetimesJson {
    const granted = this.all.filter((n) => !n.reservation);
    const secondsLeft = (n: Node) =>
      Math.round((n.rate * 1_000) % 20_000) + (n.up || n.rtt < 1 ? 60_000 : 20_000);
    return {
      at: new Date().toISOString(),
      leases: Object.fromEntries(
        granted.map((n, i) => [
          n.key,
          i < granted.length - 5 ? { secondsLeft: secondsLeft(n), ttl: 86_400, age: 3 } : null,
        ]),
      ),
    };
  }

  peers(): PeersJson {
    const peers = this.sorted
      .filter((n) => n !== this.all[0])
      .map((n): PeerJson => {
        const { key, subnets, publicIP, publicIPv6, backend, data, dataV6, node, reservation } =
          this.#lease(n);
        return {
          key,
          subnets,
          publicIP,
          publicIPv6,
          backend: backend!,
          data,
          dataV6,
          node,
          reservation,
          unclaimed: false,
          problem: null,
          paths: [this.#path(n)],
          traffic: {
            outPackets: Math.round(n.outBytes / 1400),
            outBytes: n.outBytes,
            inPackets: Math.round(n.inBytes / 1400),
            inBytes: n.inBytes,
          },
        };
      });
    return { revision: this.revision, at: new Date().toISOString(), peers };
  }

  matrix(): MatrixJson {
    const nodes = this.sorted;
    const at = new Date().toISOString();
    return {
      omitted: 0,
      nodes: nodes.map((from, i) => {
        const self = from === this.all[0];
        if (!from.up && !self)
          return { key: from.key, self, row: null, at: null, error: 'no whole answer within 2 s' };
        let row = '';
        for (let j = 0; j < nodes.length; j++) {
          const to = nodes[j]!;
          if (i === j) row += '-';
          else if (!to.up) row += 'x';
          else if ((i * 31 + j * 17) % 4_001 === 0) row += 'x';
          else if (to.lost > 0 && (i + j) % 3 === 0) row += 'l';
          else if ((i * 7 + j * 13) % 2_503 === 0) row += 'm';
          else {
            const rtt = (from.rtt + to.rtt) / 2;
            const at = RTT_CLASSES.findIndex((bound) => rtt < bound);
            row += String(at < 0 ? RTT_CLASSES.length : at);
          }
        }
        return { key: from.key, self, row, at, error: null };
      }),
    };
  }

  status(): StatusJson {
    const peers = this.all.slice(1);
    const count = (is: (n: Node) => boolean) => peers.filter(is).length;
    const kind = { desired: peers.length, inSync: peers.length, failing: 0 };
    const one = { desired: 1, inSync: 1, failing: 0 };
    const lost = count((n) => !n.up);
    return {
      version: '0.1.0',
      node: '0'.repeat(32),
      instance: this.events.instance,
      pid: 1,
      startedAt: this.startedAt.toISOString(),
      ready: true,
      reason: null,
      lease: {
        state: 'held',
        lease: this.#lease(this.all[0]!),
        secondsLeft: 86_400 - Math.floor((Date.now() - this.startedAt.getTime()) / 1000),
        reason: null,
      },
      network: { IPv4: '10.64.0.0/12', IPv6: null, backend: 'vxlan' },
      uplink: {
        name: 'eth0',
        mtu: 1500,
        addrs: [`${this.all[0]!.ip}/16`],
        publicIP: this.all[0]!.ip,
        publicIPv6: null,
      },
      mtu: 1450,
      subnetFile: '/run/flannel/subnet.env',
      peers: peers.length,
      paths: {
        unprobed: 0,
        reachable: count((n) => n.up && n.lost === 0),
        lossy: count((n) => n.up && n.lost > 0),
        unreachable: lost,
        lowered: 0,
      },
      setAside: 0,
      kernel: {
        revision: this.revision,
        objects: { link: one, sysctl: one, address: one, neigh: kind, fdb: kind, route: kind },
        failing: [],
        conflicts: [],
        repairs: { route: 2 },
        messages: 12,
      },
      forwarder: null,
      cni: { attachments: 0, queued: 0, stale: [], commands: {} },
      store: { connected: true, revision: this.revision, requests: 5, error: null },
      problems: lost > 20 ? [`${lost} peers cannot be reached`] : [],
    };
  }

  /** As routes of the daemon's own server. */
  routes(): Route[] {
    const get = (path: string, value: () => unknown): Route => ({
      method: 'GET',
      path,
      audience: 'anyone',
      handle: () => ({ value: value() }),
    });
    return [
      get('/v1/status', () => this.status()),
      get('/v1/leases', () => this.leases()),
      get('/v1/lifetimes', () => this.lifetimes()),
      get('/v1/peers', () => this.peers()),
      get('/v1/matrix', () => this.matrix()),
      ...eventRoutes({ events: this.events }),
    ];
  }
}
