import { X509Certificate } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { FILES } from '../../../contract.ts';
import { isObject } from '../../../fields.ts';
import { addon } from '../../../native/addon.ts';
import type { StoreOptions } from '../../../subnet/api.ts';
import { readSmall } from '../../../subnet/files.ts';
import { parseSubnetEnv } from '../../../subnet/subnetEnv.ts';
import type { CertificateFact, ClockFact, CniFacts } from '../facts.ts';
import type { Process } from './proc.ts';

/** The PEM files that the options name. A key is only seen to be readable. */
export async function readCertificates(etcd: StoreOptions): Promise<readonly CertificateFact[]> {
  const named = [
    ['--etcd-cafile', etcd.caFile],
    ['--etcd-certfile', etcd.certFile],
    ['--etcd-keyfile', etcd.keyFile],
  ] as const;
  const facts: CertificateFact[] = [];
  for (const [option, path] of named) {
    if (!path) continue;
    const nothing = { option, path, from: null, to: null };
    try {
      const text = await readFile(path);
      if (option === '--etcd-keyfile') {
        const isKey = /-----BEGIN [A-Z ]*PRIVATE KEY-----/.test(text.toString('latin1'));
        facts.push({ ...nothing, error: isKey ? null : 'it holds no private key in PEM form' });
        continue;
      }
      const certificate = new X509Certificate(text);
      facts.push({
        ...nothing,
        from: Date.parse(certificate.validFrom),
        to: Date.parse(certificate.validTo),
        error: null,
      });
    } catch (e) {
      const { code, message } = e as NodeJS.ErrnoException;
      facts.push({
        ...nothing,
        error: code?.startsWith('ERR_OSSL') ? 'it holds no certificate in PEM form' : message,
      });
    }
  }
  return facts;
}

export const readClock = (): ClockFact => ({
  now: Date.now(),
  synchronised: addon().clockSynchronised(),
});

/** Null: there is no such file; throws when it cannot be read. */
export async function readSubnetFile(path: string): Promise<ReturnType<typeof parseSubnetEnv> | null> {
  const text = await readSmall(path);
  return text === undefined ? null : parseSubnetEnv(text);
}

/** Runtimes that attach pods by CNI, as the kernel shortens their names. */
const RUNTIMES = ['kubelet', 'containerd', 'crio', 'cri-dockerd', 'k3s-agent', 'k3s-server'];

export async function readCni(
  confDir: string,
  binDir: string,
  processes: readonly Process[],
): Promise<CniFacts> {
  const names = await readdir(confDir).catch(() => undefined);
  const configurations: NonNullable<CniFacts['configurations']>[number][] = [];
  for (const file of (names ?? []).filter((n) => /\.(?:conf|conflist|json)$/.test(n)).sort())
    configurations.push({ file, ...(await configuration(join(confDir, file))) });
  const binaries = new Set(await readdir(binDir).catch(() => []));
  return {
    confDir,
    configurations: names ? configurations : undefined,
    binDir,
    binaries,
    runtime: processes.find((p) => RUNTIMES.includes(p.name))?.name,
  };
}

type Configuration = Omit<NonNullable<CniFacts['configurations']>[number], 'file'>;

async function configuration(path: string): Promise<Configuration> {
  const unreadable = { plugins: null, version: null, mtu: null };
  let value: unknown;
  try {
    value = JSON.parse(await readFile(path, 'utf8'));
  } catch {
    return unreadable;
  }
  if (!isObject(value)) return unreadable;
  const { cniVersion } = value;
  const plugins = Array.isArray(value.plugins) ? value.plugins.filter(isObject) : [value];
  const types = plugins.map((p) => p.type).filter((t) => typeof t === 'string');
  const mtu = plugins.map((p) => p.mtu).find((m) => typeof m === 'number');
  return {
    plugins: types,
    version: typeof cniVersion === 'string' ? cniVersion : null,
    mtu: mtu ?? null,
  };
}

/** The node's id in the state directory; null: there is none yet; undefined: we may not read it. */
export async function readNodeId(stateDir: string): Promise<string | null | undefined> {
  try {
    const text = await readSmall(join(stateDir, FILES.nodeId));
    if (text === undefined) return null;
    const value: unknown = JSON.parse(text);
    return isObject(value) && typeof value.node === 'string' ? value.node : undefined;
  } catch {
    return undefined;
  }
}
