import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { addr, formatAddr } from '../../src/net/addr.ts';
import { mac } from '../../src/net/mac.ts';
import type { Request } from '../../src/netlink/message.ts';
import * as rtnl from '../../src/netlink/rtnl.ts';
import type { NetlinkSocket } from '../../src/netlink/socket.ts';
import { ifindexOf, netlinkIn } from '../support/netlinkIn.ts';
import { Netns } from '../support/netns.ts';
import { thisProcess } from '../support/owner.ts';

/**
 * What we write is read back by iproute2, and what iproute2 writes is read by us: two implementations of one wire
 * format that know nothing of each other.
 */
let netns: Netns;
let nl: NetlinkSocket;
let uplink: number;

beforeAll(async () => {
  netns = await Netns.create(thisProcess(), 'netlink');
  nl = netlinkIn(netns);
  await netns.ip('link add uplink type veth peer name far');
  await netns.ip('addr add 192.0.2.1/24 dev uplink');
  await netns.ip('addr add 2001:db8::1/64 dev uplink');
  await netns.ip('link set uplink up');
  await netns.ip('link set far up');
  uplink = await ifindexOf(nl, 'uplink');
});
afterAll(async () => {
  nl?.close();
  await netns?.[Symbol.asyncDispose]();
});

/** All of it must be carried out. */
async function done(...requests: Request[]): Promise<void> {
  const outcomes = await nl.transact(requests);
  expect(outcomes).toEqual(requests.map(() => undefined));
}

/** A VXLAN device of its own for one test. */
async function vxlan(name: string, vni: number): Promise<number> {
  await netns.ip(`link add ${name} type vxlan id ${vni} dstport 8472 local 192.0.2.1 dev uplink nolearning`);
  await netns.ip(`link set ${name} up`);
  return ifindexOf(nl, name);
}

describe('we write, iproute2 reads', () => {
  test('a VXLAN link with all its attributes', async () => {
    await done(
      rtnl.link.create(
        { ifi_flags: rtnl.IFF_UP, ifi_change: rtnl.IFF_UP },
        {
          IFLA_IFNAME: 'w-vxlan4',
          IFLA_ADDRESS: mac('02:11:22:33:44:55'),
          IFLA_MTU: 1430,
          IFLA_TXQLEN: 77,
          IFLA_LINKINFO: {
            kind: 'vxlan',
            vxlan: {
              IFLA_VXLAN_ID: 16_777_215,
              IFLA_VXLAN_LINK: uplink,
              IFLA_VXLAN_LOCAL: addr('192.0.2.1'),
              IFLA_VXLAN_TTL: 63,
              IFLA_VXLAN_TOS: 4,
              IFLA_VXLAN_LEARNING: 0,
              IFLA_VXLAN_AGEING: 123,
              IFLA_VXLAN_LIMIT: 4567,
              IFLA_VXLAN_PORT_RANGE: { low: 30_000, high: 40_000 },
              IFLA_VXLAN_PROXY: 1,
              IFLA_VXLAN_RSC: 1,
              IFLA_VXLAN_L2MISS: 1,
              IFLA_VXLAN_L3MISS: 1,
              IFLA_VXLAN_PORT: 8473,
              IFLA_VXLAN_UDP_CSUM: 0,
              IFLA_VXLAN_GBP: true,
              IFLA_VXLAN_DF: 1,
            },
          },
        },
      ),
      rtnl.link.change(
        {},
        {
          IFLA_IFNAME: 'w-vxlan4',
          IFLA_IFALIAS: 'loden',
          IFLA_AF_SPEC: { AF_INET6: { IFLA_INET6_ADDR_GEN_MODE: rtnl.IN6_ADDR_GEN_MODE_NONE } },
        },
      ),
    );
    const [link] = await netns.ipJson('link show w-vxlan4');
    expect(link).toMatchObject({
      ifname: 'w-vxlan4',
      address: '02:11:22:33:44:55',
      mtu: 1430,
      txqlen: 77,
      ifalias: 'loden',
      flags: expect.arrayContaining(['UP']),
      inet6_addr_gen_mode: 'none',
      linkinfo: {
        info_kind: 'vxlan',
        info_data: {
          id: 16_777_215,
          link: 'uplink',
          local: '192.0.2.1',
          ttl: 63,
          tos: '0x4',
          learning: false,
          ageing: 123,
          limit: 4567,
          port_range: { low: 30_000, high: 40_000 },
          proxy: true,
          rsc: true,
          l2miss: true,
          l3miss: true,
          port: 8473,
          udp_csum: false,
          gbp: true,
          df: 'set',
        },
      },
    });
  });

  test('a VXLAN link over IPv6, with learning', async () => {
    await done(
      rtnl.link.create(
        {},
        {
          IFLA_IFNAME: 'w-vxlan6',
          IFLA_LINKINFO: {
            kind: 'vxlan',
            vxlan: {
              IFLA_VXLAN_ID: 3,
              IFLA_VXLAN_LINK: uplink,
              IFLA_VXLAN_LOCAL6: addr('2001:db8::1'),
              IFLA_VXLAN_PORT: 8472,
              IFLA_VXLAN_UDP_ZERO_CSUM6_TX: 1,
              IFLA_VXLAN_UDP_ZERO_CSUM6_RX: 1,
            },
          },
        },
      ),
    );
    const [link] = await netns.ipJson<{ linkinfo: { info_data: object } }[]>('link show w-vxlan6');
    expect(link!.linkinfo.info_data).not.toHaveProperty('gbp');
    expect(link).toMatchObject({
      linkinfo: {
        info_data: {
          id: 3,
          local6: '2001:db8::1',
          learning: true,
          udp_zero_csum6_tx: true,
          udp_zero_csum6_rx: true,
        },
      },
    });
  });

  test('a veth pair and a bridge', async () => {
    await done(
      rtnl.link.create(
        {},
        { IFLA_IFNAME: 'w-br', IFLA_LINKINFO: { kind: 'bridge', bridge: { IFLA_BR_STP_STATE: 1 } } },
      ),
      rtnl.link.create(
        {},
        {
          IFLA_IFNAME: 'w-veth',
          IFLA_LINKINFO: {
            kind: 'veth',
            veth: {
              VETH_INFO_PEER: {
                header: {},
                attributes: { IFLA_IFNAME: 'w-peer', IFLA_MTU: 1400, IFLA_ADDRESS: mac('02:00:00:00:00:99') },
              },
            },
          },
        },
      ),
    );
    await done(rtnl.link.change({}, { IFLA_IFNAME: 'w-veth', IFLA_MASTER: await ifindexOf(nl, 'w-br') }));
    expect((await netns.ipJson('link show w-peer'))[0]).toMatchObject({
      address: '02:00:00:00:00:99',
      mtu: 1400,
      link: 'w-veth',
    });
    expect((await netns.ipJson('link show w-veth'))[0]).toMatchObject({ master: 'w-br' });
    expect((await netns.ipJson('link show w-br'))[0]).toMatchObject({
      linkinfo: { info_data: { stp_state: 1 } },
    });
  });

  test('addresses', async () => {
    const dev = await vxlan('w-addr', 11);
    await done(
      rtnl.address.put(
        { ifa_family: rtnl.AF_INET, ifa_prefixlen: 32, ifa_index: dev },
        { IFA_LOCAL: addr('10.5.0.0'), IFA_ADDRESS: addr('10.5.0.0') },
      ),
      rtnl.address.put(
        { ifa_family: rtnl.AF_INET6, ifa_prefixlen: 128, ifa_index: dev },
        { IFA_ADDRESS: addr('fd00:5::'), IFA_FLAGS: rtnl.IFA_F_NODAD | rtnl.IFA_F_NOPREFIXROUTE },
      ),
    );
    const [link] = await netns.ipJson<{ addr_info: unknown[] }[]>('addr show w-addr');
    expect(link!.addr_info).toEqual(
      expect.arrayContaining([
        expect.objectContaining({ family: 'inet', local: '10.5.0.0', prefixlen: 32, scope: 'global' }),
        expect.objectContaining({
          family: 'inet6',
          local: 'fd00:5::',
          prefixlen: 128,
          nodad: true,
          noprefixroute: true,
        }),
      ]),
    );
  });

  test('neighbours and FDB entries', async () => {
    const dev = await vxlan('w-neigh', 12);
    const own = { ndm_ifindex: dev, ndm_state: rtnl.NUD_PERMANENT };
    const to = { NDA_LLADDR: mac('02:00:00:00:00:07') };
    await done(
      rtnl.neigh.put({ ...own, ndm_family: rtnl.AF_INET }, { ...to, NDA_DST: addr('10.5.7.0') }),
      rtnl.neigh.put({ ...own, ndm_family: rtnl.AF_INET6 }, { ...to, NDA_DST: addr('fd00:7::') }),
      rtnl.neigh.put(
        { ...own, ndm_family: rtnl.AF_BRIDGE, ndm_flags: rtnl.NTF_SELF },
        { ...to, NDA_DST: addr('192.0.2.7') },
      ),
    );
    const lladdr = '02:00:00:00:00:07';
    expect(await netns.ipJson('-4 neigh show dev w-neigh')).toEqual([
      { dst: '10.5.7.0', lladdr, state: ['PERMANENT'] },
    ]);
    expect(await netns.ipJson('-6 neigh show dev w-neigh')).toEqual([
      { dst: 'fd00:7::', lladdr, state: ['PERMANENT'] },
    ]);
    const fdb = () => netns.bridgeJson('fdb show dev w-neigh');
    expect(await fdb()).toEqual([
      expect.objectContaining({ mac: lladdr, dst: '192.0.2.7', flags: ['self'], state: 'permanent' }),
    ]);
    // A peer that moved: put again, the old destination is gone.
    await done(
      rtnl.neigh.put(
        { ...own, ndm_family: rtnl.AF_BRIDGE, ndm_flags: rtnl.NTF_SELF },
        { ...to, NDA_DST: addr('192.0.2.8') },
      ),
    );
    expect(await fdb()).toEqual([expect.objectContaining({ mac: lladdr, dst: '192.0.2.8' })]);
    await done(
      rtnl.neigh.remove({ ndm_ifindex: dev, ndm_family: rtnl.AF_BRIDGE, ndm_flags: rtnl.NTF_SELF }, to),
      rtnl.neigh.remove({ ndm_ifindex: dev, ndm_family: rtnl.AF_INET }, { NDA_DST: addr('10.5.7.0') }),
    );
    expect(await fdb()).toEqual([]);
    expect(await netns.ipJson('-4 neigh show dev w-neigh')).toEqual([]);
  });

  test('onlink routes, blackholes and metrics in both families', async () => {
    const dev = await vxlan('w-route', 13);
    const own = { rtm_table: rtnl.RT_TABLE_MAIN, rtm_protocol: 76, rtm_type: rtnl.RTN_UNICAST };
    await done(
      rtnl.route.create(
        { ...own, rtm_family: rtnl.AF_INET, rtm_dst_len: 24, rtm_flags: rtnl.RTNH_F_ONLINK },
        {
          RTA_DST: addr('10.5.7.0'),
          RTA_GATEWAY: addr('10.5.7.0'),
          RTA_OIF: dev,
          RTA_METRICS: { RTAX_MTU: 1400 },
        },
      ),
      rtnl.route.create(
        { ...own, rtm_family: rtnl.AF_INET6, rtm_dst_len: 64, rtm_flags: rtnl.RTNH_F_ONLINK },
        { RTA_DST: addr('fd00:7::'), RTA_GATEWAY: addr('fd00:7::'), RTA_OIF: dev, RTA_PRIORITY: 42 },
      ),
      rtnl.route.create(
        { ...own, rtm_family: rtnl.AF_INET, rtm_dst_len: 16, rtm_type: rtnl.RTN_BLACKHOLE },
        { RTA_DST: addr('10.5.0.0') },
      ),
      rtnl.route.create(
        { ...own, rtm_family: rtnl.AF_INET, rtm_dst_len: 24 },
        { RTA_DST: addr('10.6.7.0'), RTA_GATEWAY: addr('192.0.2.7') },
      ),
    );
    expect(await netns.ipJson('route show proto 76')).toEqual([
      expect.objectContaining({ type: 'blackhole', dst: '10.5.0.0/16' }),
      expect.objectContaining({
        dst: '10.5.7.0/24',
        gateway: '10.5.7.0',
        dev: 'w-route',
        flags: ['onlink'],
        metrics: [{ mtu: 1400 }],
      }),
      expect.objectContaining({ dst: '10.6.7.0/24', gateway: '192.0.2.7', dev: 'uplink', flags: [] }),
    ]);
    expect(await netns.ipJson('-6 route show proto 76')).toEqual([
      expect.objectContaining({
        dst: 'fd00:7::/64',
        gateway: 'fd00:7::',
        dev: 'w-route',
        metric: 42,
        flags: ['onlink'],
      }),
    ]);
  });
});

describe('iproute2 writes, we read', () => {
  const linkNamed = (name: string) => nl.get(rtnl.link.get({}, { IFLA_IFNAME: name }));

  test('links of the kinds we know and of others', async () => {
    await netns.ip('link add r-br type bridge stp_state 1 forward_delay 500');
    await netns.ip(
      'link add r-vx type vxlan id 21 dstport 4789 local 2001:db8::1 dev uplink learning ageing 9 gbp',
    );
    await netns.ip('link set r-vx address 02:aa:bb:cc:dd:ee alias flannel mtu 1400');
    await netns.ip('tuntap add r-tun mode tun multi_queue');
    expect((await linkNamed('r-br'))!.attributes.IFLA_LINKINFO).toMatchObject({
      kind: 'bridge',
      bridge: { IFLA_BR_STP_STATE: 1, IFLA_BR_FORWARD_DELAY: 500 },
    });
    expect((await linkNamed('r-vx'))!.attributes).toMatchObject({
      IFLA_IFNAME: 'r-vx',
      IFLA_ADDRESS: '02:aa:bb:cc:dd:ee',
      IFLA_IFALIAS: 'flannel',
      IFLA_MTU: 1400,
      IFLA_LINKINFO: {
        kind: 'vxlan',
        vxlan: {
          IFLA_VXLAN_ID: 21,
          IFLA_VXLAN_PORT: 4789,
          IFLA_VXLAN_LOCAL6: addr('2001:db8::1'),
          IFLA_VXLAN_LINK: uplink,
          IFLA_VXLAN_LEARNING: 1,
          IFLA_VXLAN_AGEING: 9,
          IFLA_VXLAN_GBP: true,
        },
      },
    });
    const tun = await linkNamed('r-tun');
    expect(tun!.attributes.IFLA_LINKINFO).toMatchObject({
      kind: 'tun',
      tun: { IFLA_TUN_TYPE: 1, IFLA_TUN_MULTI_QUEUE: 1, IFLA_TUN_PERSIST: 1 },
    });
    expect(tun!.attributes.IFLA_ADDRESS).toBeUndefined();
    expect((await linkNamed('lo'))!.header).toMatchObject({ ifi_index: 1, ifi_type: 772 });
    expect(await linkNamed('r-none')).toBeUndefined();

    const dumped = await nl.dump(
      rtnl.link.dump({}, { IFLA_EXT_MASK: rtnl.RTEXT_FILTER_SKIP_STATS }),
      (m) => m.attributes.IFLA_IFNAME,
    );
    const shown = await netns.ipJson<{ ifname: string }[]>('link show');
    expect(dumped.toSorted()).toEqual(shown.map((l) => l.ifname).toSorted());
  });

  test('addresses', async () => {
    await netns.ip('link add r-addr type bridge');
    const dev = await ifindexOf(nl, 'r-addr');
    await netns.ip('addr add 10.9.0.1/24 brd + dev r-addr label r-addr:x');
    await netns.ip('addr add 10.9.1.1 peer 10.9.1.2/32 dev r-addr');
    await netns.ip('addr add fd09::1/64 dev r-addr nodad valid_lft 1000 preferred_lft 900');
    const found = await nl.dump(rtnl.address.dump({ ifa_index: dev }));
    expect(found.map((m) => [m.header.ifa_family, m.header.ifa_prefixlen, m.attributes])).toEqual([
      [
        rtnl.AF_INET,
        24,
        expect.objectContaining({
          IFA_ADDRESS: addr('10.9.0.1'),
          IFA_LOCAL: addr('10.9.0.1'),
          IFA_BROADCAST: addr('10.9.0.255'),
          IFA_LABEL: 'r-addr:x',
        }),
      ],
      [
        rtnl.AF_INET,
        32,
        expect.objectContaining({ IFA_ADDRESS: addr('10.9.1.2'), IFA_LOCAL: addr('10.9.1.1') }),
      ],
      [
        rtnl.AF_INET6,
        64,
        expect.objectContaining({
          IFA_ADDRESS: addr('fd09::1'),
          IFA_CACHEINFO: expect.objectContaining({ ifa_prefered: 900, ifa_valid: 1000 }),
        }),
      ],
    ]);
    expect(found[2]!.attributes.IFA_FLAGS! & rtnl.IFA_F_NODAD).not.toBe(0);
  });

  test('neighbours and FDB entries', async () => {
    const dev = await vxlan('r-neigh', 31);
    await netns.ip('neigh add 10.9.7.0 lladdr 02:00:00:00:09:07 dev r-neigh nud permanent');
    await netns.ip('neigh add fd09:7:: lladdr 02:00:00:00:09:06 dev r-neigh nud permanent');
    await netns.run([
      'bridge',
      'fdb',
      'append',
      '02:00:00:00:09:07',
      'dev',
      'r-neigh',
      'dst',
      '192.0.2.9',
      'self',
    ]);
    const neighbours = (family: number) =>
      nl.dump(rtnl.neigh.dump({ ndm_family: family }, { NDA_IFINDEX: dev }), (m) =>
        m.header.ndm_state & rtnl.NUD_PERMANENT
          ? `${formatAddr(m.attributes.NDA_DST!)} ${m.attributes.NDA_LLADDR} ${m.header.ndm_ifindex === dev}`
          : undefined,
      );
    expect(await neighbours(rtnl.AF_INET)).toEqual(['10.9.7.0 02:00:00:00:09:07 true']);
    expect(await neighbours(rtnl.AF_INET6)).toEqual(['fd09:7:: 02:00:00:00:09:06 true']);
    const fdb = await nl.dump(rtnl.neigh.dump({ ndm_family: rtnl.AF_BRIDGE, ndm_ifindex: dev }));
    expect(fdb).toEqual([
      expect.objectContaining({
        header: expect.objectContaining({
          ndm_family: rtnl.AF_BRIDGE,
          ndm_ifindex: dev,
          // What bridge(8) writes if it is not told a state.
          ndm_state: rtnl.NUD_PERMANENT | rtnl.NUD_NOARP,
          ndm_flags: rtnl.NTF_SELF,
        }),
        attributes: expect.objectContaining({
          NDA_LLADDR: '02:00:00:00:09:07',
          NDA_DST: addr('192.0.2.9'),
        }),
      }),
    ]);
  });

  test('routes of every shape', async () => {
    const dev = await vxlan('r-route', 32);
    const peer = await vxlan('r-route2', 33);
    await netns.ip('addr add 10.8.0.0/32 dev r-route');
    for (const route of [
      'add 10.8.7.0/24 via 10.8.7.0 dev r-route onlink proto 77 mtu lock 1300 metric 5',
      'add blackhole 10.8.0.0/16 proto 77',
      'add 10.8.9.0/24 proto 77 nexthop via 192.0.2.8 dev uplink weight 2 nexthop via 192.0.2.9 dev uplink',
      'add 10.8.10.0/24 proto 77 via inet6 fe80::7 dev r-route',
      'add 10.8.11.0/24 dev r-route proto 77 src 10.8.0.0 table 1000',
    ]) {
      await netns.ip(`route ${route}`);
    }
    await netns.ip('-6 route add fd08:7::/64 via fd08:7:: dev r-route onlink proto 77 expires 600');
    await netns.ip('nexthop add id 9 via 192.0.2.9 dev uplink');
    await netns.ip('route add 10.8.12.0/24 nhid 9 proto 77');
    const read = (rtm_family: number, filter: Partial<rtnl.Rtm> = {}) =>
      nl.dump(rtnl.route.dump({ rtm_family, rtm_protocol: 77, ...filter }));
    const v4 = await read(rtnl.AF_INET);
    const of = (text: string) =>
      v4.find((m) => m.attributes.RTA_DST && formatAddr(m.attributes.RTA_DST) === text)!;
    expect(v4.length).toBe(6);
    expect(of('10.8.7.0')).toMatchObject({
      header: {
        rtm_dst_len: 24,
        rtm_table: rtnl.RT_TABLE_MAIN,
        rtm_protocol: 77,
        rtm_type: rtnl.RTN_UNICAST,
        rtm_flags: rtnl.RTNH_F_ONLINK,
      },
      attributes: {
        RTA_GATEWAY: addr('10.8.7.0'),
        RTA_OIF: dev,
        RTA_PRIORITY: 5,
        RTA_METRICS: { RTAX_MTU: 1300, RTAX_LOCK: 1 << 2 },
      },
    });
    expect(of('10.8.0.0').header).toMatchObject({ rtm_dst_len: 16, rtm_type: rtnl.RTN_BLACKHOLE });
    expect(of('10.8.9.0').attributes.RTA_MULTIPATH).toHaveLength(32);
    expect(of('10.8.9.0').attributes.RTA_OIF).toBeUndefined();
    expect(of('10.8.10.0').attributes).toMatchObject({ RTA_VIA: addr('fe80::7'), RTA_OIF: dev });
    expect(of('10.8.11.0')).toMatchObject({ attributes: { RTA_TABLE: 1000, RTA_PREFSRC: addr('10.8.0.0') } });
    expect(of('10.8.12.0').attributes.RTA_NH_ID).toBe(9);
    expect(await read(rtnl.AF_INET6)).toEqual([
      expect.objectContaining({
        header: expect.objectContaining({ rtm_dst_len: 64, rtm_flags: rtnl.RTNH_F_ONLINK }),
        attributes: expect.objectContaining({ RTA_DST: addr('fd08:7::'), RTA_GATEWAY: addr('fd08:7::') }),
      }),
    ]);
    // The kernel filters, so that a foreign table of a million routes is not read.
    expect((await read(rtnl.AF_INET, { rtm_type: rtnl.RTN_BLACKHOLE })).length).toBe(1);
    const onPeer = rtnl.route.dump({ rtm_family: rtnl.AF_INET, rtm_protocol: 77 }, { RTA_OIF: peer });
    expect(await nl.dump(onPeer)).toEqual([]);
  });

  test('a route lookup', async () => {
    const found = await nl.get(
      rtnl.route.get({ rtm_family: rtnl.AF_INET, rtm_dst_len: 32 }, { RTA_DST: addr('192.0.2.200') }),
    );
    expect(found!.attributes).toMatchObject({ RTA_OIF: uplink, RTA_PREFSRC: addr('192.0.2.1') });
  });
});
