import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { EXIT, FILES } from '../../src/contract.ts';
import { mac } from '../../src/net/mac.ts';
import { formatPrefix, prefix } from '../../src/net/prefix.ts';
import { readSmall } from '../../src/subnet/files.ts';
import { readNodeId, StateDir } from '../../src/subnet/stateDir.ts';
import {
  formatSubnetEnv,
  parseSubnetEnv,
  readSubnetEnv,
  writeSubnetEnv,
} from '../../src/subnet/subnetEnv.ts';
import { thisProcess } from '../support/owner.ts';

let dir: string;
beforeEach(() => {
  dir = thisProcess().tempDir('files');
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const mode = (path: string) => (statSync(path).mode & 0o777).toString(8);
const DUAL = `FLANNEL_NETWORK=10.42.0.0/16
FLANNEL_SUBNET=10.42.0.1/24
FLANNEL_IPV6_NETWORK=2001:cafe:42::/56
FLANNEL_IPV6_SUBNET=2001:cafe:42::1/64
FLANNEL_MTU=1450
FLANNEL_IPMASQ=true
`;
const dual = {
  networks: ['10.42.0.0/16', '2001:cafe:42::/56'].map(prefix),
  subnets: ['10.42.0.0/24', '2001:cafe:42::/64'].map(prefix),
  mtu: 1450,
  ipMasq: true,
};

it('waits for no other end of a pipe', async () => {
  execFileSync('mkfifo', [join(dir, 'pipe')]);
  await expect(readSmall(join(dir, 'pipe'))).rejects.toThrow(/pipe: it is no plain file/);
  await expect(readSmall(dir)).rejects.toThrow('it is no plain file');
  expect(await readSmall('/proc/sys/kernel/random/boot_id')).toMatch(/-/);
});

describe('subnet.env', () => {
  it('is byte for byte flannel’s', () => {
    expect(formatSubnetEnv(dual)).toBe(DUAL);
    expect(
      formatSubnetEnv({
        ...dual,
        networks: dual.networks.slice(0, 1),
        subnets: dual.subnets.slice(0, 1),
        ipMasq: false,
      }),
    ).toBe(
      'FLANNEL_NETWORK=10.42.0.0/16\nFLANNEL_SUBNET=10.42.0.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n',
    );
    expect(
      formatSubnetEnv({ ...dual, networks: dual.networks.slice(1), subnets: dual.subnets.slice(1) }),
    ).toBe(
      'FLANNEL_IPV6_NETWORK=2001:cafe:42::/56\nFLANNEL_IPV6_SUBNET=2001:cafe:42::1/64\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n',
    );
  });

  it('is read back, and whatever cannot be understood passed over', () => {
    expect(parseSubnetEnv(DUAL)).toEqual(dual);
    const subnets = (text: string) => parseSubnetEnv(text).subnets.map(formatPrefix);
    expect(subnets('FLANNEL_SUBNET="10.1.2.1/24"\r\nexport FLANNEL_IPV6_SUBNET=\'fd00::1/64\'\n')).toEqual([
      '10.1.2.0/24',
      'fd00::/64',
    ]);
    expect(subnets('FLANNEL_SUBNET=10.1.2.1/33\nFLANNEL_IPV6_SUBNET=10.1.2.1/24')).toEqual([]);
    expect(subnets('FLANNEL_SUBNET=0.0.0.0/0\n\0\u{1f4a9}===\n')).toEqual([]);
    expect(parseSubnetEnv('FLANNEL_MTU=1e9\nFLANNEL_IPMASQ=yes')).toEqual({ networks: [], subnets: [] });
    expect(parseSubnetEnv('')).toEqual({ networks: [], subnets: [] });
  });

  it('is written atomically, readable for all, only when it changes', async () => {
    const path = join(dir, 'run/flannel/subnet.env');
    const umask = process.umask(0o077);
    try {
      expect(await writeSubnetEnv(path, dual)).toBe(true);
    } finally {
      process.umask(umask);
    }
    expect([readFileSync(path, 'utf8'), mode(path)]).toEqual([DUAL, '644']);
    const { ino } = statSync(path);
    expect(await writeSubnetEnv(path, dual)).toBe(false);
    expect(statSync(path).ino).toBe(ino);
    expect(await writeSubnetEnv(path, { ...dual, mtu: 1400 })).toBe(true);
    expect(statSync(path).ino).not.toBe(ino);
    expect(readdirSync(join(dir, 'run/flannel'))).toEqual(['subnet.env']);
  });

  it('that is missing, huge or a directory reads as nothing', async () => {
    expect(await readSubnetEnv(join(dir, 'none'))).toEqual({ networks: [], subnets: [] });
    expect(await readSubnetEnv(dir)).toEqual({ networks: [], subnets: [] });
    writeFileSync(join(dir, 'huge'), `${DUAL}${'x'.repeat(70_000)}`);
    expect(await readSubnetEnv(join(dir, 'huge'))).toEqual({ networks: [], subnets: [] });
  });

  it('that cannot be written says which and why', async () => {
    writeFileSync(join(dir, 'file'), '');
    await expect(writeSubnetEnv(join(dir, 'file/subnet.env'), dual)).rejects.toThrow(
      /cannot write .*file\/subnet\.env: .*ENOTDIR|EEXIST/,
    );
  });
});

describe('the state directory', () => {
  const open = () => StateDir.open(join(dir, 'state'));

  it('keeps one node id for ever, for root alone', async () => {
    const path = join(dir, 'state', FILES.nodeId);
    const first = await open();
    const { node } = first;
    expect(node).toMatch(/^[0-9a-f]{32}$/);
    expect(JSON.parse(readFileSync(path, 'utf8'))).toEqual({ node });
    expect([mode(path), mode(join(dir, 'state'))]).toEqual(['600', '700']);
    await first[Symbol.asyncDispose]();
    const second = await open();
    expect(second.node).toBe(node);
    const renewed = await second.renewNode();
    expect([renewed === node, second.node === renewed, await readNodeId(join(dir, 'state'))]).toEqual([
      false,
      true,
      renewed,
    ]);
    await second[Symbol.asyncDispose]();
  });

  it.each(['', '{', '{"node":7}', '{"node":"short"}', 'null', '[]'])(
    'with %j for a node id is refused, and kept',
    async (text) => {
      const path = join(dir, 'state', FILES.nodeId);
      mkdirSync(join(dir, 'state'));
      writeFileSync(path, text);
      const error = await open().catch((e) => e);
      expect([error.exitCode, error.message]).toEqual([EXIT.config, expect.stringContaining(path)]);
      expect(error.message).toContain('remove the file');
      expect(readFileSync(path, 'utf8')).toBe(text);
      // It is not locked for ever by that.
      writeFileSync(path, JSON.stringify({ node: 'a'.repeat(32) }));
      await (await open())[Symbol.asyncDispose]();
    },
  );

  it('is one daemon’s at a time', async () => {
    const first = await open();
    const error = await open().catch((e) => e);
    expect([error.exitCode, error.message]).toEqual([EXIT.busy, expect.stringContaining(join(dir, 'state'))]);
    await first[Symbol.asyncDispose]();
    await (await open())[Symbol.asyncDispose]();
  });

  it('remembers subnets and MACs, in the order they were told', async () => {
    const first = await open();
    expect([first.subnets, first.macs]).toEqual([[], new Map()]);
    first.rememberSubnets(dual.subnets);
    first.rememberMacs(new Map([['flannel.1', mac('0e:00:00:00:00:01')]]));
    first.rememberMacs(new Map([['flannel.1', mac('0e:00:00:00:00:02')]]));
    await first[Symbol.asyncDispose]();
    const second = await open();
    expect(second.subnets).toEqual(dual.subnets);
    expect([...second.macs]).toEqual([['flannel.1', '0e:00:00:00:00:02']]);
    expect(mode(join(dir, 'state', FILES.lastState))).toBe('600');
    await second[Symbol.asyncDispose]();
  });

  it.each(['', '{', '[]', '{"subnets":7,"macs":[]}', '{"subnets":["x",7],"macs":{"a":7,"b":"x"}}'])(
    'forgets a last state of %j',
    async (text) => {
      mkdirSync(join(dir, 'state'));
      writeFileSync(join(dir, 'state', FILES.lastState), text);
      const state = await open();
      expect([state.subnets, state.macs]).toEqual([[], new Map()]);
      await state[Symbol.asyncDispose]();
    },
  );

  it('tells when it cannot remember', async () => {
    const errors: Error[] = [];
    const state = await StateDir.open(join(dir, 'state'), (e) => errors.push(e));
    mkdirSync(join(dir, 'state', FILES.lastState));
    state.rememberSubnets(dual.subnets);
    await state[Symbol.asyncDispose]();
    expect(errors.map((e) => e.message)).toEqual([expect.stringContaining(FILES.lastState)]);
    expect(existsSync(join(dir, 'state', FILES.nodeId))).toBe(true);
  });
});
