import { describe, expect, test } from 'vitest';
import { NETLINK_CHUNK } from '../../src/contract.ts';
import { KernelError, NativeError } from '../../src/errors.ts';
import type { NativeNetlink } from '../../src/native/addon.ts';
import { addr } from '../../src/net/addr.ts';
import { NLM_F_DUMP_INTR, NLM_F_MULTI } from '../../src/netlink/header.ts';
import type { Request } from '../../src/netlink/message.ts';
import { changeOf } from '../../src/netlink/monitor.ts';
import * as rtnl from '../../src/netlink/rtnl.ts';
import { NetlinkSocket } from '../../src/netlink/socket.ts';
import { NetlinkFormatError } from '../../src/netlink/wire.ts';
import { concat, doneReply, errorReply, objectReply, sentMessages } from '../support/netlinkReply.ts';

type Reply = { data: Uint8Array; overrun: boolean };

/** A kernel that is a function: from what was sent, and how often something was sent before, to the reply. */
function socket(answer: (bytes: Uint8Array, lastSeq: number, call: number) => Reply | Uint8Array) {
  let calls = 0;
  const native: NativeNetlink = {
    portId: 4711,
    close() {},
    sysctls: async () => [],
    async exchange(bytes, lastSeq) {
      const reply = answer(bytes.slice(), lastSeq, calls++);
      return reply instanceof Uint8Array ? { data: reply, overrun: false } : reply;
    },
  };
  return new NetlinkSocket(native);
}

const put = (): Request => rtnl.neigh.put({ ndm_ifindex: 1 }, {});
const entry = (seq: number, ifindex: number, flags = NLM_F_MULTI) =>
  objectReply(rtnl.neighShape, seq, {
    type: rtnl.RTM_NEWNEIGH,
    flags,
    header: { ndm_ifindex: ifindex },
    attributes: {},
  });
const dump = rtnl.neigh.dump({ ndm_family: rtnl.AF_INET });

describe('transact', () => {
  test('tells what became of each message, over several chunks', async () => {
    const nl = socket((bytes, lastSeq) => {
      const refused = sentMessages(bytes).filter((m) => m.seq % 50 === 0);
      return concat(
        ...refused.map((m) => errorReply(m.seq, 17)),
        ...(lastSeq % 50 === 0 ? [] : [errorReply(lastSeq, 0)]),
      );
    });
    const outcomes = await nl.transact(Array.from({ length: 130 }, put));
    expect(outcomes.length).toBe(130);
    expect(outcomes.flatMap((o, i) => (o ? [i + 1] : []))).toEqual([50, 100]);
    expect(nl.counters).toMatchObject({ messages: 130, refused: 2, overruns: 0 });
  });

  test('goes on after an overrun, with the outcome of that chunk unknown', async () => {
    const nl = socket((_, lastSeq, call) => ({
      data: call === 0 ? new Uint8Array() : errorReply(lastSeq, 0),
      overrun: call === 0,
    }));
    const outcomes = await nl.transact(Array.from({ length: NETLINK_CHUNK + 1 }, put));
    expect(outcomes.slice(0, NETLINK_CHUNK).every((o) => o?.outcome === 'unknown')).toBe(true);
    expect(outcomes[NETLINK_CHUNK]).toBeUndefined();
    expect(nl.counters).toMatchObject({ refused: 0, overruns: 1 });
  });

  test('a failing socket is a NativeError that asks for a resync', async () => {
    const nl = socket(() => {
      throw Object.assign(new Error('netlink exchange: sendto: EPERM'), { code: 'EPERM' });
    });
    const failed = await nl.transact([put()]).catch((e: unknown) => e);
    expect(failed).toBeInstanceOf(NativeError);
    expect(failed).toMatchObject({ retry: 'resync', message: expect.stringContaining('sendto: EPERM') });
  });

  test('a reply that makes no sense is a NetlinkFormatError', async () => {
    await expect(socket(() => new Uint8Array([1, 2, 3])).transact([put()])).rejects.toThrow(
      NetlinkFormatError,
    );
  });
});

describe('dump', () => {
  test('picks what the caller wants', async () => {
    const nl = socket((_, seq) => concat(entry(seq, 1), entry(seq, 2), entry(seq, 3), doneReply(seq)));
    const odd = await nl.dump(dump, (m) => (m.header.ndm_ifindex % 2 ? m.header.ndm_ifindex : undefined));
    expect(odd).toEqual([1, 3]);
  });

  test('is done again when it was interrupted, cut short or overrun', async () => {
    const nl = socket((_, seq, call) => {
      if (call === 0) return concat(entry(seq, 1, NLM_F_MULTI | NLM_F_DUMP_INTR), doneReply(seq));
      if (call === 1) return entry(seq, 2);
      if (call === 2) return { data: concat(entry(seq, 3), doneReply(seq)), overrun: true };
      if (call === 3) return doneReply(seq, 4);
      return concat(entry(seq, 5), doneReply(seq));
    });
    expect((await nl.dump(dump)).map((m) => m.header.ndm_ifindex)).toEqual([5]);
    expect(nl.counters).toMatchObject({ reads: 5, retries: 4, overruns: 1 });
  });

  test('is given up when no try is undisturbed', async () => {
    const nl = socket((_, seq) => concat(entry(seq, 1, NLM_F_DUMP_INTR), doneReply(seq)));
    const failed = await nl.dump(dump).catch((e: unknown) => e);
    expect(failed).toBeInstanceOf(KernelError);
    expect(failed).toMatchObject({ code: 'EINTR', op: 'dump', object: 'neighbour table' });
    expect(nl.counters.reads).toBe(10);
  });

  test('refused is a KernelError with the kernel’s words', async () => {
    const nl = socket((_, seq) => doneReply(seq, 1, { msg: 'Not yours' }));
    await expect(nl.dump(dump)).rejects.toMatchObject({ name: 'KernelError', errno: 1, extack: 'Not yours' });
  });

  test('of many entries lets the event loop run while they are read', async () => {
    const nl = socket((_, seq) =>
      concat(...Array.from({ length: 5000 }, (_, i) => entry(seq, i)), doneReply(seq)),
    );
    let turns = 0;
    let reading = true;
    const turn = () => {
      turns++;
      if (reading) setImmediate(turn);
    };
    const slow = nl.dump(dump, (m) => {
      if (m.header.ndm_ifindex === 0) setImmediate(turn);
      // As slow as 20 microseconds of the caller's own work.
      for (const end = performance.now() + 0.02; performance.now() < end; );
      return m.header.ndm_ifindex;
    });
    expect((await slow).length).toBe(5000);
    reading = false;
    expect(turns).toBeGreaterThan(5);
  });
});

describe('get', () => {
  const request = rtnl.link.get({}, { IFLA_IFNAME: 'eth0' });
  const link = (seq: number) =>
    objectReply(rtnl.linkShape, seq, {
      type: rtnl.RTM_NEWLINK,
      flags: 0,
      header: { ifi_index: 2 },
      attributes: { IFLA_IFNAME: 'eth0' },
    });

  test('reads one object', async () => {
    const nl = socket((_, seq) => concat(link(seq), errorReply(seq, 0)));
    expect(await nl.get(request)).toMatchObject({
      header: { ifi_index: 2 },
      attributes: { IFLA_IFNAME: 'eth0' },
    });
  });

  test('is undefined when there is none', async () => {
    expect(await socket((_, seq) => errorReply(seq, 19)).get(request)).toBeUndefined();
  });

  test('throws any other refusal', async () => {
    const nl = socket((_, seq) => errorReply(seq, 1));
    await expect(nl.get(request)).rejects.toMatchObject({ name: 'KernelError', code: 'EPERM' });
  });

  test('is done again after an overrun', async () => {
    const nl = socket((_, seq, call) =>
      call === 0 ? { data: new Uint8Array(), overrun: true } : concat(link(seq), errorReply(seq, 0)),
    );
    expect(await nl.get(request)).toBeDefined();
    expect(nl.counters.retries).toBe(1);
  });
});

test('link info of each kind comes back, of other kinds only its name', async () => {
  const infos: rtnl.LinkInfo[] = [
    {
      kind: 'vxlan',
      vxlan: { IFLA_VXLAN_ID: 1, IFLA_VXLAN_GBP: true, IFLA_VXLAN_PORT_RANGE: { low: 1, high: 2 } },
    },
    { kind: 'bridge', bridge: { IFLA_BR_STP_STATE: 1 } },
    { kind: 'tun', tun: { IFLA_TUN_TYPE: 1 } },
    { kind: 'dummy' },
    // A name that every JavaScript object has is no kind we know.
    { kind: 'constructor' },
  ];
  const nl = socket((_, seq) =>
    concat(
      ...infos.map((info, i) =>
        objectReply(rtnl.linkShape, seq, {
          type: rtnl.RTM_NEWLINK,
          flags: NLM_F_MULTI,
          header: { ifi_index: i },
          attributes: { IFLA_LINKINFO: info },
        }),
      ),
      doneReply(seq),
    ),
  );
  expect(await nl.dump(rtnl.link.dump({}), (m) => m.attributes.IFLA_LINKINFO)).toEqual(infos);
});

test('a gateway of the other family comes back', async () => {
  const via = addr('fe80::1');
  const nl = socket((_, seq) =>
    concat(
      objectReply(rtnl.routeShape, seq, { type: 24, flags: 2, header: {}, attributes: { RTA_VIA: via } }),
      doneReply(seq),
    ),
  );
  expect(await nl.dump(rtnl.route.dump({}), (m) => m.attributes.RTA_VIA)).toEqual([via]);
});

test('hints are told in words', () => {
  const hint = (type: number, family: number) => changeOf({ type, family, ifindex: 7 });
  expect(hint(rtnl.RTM_DELLINK, 0)).toEqual({ kind: 'link', ifindex: 7, family: 0 });
  expect(hint(rtnl.RTM_NEWADDR, 10)).toMatchObject({ kind: 'address' });
  expect(hint(rtnl.RTM_NEWNEIGH, rtnl.AF_INET)).toMatchObject({ kind: 'neigh' });
  expect(hint(rtnl.RTM_DELNEIGH, rtnl.AF_BRIDGE)).toMatchObject({ kind: 'fdb' });
  expect(hint(rtnl.RTM_DELROUTE, rtnl.AF_INET6)).toMatchObject({ kind: 'route' });
  expect(hint(999, 0)).toBeUndefined();
});
