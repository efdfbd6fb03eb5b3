import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Cluster } from './cluster.ts';
import type { Host } from './host.ts';
import { Systemd } from './systemd.ts';

/** What is shipped for systemd. */
export const DEPLOY = fileURLToPath(new URL('../../deploy/systemd', import.meta.url));
const CHECKOUT = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '');

/** Where docs/deploy.md puts each directory of deploy/systemd. */
const PLACES: Readonly<Record<string, string>> = {
  'docker.service.d': '/etc/systemd/system/docker.service.d',
  network: '/etc/systemd/network',
};

/** The files below deploy/systemd but for the unit, by where they go. */
function shipped(): Record<string, string> {
  const files: Record<string, string> = {};
  for (const dir of readdirSync(DEPLOY).filter((name) => statSync(join(DEPLOY, name)).isDirectory())) {
    const place = PLACES[dir];
    if (!place) throw new Error(`where does ${dir} go? Say so here and in docs/deploy.md`);
    for (const name of readdirSync(join(DEPLOY, dir)))
      files[`${place}/${name}`] = readFileSync(join(DEPLOY, dir, name), 'utf8');
  }
  return files;
}

/**
 * A host under systemd with everything in place as docs/deploy.md says, byte for byte as shipped; nothing is started. Options of the daemon are in
 * /etc/flannel/options.env, by their variables.
 */
export function bootDeployed(
  cluster: Cluster,
  host: Host,
  more: { files?: Readonly<Record<string, string>>; binds?: readonly string[] } = {},
): Promise<Systemd> {
  return Systemd.boot(host, {
    text: readFileSync(join(DEPLOY, 'loden.service'), 'utf8'),
    binds: [`${CHECKOUT}:/opt/loden`, ...(more.binds ?? [])],
    files: {
      ...shipped(),
      // Else systemd takes this for the first boot and enables what it finds.
      '/etc/machine-id': '0123456789abcdef0123456789abcdef\n',
      '/etc/flannel/options.env': `FLANNELD_ETCD_ENDPOINTS=${cluster.etcd.endpoint()}\nFLANNELD_IP_MASQ=true\n`,
      ...more.files,
    },
  });
}
