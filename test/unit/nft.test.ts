import { describe, expect, test } from 'vitest';
import { desiredTable, listedTable, type Masquerade, replaceTable } from '../../src/kernel/nft.ts';
import { parseListing, parseTables } from '../../src/kernel/nftListing.ts';
import { prefix } from '../../src/net/prefix.ts';

const V4: Masquerade = { network: prefix('10.5.0.0/16'), subnet: prefix('10.5.7.0/24'), fullyRandom: true };
const V6: Masquerade = { network: prefix('fc00::/48'), subnet: prefix('fc00:0:0:7::/64'), fullyRandom: true };

describe('the desired table', () => {
  test('of IPv4', () => {
    expect(replaceTable(4, V4)).toBe(`add table ip loden
delete table ip loden
table ip loden {
	chain postrouting {
		type nat hook postrouting priority 100; policy accept;
		meta mark & 0x4000 == 0x4000 return
		ip saddr 10.5.7.0/24 ip daddr 10.5.0.0/16 return
		ip saddr 10.5.0.0/16 ip daddr 10.5.7.0/24 return
		ip saddr != 10.5.0.0/16 ip daddr 10.5.7.0/24 return
		ip saddr 10.5.0.0/16 ip daddr != 224.0.0.0/4 masquerade fully-random
		ip saddr != 10.5.0.0/16 ip daddr 10.5.0.0/16 masquerade fully-random
	}
}
`);
  });

  test('of IPv6, with a subnet given as an interface address', () => {
    expect(replaceTable(6, { ...V6, subnet: prefix('fc00:0:0:7::1/64') })).toBe(`add table ip6 loden
delete table ip6 loden
table ip6 loden {
	chain postrouting {
		type nat hook postrouting priority 100; policy accept;
		meta mark & 0x4000 == 0x4000 return
		ip6 saddr fc00:0:0:7::/64 ip6 daddr fc00::/48 return
		ip6 saddr fc00::/48 ip6 daddr fc00:0:0:7::/64 return
		ip6 saddr != fc00::/48 ip6 daddr fc00:0:0:7::/64 return
		ip6 saddr fc00::/48 ip6 daddr != ff00::/8 masquerade fully-random
		ip6 saddr != fc00::/48 ip6 daddr fc00::/48 masquerade fully-random
	}
}
`);
  });

  test('without random ports', () => {
    const masquerading = desiredTable({ ...V4, fullyRandom: false })
      .split('\n')
      .filter((line) => line.includes('masquerade'));
    expect(masquerading).toEqual([
      '\t\tip saddr 10.5.0.0/16 ip daddr != 224.0.0.0/4 masquerade',
      '\t\tip saddr != 10.5.0.0/16 ip daddr 10.5.0.0/16 masquerade',
    ]);
  });

  test('removed', () => {
    expect(replaceTable(6, undefined)).toBe('add table ip6 loden\ndelete table ip6 loden\n');
  });
});

/** As nft 1.0.6 lists the table of V4. */
const address = (field: string, op: string, addr: string, len: number) => ({
  match: { op, left: { payload: { protocol: 'ip', field } }, right: { prefix: { addr, len } } },
});
const rule = (handle: number, expr: unknown[]) => ({
  rule: { family: 'ip', table: 'loden', chain: 'postrouting', handle, expr },
});
const RETURN = { return: null };
const MASQUERADE = { masquerade: { flags: 'fully-random' } };
const LISTED = [
  { metainfo: { version: '1.0.6', release_name: 'Lester Gooch #5', json_schema_version: 1 } },
  { table: { family: 'ip', name: 'loden', handle: 2 } },
  {
    chain: {
      family: 'ip',
      table: 'loden',
      name: 'postrouting',
      handle: 1,
      type: 'nat',
      hook: 'postrouting',
      prio: 100,
      policy: 'accept',
    },
  },
  rule(2, [{ match: { op: '==', left: { '&': [{ meta: { key: 'mark' } }, 16384] }, right: 16384 } }, RETURN]),
  rule(3, [address('saddr', '==', '10.5.7.0', 24), address('daddr', '==', '10.5.0.0', 16), RETURN]),
  rule(4, [address('saddr', '==', '10.5.0.0', 16), address('daddr', '==', '10.5.7.0', 24), RETURN]),
  rule(5, [address('saddr', '!=', '10.5.0.0', 16), address('daddr', '==', '10.5.7.0', 24), RETURN]),
  rule(6, [address('saddr', '==', '10.5.0.0', 16), address('daddr', '!=', '224.0.0.0', 4), MASQUERADE]),
  rule(7, [address('saddr', '!=', '10.5.0.0', 16), address('daddr', '==', '10.5.0.0', 16), MASQUERADE]),
];
const listed = (objects: readonly unknown[]) =>
  listedTable(parseListing(`${JSON.stringify({ nftables: objects })}\n`), 'ip');
/** LISTED with one object changed, removed (undefined) or added (at the end). */
const changed = (at: number, to: unknown) =>
  listed([...LISTED.slice(0, at), ...(to === undefined ? [] : [to]), ...LISTED.slice(at + 1)]);

describe('the listed table', () => {
  test('is equal to the desired one', () => {
    expect(listed(LISTED)).toBe(desiredTable(V4));
  });

  test('is equal when nft writes flags as a list, counts, or lists other tables too', () => {
    const flags = { masquerade: { flags: ['fully-random'] } };
    expect(
      changed(
        7,
        rule(6, [address('saddr', '==', '10.5.0.0', 16), address('daddr', '!=', '224.0.0.0', 4), flags]),
      ),
    ).toBe(desiredTable(V4));
    const foreign = { set: { family: 'ip', name: 's', table: 'foreign', type: 'ipv4_addr', handle: 2 } };
    expect(listed([...LISTED, foreign])).toBe(desiredTable(V4));
    expect(listed([{ table: { family: 'ip6', name: 'loden', handle: 1 } }, ...LISTED])).toBe(
      desiredTable(V4),
    );
  });

  test('is undefined when there is none', () => {
    expect(listed([])).toBeUndefined();
    expect(listed([{ table: { family: 'ip6', name: 'loden', handle: 2 } }])).toBeUndefined();
  });

  test.each([
    ['no chain', changed(2, undefined)],
    [
      'another priority',
      changed(2, {
        chain: {
          family: 'ip',
          table: 'loden',
          name: 'postrouting',
          type: 'nat',
          hook: 'postrouting',
          prio: 99,
          policy: 'accept',
        },
      }),
    ],
    ['a policy', changed(2, { chain: { ...(LISTED[2] as { chain: object }).chain, policy: 'drop' } })],
    ['a rule less', changed(5, undefined)],
    ['a rule more', listed([...LISTED, rule(9, [RETURN])])],
    ['another order', listed([...LISTED.slice(0, 4), LISTED[5], LISTED[4], ...LISTED.slice(6)])],
    [
      'another prefix',
      changed(
        4,
        rule(3, [address('saddr', '==', '10.5.8.0', 24), address('daddr', '==', '10.5.0.0', 16), RETURN]),
      ),
    ],
    [
      'another verdict',
      changed(
        4,
        rule(3, [
          address('saddr', '==', '10.5.7.0', 24),
          address('daddr', '==', '10.5.0.0', 16),
          { accept: null },
        ]),
      ),
    ],
    [
      'another condition',
      changed(
        4,
        rule(3, [
          address('saddr', '==', '10.5.7.0', 24),
          address('daddr', '==', '10.5.0.0', 16),
          { match: { op: '==', left: { meta: { key: 'oifname' } }, right: 'eth0' } },
          RETURN,
        ]),
      ),
    ],
    [
      'ports that are not random',
      changed(
        7,
        rule(6, [
          address('saddr', '==', '10.5.0.0', 16),
          address('daddr', '!=', '224.0.0.0', 4),
          { masquerade: null },
        ]),
      ),
    ],
    [
      'a second chain',
      listed([...LISTED, { chain: { family: 'ip', table: 'loden', name: 'x', handle: 9 } }]),
    ],
    [
      'a set',
      listed([...LISTED, { set: { family: 'ip', table: 'loden', name: 'x', handle: 9, type: 'ipv4_addr' } }]),
    ],
    ['a dormant flag', changed(1, { table: { family: 'ip', name: 'loden', handle: 2, flags: 'dormant' } })],
  ])('differs by %s', (_, text) => {
    expect(text).toBeDefined();
    expect(text).not.toBe(desiredTable(V4));
  });
});

describe('parsing a listing', () => {
  test('takes tables from text', () => {
    const text = '# a remark\ntable ip loden\ntable ip6 flannel-ipv6\ntable inet x { # no\n';
    expect([...parseTables(text)]).toEqual(['ip loden', 'ip6 flannel-ipv6']);
  });

  test('says which program is wrong when there is no JSON', () => {
    expect(() => parseListing('table ip loden {')).toThrow(/nftables built with JSON support/);
  });

  test('survives objects of any shape', () => {
    const objects = [
      null,
      1,
      [],
      {},
      { table: null },
      { chain: [] },
      { rule: { family: 'ip', table: 7, expr: 'x' } },
    ];
    expect(parseListing(JSON.stringify({ nftables: objects }))).toEqual({
      tables: [],
      chains: [],
      rules: [],
      others: [{ family: 'ip', table: '7' }],
    });
    expect(parseListing('[]\n{"nftables": 5}\n\n')).toEqual({
      tables: [],
      chains: [],
      rules: [],
      others: [],
    });
  });
});
