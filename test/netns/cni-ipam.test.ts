import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { CODE } from '../../src/cni/errors.ts';
import { rangeOf } from '../../src/cni/ipam/choose.ts';
import { Ipam } from '../../src/cni/ipam/ipam.ts';
import { Records } from '../../src/cni/records.ts';
import { formatAddr } from '../../src/net/addr.ts';
import { prefix } from '../../src/net/prefix.ts';
import { attachment } from '../support/cniAttach.ts';
import { thisProcess } from '../support/owner.ts';
import { CommandError, Proc, run, until } from '../support/proc.ts';

/** The store is shared with the real host-local, both ways and at once. */

const HOST_LOCAL = '/usr/lib/cni/host-local';
const SUBNETS = ['10.42.1.0/24', 'fd00:42:0:1::/64'];
let dataDir: string;
let ipam: Ipam;
beforeEach(() => {
  dataDir = thisProcess().tempDir('ipam');
  ipam = new Ipam();
});
afterEach(() => rmSync(dataDir, { recursive: true, force: true }));

const at = () => ({ dataDir, network: 'pods' });
const owner = (containerId: string, ifname = 'eth0') => ({ containerId, ifname });
const ours = async (id: string, subnets = SUBNETS, ifname = 'eth0') =>
  (
    await ipam.reserve(at(), {
      owner: owner(id, ifname),
      ranges: subnets.map((t) => rangeOf(prefix(t))),
      requested: [],
    })
  ).map(formatAddr);

async function theirs(command: 'ADD' | 'DEL' | 'CHECK', id: string, subnets = SUBNETS, ifname = 'eth0') {
  const ranges = subnets.map((subnet) => [{ subnet }]);
  const env = {
    CNI_COMMAND: command,
    CNI_CONTAINERID: id,
    CNI_NETNS: '/dev/null',
    CNI_IFNAME: ifname,
    CNI_PATH: '/usr/lib/cni',
  };
  const config = {
    ...{ cniVersion: '1.0.0', name: 'pods', ipam: { type: 'host-local', dataDir, ranges } },
    ...(command === 'CHECK' ? { prevResult: { cniVersion: '1.0.0', ips: [] } } : {}),
  };
  const out = await run([HOST_LOCAL], { env, input: JSON.stringify(config) });
  if (command !== 'ADD') return [];
  return (JSON.parse(out) as { ips: { address: string }[] }).ips.map((ip) => ip.address.split('/')[0]!);
}
const files = () => (existsSync(join(dataDir, 'pods')) ? readdirSync(join(dataDir, 'pods')) : []);
const addresses = () => files().filter((n) => /^\d+\.|::/.test(n) && !n.startsWith('last'));

describe('host-local', () => {
  test('goes on where we end, and we where it ends', async () => {
    expect(await theirs('ADD', 'a')).toEqual(['10.42.1.2', 'fd00:42:0:1::2']);
    expect(await ours('b')).toEqual(['10.42.1.3', 'fd00:42:0:1::3']);
    expect(await theirs('ADD', 'c')).toEqual(['10.42.1.4', 'fd00:42:0:1::4']);
    expect(await ours('d')).toEqual(['10.42.1.5', 'fd00:42:0:1::5']);
    expect(files().sort()).toEqual(
      [...addresses(), 'last_reserved_ip.0', 'last_reserved_ip.1', 'lock'].sort(),
    );
  });

  test('frees what we took, and we what it took; each has its own interface', async () => {
    await ours('a');
    await ours('a', SUBNETS, 'eth1');
    await theirs('ADD', 'b');
    await theirs('CHECK', 'a');
    await theirs('DEL', 'a');
    expect(addresses()).toHaveLength(4);
    expect((await ipam.release(at(), owner('b'), false)).map(formatAddr).sort()).toEqual([
      '10.42.1.4',
      'fd00:42:0:1::4',
    ]);
    await theirs('DEL', 'a', SUBNETS, 'eth1');
    expect(addresses()).toEqual([]);
    await expect(theirs('CHECK', 'a')).rejects.toBeInstanceOf(CommandError);
  });

  test('and we refuse what the other has for the same interface', async () => {
    await theirs('ADD', 'a');
    await expect(ours('a')).rejects.toMatchObject({ code: CODE.addressTaken });
    await ours('b');
    await expect(theirs('ADD', 'b')).rejects.toThrow('duplicate allocation is not allowed');
  });

  test('writes byte for byte what we write, with the same modes', async () => {
    await theirs('ADD', 'a');
    const look = (dir: string) =>
      run(['sh', '-c', `cd ${dir} && stat -c '%n %a' . * && cat 10.* last_reserved_ip.0 | od -c`]);
    const their = await look(join(dataDir, 'pods'));
    rmSync(join(dataDir, 'pods'), { recursive: true });
    await ours('a');
    expect(await look(join(dataDir, 'pods'))).toBe(their);
  });

  test('works on the store at the same time: nothing is given twice, nothing is lost', async () => {
    const took: string[] = [];
    const jobs: Promise<unknown>[] = [];
    for (let i = 0; i < 40; i++) {
      jobs.push(ours(`o${i}`).then((a) => took.push(...a)));
      if (i % 2) jobs.push(theirs('ADD', `t${i}`).then((a) => took.push(...a)));
    }
    await Promise.all(jobs);
    expect(new Set(took).size).toBe(took.length);
    expect(addresses().sort()).toEqual(took.sort());
    await Promise.all([
      ...Array.from({ length: 40 }, (_, i) => ipam.release(at(), owner(`o${i}`), false)),
      ...Array.from({ length: 20 }, (_, i) => theirs('DEL', `t${2 * i + 1}`)),
    ]);
    expect(addresses()).toEqual([]);
  });

  test('and we share a small subnet to its last address', async () => {
    const small = ['10.42.1.0/28'];
    const results = await Promise.allSettled(
      Array.from({ length: 20 }, (_, i) => (i % 3 ? ours(`o${i}`, small) : theirs('ADD', `t${i}`, small))),
    );
    const took = results.flatMap((r) => (r.status === 'fulfilled' ? r.value : []));
    expect(took).toHaveLength(13);
    expect(new Set(took).size).toBe(13);
    for (const r of results)
      if (r.status === 'rejected' && !(r.reason instanceof CommandError))
        expect(r.reason).toMatchObject({ code: CODE.usedUp });
  });
});

test('waits for who has the lock, and does all that waits when it is free', async () => {
  mkdirSync(join(dataDir, 'pods'), { recursive: true });
  const lock = join(dataDir, 'pods', 'lock');
  const holder = await Proc.start(['flock', '-F', lock, 'sh', '-c', 'echo locked; exec sleep 60'], {
    log: join(dataDir, 'holder.log'),
  });
  await holder.saying(/locked/);
  const waiting = Array.from({ length: 100 }, (_, i) => ours(`c${i}`));
  const free = until('a reservation', () => addresses().length > 0, 300).then(
    () => true,
    () => false,
  );
  expect(await free).toBe(false);
  await holder.stop('SIGKILL');
  expect(new Set((await Promise.all(waiting)).map((a) => a[0])).size).toBe(100);
});

test('who has the lock for too long is told of', async () => {
  mkdirSync(join(dataDir, 'pods'), { recursive: true });
  await using holder = await Proc.start(
    ['flock', '-F', join(dataDir, 'pods', 'lock'), 'sh', '-c', 'echo locked; exec sleep 60'],
    { log: join(dataDir, 'holder.log') },
  );
  await holder.saying(/locked/);
  await expect(ours('a')).rejects.toMatchObject({
    code: CODE.tryAgainLater,
    message: expect.stringMatching(/pods is locked by another process.*fuser .*lock/),
  });
});

test('what a full disk takes only the beginning of is neither a reservation nor a record', async () => {
  await run(['mount', '-t', 'tmpfs', '-o', 'size=4k', 'none', dataDir]);
  try {
    const a = { ...attachment(2), containerId: 'x'.repeat(5000) };
    await expect(ours(a.containerId)).rejects.toMatchObject({
      code: CODE.files,
      message: expect.stringContaining('ENOSPC'),
    });
    expect(files()).toEqual(['lock']);
    const records = await Records.open(join(dataDir, 'records'), () => {});
    expect(() => records.begin(a)).toThrow('ENOSPC');
    records.remove(a);
    const again = await Records.open(join(dataDir, 'records'), (file) => expect(file).toBe('none'));
    expect(again.size).toBe(0);
  } finally {
    await run(['umount', dataDir]);
  }
});

test('an ADD killed between any two of its writes leaves a store that goes on', async () => {
  await ours('a');
  // What a process leaves that was killed before it had given its file a name, and after it had noted no last address.
  for (const text of ['', 'half']) {
    const { writeFileSync } = await import('node:fs');
    writeFileSync(join(dataDir, 'pods', '.loden'), text);
    writeFileSync(join(dataDir, 'pods', 'last_reserved_ip.0'), text);
    expect(await ours(`b${text}`)).toHaveLength(2);
    expect(await theirs('ADD', `c${text}`)).toHaveLength(2);
  }
  expect(addresses()).toHaveLength(10);
  expect(readFileSync(join(dataDir, 'pods', '10.42.1.2'), 'latin1')).toBe('a\r\neth0');
  expect(files()).not.toContain('.loden');
});
