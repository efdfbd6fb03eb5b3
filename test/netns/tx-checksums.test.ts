import { closeSync, openSync } from 'node:fs';
import { afterAll, expect, test } from 'vitest';
import { TxChecksums } from '../../src/kernel/offload.ts';
import { Netns } from '../support/netns.ts';
import { thisProcess } from '../support/owner.ts';

afterAll(() => thisProcess().remove());

const ethtool = async (netns: Netns): Promise<string> =>
  /tx-checksum-ip-generic: (\w+)/.exec(await netns.run(['ethtool', '-k', 'vx0']))![1]!;

test('is what ethtool says it is, of the device that is asked, and of no other', async () => {
  await using netns = await Netns.create(thisProcess(), 'checksums');
  await netns.ipBatch([0, 1].map((n) => `link add vx${n} type vxlan id ${n + 1} dstport ${4789 + n}`));
  const links = await netns.ipJson<{ ifname: string; ifindex: number }[]>('link show');
  const ifindex = links.find(({ ifname }) => ifname === 'vx0')!.ifindex;
  const fd = openSync(netns.path, 'r');
  const checksums = new TxChecksums(fd);
  try {
    expect(await checksums.read(ifindex)).toBe(true);
    expect(await checksums.write(ifindex, false)).toBeUndefined();
    expect([await checksums.read(ifindex), await checksums.read(ifindex + 1), await ethtool(netns)]).toEqual([
      false,
      true,
      'off',
    ]);
    await netns.run(['ethtool', '-K', 'vx0', 'tx', 'on']);
    expect(await checksums.read(ifindex)).toBe(true);
    expect(await checksums.read(99)).toBeUndefined();
    expect(await checksums.write(99, true)).toMatchObject({ code: 'ENODEV' });
  } finally {
    checksums.close();
    closeSync(fd);
  }
});

test('is unknown where nobody can be asked, and that is no reason to fail', async () => {
  const nowhere = new TxChecksums(9_999);
  expect(await nowhere.read(1)).toBeUndefined();
  expect(await nowhere.write(1, true)).toMatchObject({ code: 'EOPNOTSUPP', extack: expect.any(String) });
  nowhere.close();
});
