import { makePki, type Pki } from './etcd.ts';
import type { EtcdHost } from './etcdHost.ts';

export const ROOT = ['--user', 'root:the-password-of-root'] as const;

/** An etcd that hosts reach by TLS and with a name and password only. */
export interface SecureEtcd {
  /** For `--etcd-endpoints`. */
  readonly endpoint: string;
  readonly pki: Pki;
  /** Start it again on the data it has. */
  start(): Promise<void>;
  /** `etcdctl <args>` as root. */
  ctl(...args: string[]): Promise<string>;
}

/**
 * Make it one: TLS, users, and one that may do anything under /coreos.com/network and nothing elsewhere. Tokens that
 * nobody uses for `tokenTtl` seconds run out.
 */
export async function secure(
  etcd: EtcdHost,
  user: { readonly name: string; readonly password: string },
  tokenTtl: number,
): Promise<SecureEtcd> {
  const { at, dir } = etcd;
  for (const args of [
    ['user', 'add', ROOT[1]],
    ['user', 'grant-role', 'root', 'root'],
    ['user', 'add', `${user.name}:${user.password}`],
    ['role', 'add', 'overlay'],
    ['role', 'grant-permission', 'overlay', 'readwrite', '--prefix', '/coreos.com/network/'],
    ['user', 'grant-role', user.name, 'overlay'],
    ['auth', 'enable'],
  ]) {
    await etcd.ctl(...args);
  }
  await etcd.stop();
  const pki = await makePki(dir, `IP:${at.ipv4}`);
  const endpoint = `https://${at.ipv4}:2379`;
  const start = () =>
    etcd.start([
      // etcdctl here and the Unix socket do without TLS.
      ...['--listen-client-urls', `${endpoint},http://127.0.0.1:2379,unix://etcd:2379`],
      ...['--advertise-client-urls', endpoint, '--cert-file', pki.cert, '--key-file', pki.key],
      ...['--auth-token-ttl', String(tokenTtl)],
    ]);
  await start();
  return { endpoint, pki, start, ctl: (...args) => etcd.ctl(...ROOT, ...args) };
}
