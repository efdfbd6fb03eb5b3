import { expect, test } from 'vitest';
import { Deletions } from '../../src/cni/attach/deletions.ts';
import { NetlinkKernel } from '../../src/kernel/netlinkKernel.ts';
import { formatAddr } from '../../src/net/addr.ts';
import { AttachHost, attachment, nodeOf } from '../support/cniAttach.ts';
import { kernelIn } from '../support/kernelIn.ts';
import { thisProcess } from '../support/owner.ts';

/** What is done when ADD or DEL returns, beside what was told to the kernel. */

test.each(['bridge', 'ptp'] as const)('a pod is ready for its first packet, mode %s', async (mode) => {
  let fd = -1;
  const asked: string[] = [];
  const late = new Map<string, number>();
  await using host = await AttachHost.create(thisProcess(), {
    onHostFd: (own) => (fd = own),
    openKernel: (netnsFd) => {
      const kernel = NetlinkKernel.open({ netnsFd: netnsFd ?? fd });
      const side = netnsFd === undefined ? 'host' : 'pod';
      const { activate, wayTo } = kernel;
      kernel.activate = (names) => {
        asked.push(`${side} ${names.join()}`);
        return activate.call(kernel, names);
      };
      // The first looks come too early.
      kernel.wayTo = async (to) => {
        const what = `${side} ${formatAddr(to)}`;
        const looks = (late.get(what) ?? 0) + 1;
        late.set(what, looks);
        return looks < 30 ? { dev: 'eth0' } : await wayTo.call(kernel, to);
      };
      return kernel;
    },
  });
  const pod = await host.pod();
  const a = attachment(2, { mode, families: [4, 6], netns: pod.path });
  await host.add(a, nodeOf([4, 6]));
  // Whoever asks for a device makes the kernel bring it to work.
  expect(asked.sort()).toEqual([`host ${a.hostIf}${mode === 'bridge' ? ',cni0' : ''}`, 'pod eth0']);
  expect([...late.keys()].sort()).toEqual(['host fd00:42:0:1::1', 'pod fd00:42:0:1::2']);
  for (const looks of late.values()) expect(looks).toBeGreaterThanOrEqual(30);
});

test('a deletion is over when the device is gone, not when the kernel has waited for its last user', async () => {
  await using host = await AttachHost.create(thisProcess());
  const kernel = kernelIn(host.netns);
  const deletions = new Deletions({ netnsFd: host.fd });
  let early = 0;
  for (let i = 0; i < 10; i++) {
    await host.netns.ip(`link add v${i} type veth peer name w${i}`);
    const link = (await kernel.linkNamed(`v${i}`))!;
    // Two who ask for the same wait for the same.
    await Promise.all([deletions.delete(link), deletions.delete(link)]);
    // By then what is acknowledged is no longer outstanding.
    await new Promise((resolve) => setImmediate(resolve));
    if (deletions.outstanding > 0) early++;
    expect(await kernel.linkNamed(`v${i}`)).toBeUndefined();
    // Gone already: no matter.
    if (i === 0) await deletions.delete(link);
  }
  expect(early).toBeGreaterThan(0);
  await host.netns.ip('link add last type veth peer name w');
  void deletions.delete((await kernel.linkNamed('last'))!);
  await deletions.close();
  expect(await kernel.linkNamed('last')).toBeUndefined();
  kernel.close();
});

test('deletions that are refused are told, one by one, and the others done', async () => {
  await using host = await AttachHost.create(thisProcess());
  const kernel = kernelIn(host.netns);
  const deletions = new Deletions({ netnsFd: host.fd });
  await host.netns.ip('link add v0 type veth peer name w0');
  const lo = (await kernel.linkNamed('lo'))!;
  const all = await Promise.allSettled([
    deletions.delete(lo),
    deletions.delete((await kernel.linkNamed('v0'))!),
  ]);
  expect(all.map((o) => o.status)).toEqual(['rejected', 'fulfilled']);
  expect(all[0]).toMatchObject({ reason: { code: 'EOPNOTSUPP', object: 'lo' } });
  expect(await kernel.linkNamed('v0')).toBeUndefined();
  expect(await kernel.linkNamed('lo')).toBeDefined();
  await deletions.close();
  kernel.close();
});
