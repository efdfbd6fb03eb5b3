import { renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { EtcdHost } from './etcdHost.ts';
import { run } from './proc.ts';

/** What an operator, or bad luck, does to an etcd. */

/** Its revision now, decimal. */
export async function revision(etcd: EtcdHost): Promise<string> {
  const text = await etcd.ctl('endpoint', 'status', '-w', 'json');
  return /"revision":(\d+)/.exec(text)![1]!;
}

/** Compact away all history. */
export async function compact(etcd: EtcdHost): Promise<void> {
  await etcd.ctl('compact', await revision(etcd));
}

/** Save a backup; resolves to its file. */
export async function backup(etcd: EtcdHost, name: string): Promise<string> {
  const file = join(etcd.dir, name);
  await etcd.ctl('snapshot', 'save', file);
  return file;
}

/** Stop etcd, put a backup in the place of its data, start it again at the same address. */
export async function restore(etcd: EtcdHost, file: string): Promise<void> {
  await etcd.stop();
  const data = join(etcd.dir, 'data');
  const fresh = join(etcd.dir, 'restored');
  const peer = 'http://127.0.0.1:2380';
  await run(
    [
      ...['etcdctl', 'snapshot', 'restore', file, '--data-dir', fresh, '--name', 'default'],
      ...['--initial-cluster', `default=${peer}`, '--initial-advertise-peer-urls', peer],
    ],
    { env: { ETCDCTL_API: '3' } },
  );
  rmSync(data, { recursive: true });
  renameSync(fresh, data);
  await etcd.start();
}

/** Revoke the etcd lease a key hangs on; `id` decimal, as {@link EtcdHost.list} tells it. */
export async function revoke(etcd: EtcdHost, id: string): Promise<void> {
  await etcd.ctl('lease', 'revoke', BigInt(id).toString(16));
}
