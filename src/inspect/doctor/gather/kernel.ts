import { access, readFile } from 'node:fs/promises';
import { release } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';
import type { KernelFacts } from '../facts.ts';
import { FEATURES, featureStates } from '../kernelFeatures.ts';

/** Bytes of an unpacked kernel configuration; today's have 300 KB. */
const LARGEST = 8 << 20;

const unpack = promisify(gunzip);

const read = (path: string): Promise<string | undefined> => readFile(path, 'utf8').catch(() => undefined);
const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );

async function configuration(root: string, version: string): Promise<string | undefined> {
  const packed = await readFile(join(root, 'proc/config.gz')).catch(() => undefined);
  if (packed) {
    const text = await unpack(packed, { maxOutputLength: LARGEST }).catch(() => undefined);
    if (text) return text.toString('utf8');
  }
  for (const path of [
    `boot/config-${version}`,
    `lib/modules/${version}/config`,
    `usr/lib/modules/${version}/config`,
  ]) {
    const text = await read(join(root, path));
    if (text !== undefined) return text;
  }
  return undefined;
}

/** What the kernel has, from what it and the files below `root` tell; nothing is loaded. */
export async function readKernel(root: string): Promise<KernelFacts> {
  const version = release();
  const modules = join(root, 'lib/modules', version);
  const [config, builtin, dep, loaded, tunDevice, ipv6] = await Promise.all([
    configuration(root, version),
    read(join(modules, 'modules.builtin')),
    read(join(modules, 'modules.dep')),
    read(join(root, 'proc/modules')),
    exists('/dev/net/tun'),
    exists('/proc/net/if_inet6'),
  ]);
  const inSys = new Set<string>();
  for (const { module } of FEATURES) if (await exists(join(root, 'sys/module', module))) inSys.add(module);
  return {
    release: version,
    features: featureStates({ config, builtin, dep, loaded: loaded ?? '', inSys }),
    tunDevice,
    ipv6,
  };
}
