import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { NETLINK_CHUNK } from '../../src/contract.ts';
import { addr } from '../../src/net/addr.ts';
import { mac } from '../../src/net/mac.ts';
import { type Chunk, Encoder } from '../../src/netlink/encoder.ts';
import { NLM_F_ACK, NLM_F_DUMP_INTR, NLM_F_MULTI } from '../../src/netlink/header.ts';
import { type Request, readMessage } from '../../src/netlink/message.ts';
import { messages, readDump, readOutcomes, readStatus } from '../../src/netlink/protocol.ts';
import * as rtnl from '../../src/netlink/rtnl.ts';
import { NetlinkFormatError, source } from '../../src/netlink/wire.ts';
import { arbValues, hex } from '../support/netlinkArbitrary.ts';
import { concat, doneReply, errorReply, objectReply, sentMessages } from '../support/netlinkReply.ts';

/** A neighbour for each number. */
const neighbour = (n: number): Request =>
  rtnl.neigh.put(
    { ndm_family: rtnl.AF_INET, ndm_ifindex: 3, ndm_state: rtnl.NUD_PERMANENT },
    { NDA_DST: addr(`10.0.${n >> 8}.${n & 255}`), NDA_LLADDR: mac('02:00:00:00:00:01') },
  );

const many = (count: number): Request[] => Array.from({ length: count }, (_, n) => neighbour(n));

/** All the chunks of some requests, each with its own copy of the bytes. */
function chunks(requests: Iterable<Request>, seq = 1): Chunk[] {
  const encoder = new Encoder(seq);
  const iterator = requests[Symbol.iterator]();
  const found: Chunk[] = [];
  for (let chunk = encoder.next(iterator); chunk; chunk = encoder.next(iterator)) {
    found.push({ ...chunk, bytes: chunk.bytes.slice() });
  }
  return found;
}

const chunkOf = (count: number): Chunk => chunks(many(count))[0]!;

describe('requests', () => {
  test('a route is written as rtnetlink(7) says', () => {
    const route = rtnl.route.create(
      {
        rtm_family: rtnl.AF_INET,
        rtm_dst_len: 24,
        rtm_table: rtnl.RT_TABLE_MAIN,
        rtm_protocol: 76,
        rtm_type: rtnl.RTN_UNICAST,
        rtm_flags: rtnl.RTNH_F_ONLINK,
      },
      {
        RTA_DST: addr('10.5.7.0'),
        RTA_GATEWAY: addr('10.5.7.0'),
        RTA_OIF: 5,
        RTA_METRICS: { RTAX_MTU: 1400 },
      },
    );
    const { bytes } = new Encoder(9).one(route, true);
    expect(hex(bytes)).toBe(
      [
        '40000000 1800 0506 09000000 00000000', // length 64, RTM_NEWROUTE, REQUEST|ACK|CREATE|EXCL, 9
        '02180000 fe4c0001 04000000', // struct rtmsg
        '08000100 0a050700', // RTA_DST
        '08000400 05000000', // RTA_OIF
        '08000500 0a050700', // RTA_GATEWAY
        '0c000880 08000200 78050000', // RTA_METRICS, nested: RTAX_MTU
      ]
        .join('')
        .replaceAll(' ', ''),
    );
  });

  test('are cut into chunks of which only the last message asks for an acknowledgement', () => {
    const found = chunks(many(2 * NETLINK_CHUNK + 5));
    expect(found.map((c) => c.requests.length)).toEqual([NETLINK_CHUNK, NETLINK_CHUNK, 5]);
    let seq = 1;
    for (const chunk of found) {
      const sent = sentMessages(chunk.bytes);
      expect(chunk.firstSeq).toBe(seq);
      expect(sent.map((m) => m.seq)).toEqual(chunk.requests.map(() => seq++));
      expect(chunk.lastSeq).toBe(seq - 1);
      expect(sent.map((m) => (m.flags & NLM_F_ACK) !== 0)).toEqual(
        chunk.requests.map((_, i) => i === chunk.requests.length - 1),
      );
    }
  });

  test('are asked for one chunk at a time', () => {
    let asked = 0;
    const lazy = (function* () {
      for (;;) yield neighbour(asked++);
    })();
    new Encoder().next(lazy);
    expect(asked).toBe(NETLINK_CHUNK);
  });

  test('of any size stay below the send buffer', () => {
    const big = rtnl.route.create({ rtm_family: rtnl.AF_INET }, { RTA_ENCAP: new Uint8Array(60_000) });
    const found = chunks(Array.from({ length: 6 }, () => big));
    expect(found.map((c) => c.requests.length)).toEqual([2, 2, 2]);
  });

  test('number none: no chunk', () => {
    expect(chunks([])).toEqual([]);
  });

  test('sequence numbers start again before they overflow, never inside a chunk', () => {
    const found = chunks(many(200), 0xffff_ffff - NETLINK_CHUNK - 10);
    for (const chunk of found) {
      expect(chunk.lastSeq - chunk.firstSeq).toBe(chunk.requests.length - 1);
      expect(chunk.lastSeq).toBeLessThanOrEqual(0xffff_ffff);
    }
    expect(found[1]!.firstSeq).toBe(1);
    const encoder = new Encoder(0xffff_ffff);
    expect(encoder.one(neighbour(1), false).lastSeq).toBe(0xffff_ffff);
    expect(encoder.one(neighbour(1), false).lastSeq).toBe(1);
  });
});

describe('answers to a chunk', () => {
  const outcomes = (chunk: Chunk, overrun: boolean, ...replies: Uint8Array[]) =>
    readOutcomes(chunk, source(concat(...replies)), overrun);

  test('one acknowledgement for all', () => {
    expect(outcomes(chunkOf(3), false, errorReply(3, 0))).toEqual([undefined, undefined, undefined]);
  });

  test('a refusal is the one of its sequence number', () => {
    const refused = { outcome: 'refused', errno: 17, code: 'EEXIST' };
    const no = { outcome: 'refused', errno: 3, code: 'ESRCH' };
    expect(outcomes(chunkOf(4), false, errorReply(2, 17), errorReply(4, 3))).toEqual([
      undefined,
      refused,
      undefined,
      no,
    ]);
  });

  test('sequence numbers of other exchanges are nobody’s', () => {
    const chunk = chunks(many(2), 100)[0]!;
    expect(outcomes(chunk, false, errorReply(99, 17), errorReply(102, 17), errorReply(101, 0))).toEqual([
      undefined,
      undefined,
    ]);
  });

  test('after an overrun all that is not known to be refused is unknown', () => {
    const lost = { outcome: 'unknown', errno: 105, code: 'ENOBUFS' };
    const refused = { outcome: 'refused', errno: 17, code: 'EEXIST' };
    expect(outcomes(chunkOf(3), true, errorReply(2, 17))).toEqual([lost, refused, lost]);
    expect(outcomes(chunkOf(3), true, errorReply(3, 0))).toEqual([lost, lost, undefined]);
  });

  test('an errno without a name keeps its number', () => {
    expect(outcomes(chunkOf(1), false, errorReply(1, 4095))[0]).toMatchObject({
      errno: 4095,
      code: 'errno 4095',
    });
  });
});

describe('extended acknowledgements', () => {
  const chunk = chunkOf(1);
  const extack = (...args: Parameters<typeof errorReply>) =>
    readOutcomes(chunk, source(errorReply(...args)), false)[0]?.extack;

  test('the kernel’s words', () => {
    expect(extack(1, 22, { msg: 'Invalid address length' })).toBe('Invalid address length');
  });

  test('are found behind an echoed request too', () => {
    expect(extack(1, 22, { msg: 'No' }, chunk.bytes)).toBe('No');
  });

  test('name the attribute they point at', () => {
    // struct nlmsghdr 16, struct ndmsg 12: NDA_DST from 28, NDA_LLADDR from 36.
    expect(extack(1, 22, { msg: 'No', offs: 28 })).toBe('No, at NDA_DST');
    expect(extack(1, 22, { msg: 'No', offs: 40 })).toBe('No, at NDA_LLADDR');
    expect(extack(1, 22, { offs: 9999 })).toBeUndefined();
  });

  test('name the attribute they miss', () => {
    expect(extack(1, 22, { missType: 8 })).toBe('NDA_IFINDEX is missing');
    expect(extack(1, 22, { missType: 999 })).toBe('attribute 999 is missing');
    expect(extack(1, 22, { missType: 8, missNest: 30 })).toBeUndefined();
  });
});

describe('dumps', () => {
  const request = rtnl.neigh.dump({ ndm_family: rtnl.AF_INET });
  const entry = (n: number, flags = NLM_F_MULTI) =>
    objectReply(rtnl.neighShape, 1, {
      type: rtnl.RTM_NEWNEIGH,
      flags,
      header: { ndm_ifindex: n },
      attributes: { NDA_DST: addr('10.0.0.1') },
    });
  const read = (...parts: Uint8Array[]) => readDump(request, source(concat(...parts)));

  test('several parts and the end', () => {
    const s = source(concat(entry(1), entry(2), doneReply(1)));
    const dump = readDump(request, s);
    expect(dump).toMatchObject({ interrupted: false, failure: undefined, complete: true });
    expect(dump.messages.map((raw) => readMessage(rtnl.neighShape, s, raw))).toEqual(
      [1, 2].map((n) => ({
        type: rtnl.RTM_NEWNEIGH,
        flags: NLM_F_MULTI,
        header: { ndm_family: 0, ndm_ifindex: n, ndm_state: 0, ndm_flags: 0, ndm_type: 0 },
        attributes: { NDA_DST: addr('10.0.0.1') },
      })),
    );
  });

  test('an errno in the end is a failure, with its words', () => {
    expect(read(entry(1), doneReply(1, 1, { msg: 'Not yours' })).failure).toEqual({
      outcome: 'refused',
      errno: 1,
      code: 'EPERM',
      extack: 'Not yours',
    });
  });

  test('an error instead of the end is one', () => {
    expect(read(errorReply(1, 95))).toMatchObject({ complete: true, failure: { code: 'EOPNOTSUPP' } });
  });

  test('without an end they are not complete', () => {
    expect(read(entry(1)).complete).toBe(false);
  });

  test('NLM_F_DUMP_INTR on any message, the end included, is an interruption', () => {
    expect(read(entry(1, NLM_F_MULTI | NLM_F_DUMP_INTR), entry(2), doneReply(1)).interrupted).toBe(true);
    const done = doneReply(1);
    done[6] = NLM_F_MULTI | NLM_F_DUMP_INTR;
    expect(read(entry(1), done).interrupted).toBe(true);
  });

  test('an end without a status is success', () => {
    const done = doneReply(1).slice(0, 16);
    done[0] = 16;
    expect(read(done)).toMatchObject({ complete: true, failure: undefined });
  });
});

describe('hostile replies', () => {
  const request = neighbour(1);
  const chunk = chunkOf(2);

  test.each([
    ['shorter than a header', [4, 0, 0, 0]],
    ['a length of zero', new Array(16).fill(0)],
    ['a length beyond the end', [0x40, 0, 0, 0, ...new Array(12).fill(0)]],
    ['a length beyond 2^31', [0xf0, 0xff, 0xff, 0xff, ...new Array(28).fill(0)]],
    ['an error without a number', [16, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]],
  ])('%s', (_, raw) => {
    expect(() => readOutcomes(chunk, source(Uint8Array.from(raw)), false)).toThrow(NetlinkFormatError);
  });

  test('an error that echoes more than there is', () => {
    const reply = errorReply(1, 22, { msg: 'x' }, chunk.bytes.slice(0, 16));
    for (const length of [0xffff_fff0, 0x8000_0000, 0xffff]) {
      new DataView(reply.buffer).setUint32(20, length, true);
      expect(() => readOutcomes(chunk, source(reply), false)).toThrow(NetlinkFormatError);
    }
  });

  test('a message shorter than its fixed header', () => {
    const entry = objectReply(rtnl.neighShape, 1, { type: 28, flags: 0, header: {}, attributes: {} }).slice(
      0,
      20,
    );
    entry[0] = 20;
    const s = source(entry);
    expect(() => [...messages(s)].map((raw) => readMessage(rtnl.neighShape, s, raw))).toThrow(
      NetlinkFormatError,
    );
  });

  test('damage anywhere is a NetlinkFormatError or goes unnoticed, never anything else', () => {
    const reply = fc
      .record({ values: arbValues(rtnl.NDA), extack: fc.string({ maxLength: 20 }) })
      .map((x) =>
        concat(
          objectReply(rtnl.neighShape, 1, { type: 28, flags: 2, header: {}, attributes: x.values }),
          errorReply(1, 22, { msg: x.extack, offs: 30 }),
          errorReply(2, 22, { msg: x.extack }, chunk.bytes),
          doneReply(2, 5, { msg: x.extack }),
        ),
      );
    const damage = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 3 });
    fc.assert(
      fc.property(reply, damage, fc.nat(), (clean, hits, cut) => {
        const bytes = clean.slice(0, cut % 3 === 0 ? cut % clean.length : clean.length);
        for (const [where, value] of hits) if (bytes.length > 0) bytes[where % bytes.length] = value;
        const s = source(bytes);
        for (const read of [
          () => readOutcomes(chunk, s, false),
          () => readDump(request, s),
          () => [...messages(s)].map((raw) => readMessage(rtnl.neighShape, s, raw)),
          () => [...messages(s)].map((raw) => readStatus(s, raw, request)),
        ]) {
          try {
            read();
          } catch (error) {
            expect(error).toBeInstanceOf(NetlinkFormatError);
          }
        }
      }),
      { numRuns: 1000 },
    );
  });
});
