import { expect, test } from 'vitest';
import { FakeForwarderAddon } from '../fake/forwarderAddon.ts';
import { forwarderScript } from '../fake/forwarderScript.ts';
import { Netns } from '../support/netns.ts';
import { thisProcess } from '../support/owner.ts';

const at = (path: string): string => JSON.stringify(new URL(path, import.meta.url).href);

/** The script against the addon, in a process of its own in the namespace. */
const PROGRAM = `
  import { execFileSync } from 'node:child_process';
  import { createSocket } from 'node:dgram';
  const { addon } = await import(${at('../../src/native/addon.ts')});
  const { forwarderScript } = await import(${at('../fake/forwarderScript.ts')});
  const ip = (...args) => execFileSync('ip', args);
  const said = await forwarderScript(addon(), {
    deleteDevice: async (name) => ip('link', 'del', name),
    renameDevice: async (name, to) => { ip('link', 'set', name, 'down'); ip('link', 'set', name, 'name', to); },
    setUp: async (name, up) => ip('link', 'set', name, up ? 'up' : 'down'),
    take: (port) => new Promise((done) => createSocket('udp4').bind(port, '192.0.2.1', done).unref()),
  });
  console.log(JSON.stringify(said));
`;

test('the model of the forwarder does and refuses what the addon does and refuses', async () => {
  await using netns = await Netns.create(thisProcess(), 'forwarder');
  await netns.ipBatch(['addr add 192.0.2.1/32 dev lo', 'addr add 2001:db8::1/128 dev lo']);
  const argv = [process.execPath, '--input-type=module-typescript', '--eval', PROGRAM];
  const real = JSON.parse(await netns.run(argv, { timeout: 30_000 })) as string[];

  const fake = new FakeForwarderAddon();
  fake.foreign.add('192.0.2.99');
  const modelled = await forwarderScript(fake, {
    deleteDevice: async (name) => {
      fake.devices.delete(name);
      fake.last.lose();
    },
    renameDevice: async (name, to) => {
      fake.devices.set(to, fake.devices.get(name)!);
      fake.devices.delete(name);
    },
    setUp: async () => {},
    take: async (port) => {
      fake.taken.add(`192.0.2.1 ${port}`);
    },
  });
  expect(modelled).toEqual(real);
  expect(real).toContain('lost: true');
});
