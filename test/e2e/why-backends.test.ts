import { expect, test } from 'vitest';
import { CUT_OFF, type Fault, held, nft, Stage, UNPLUGGED } from '../support/whyStage.ts';

/** `loden why` where packets take another way than through a VXLAN device. */

const DIRECT: readonly Fault[] = [
  held(
    'a route deleted',
    'route',
    /route to 10\.42\.2\.0\/24 was removed by somebody/,
    () => 'ip route del 10.42.2.0/24',
    { pod: true },
  ),
  nft(
    'a chain that drops by address',
    'firewall',
    /ip daddr 10\.42\.0\.0\/16 drop/,
    () => 'chain f { type filter hook forward priority 5; ip daddr 10.42.0.0/16 drop; }',
    { pod: true },
  ),
  UNPLUGGED,
  CUT_OFF,
  {
    name: 'a daemon that hangs: etcd is asked',
    hop: undefined,
    says: /whole: it answers/,
    inject: async ({ host }) => {
      host.daemon.kill('SIGSTOP');
      return async () => host.daemon.kill('SIGCONT');
    },
  },
];

const IN_USER_SPACE: readonly Fault[] = [
  held(
    'the route deleted',
    'route',
    /route to 10\.42\.0\.0\/16 was removed by somebody/,
    () => 'ip route del 10.42.0.0/16',
  ),
  held(
    'the tunnel device down',
    'tunnel',
    /tunnel device flannel0 is down/,
    () => 'ip link set flannel0 down',
    { pod: true },
  ),
  nft(
    'its port dropped on its way out',
    'tunnel port',
    /outgoing packets at the output hook.*udp dport 8285 drop/,
    () => 'chain o { type filter hook output priority 0; udp dport 8285 drop; }',
  ),
  {
    name: "the peer's daemon gone",
    hop: 'remote',
    says: /UDP port 8285 is blocked between the hosts or on that node, its daemon/,
    inject: async ({ peer }) => {
      await peer.stop('SIGKILL');
      return () => peer.start();
    },
  },
  {
    name: 'our own daemon gone',
    hop: 'forwarder',
    says: /no daemon runs here, and the udp backend forwards in the daemon/,
    inject: async ({ host }) => {
      await host.stop('SIGKILL');
      return () => host.start();
    },
  },
];

test.concurrent.each([
  ['host-gw', DIRECT],
  ['udp', IN_USER_SPACE],
] as const)('%s: a healthy path, and a fault of each kind', async (backend, faults) => {
  await using stage = await Stage.create(backend, [4], 2);
  const { hops } = await stage.expectWhole();
  expect(hops.filter((h) => h.state !== 'ok')).toEqual([]);
  for (const fault of faults) {
    const args = ['--etcd-endpoints', stage.cluster.etcd.endpoint()];
    await stage.expectFault({ ...fault, args });
  }
});
