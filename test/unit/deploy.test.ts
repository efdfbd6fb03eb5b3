import { execFile } from 'node:child_process';
import { copyFileSync, cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DEFAULTS } from '../../src/contract.ts';

/** What is shipped for systemd, looked at by systemd's own tools. */

const ROOT = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '');
const DEPLOY = join(ROOT, 'deploy/systemd');
const unit = readFileSync(join(DEPLOY, 'loden.service'), 'utf8');

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'ld-deploy-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** Standard output and standard error together. */
function run(argv: readonly string[]): Promise<{ status: number; said: string }> {
  return new Promise((resolve) => {
    execFile(argv[0]!, argv.slice(1), { timeout: 20_000 }, (error, stdout, stderr) =>
      resolve({ status: error ? Number(error.code) : 0, said: stdout + stderr }),
    );
  });
}

/** The files as they are put in place, with the checkout where docs/deploy.md has /opt/loden. */
function place(change: (text: string) => string = (text) => text): string {
  const at = mkdtempSync(join(dir, 'units-'));
  writeFileSync(join(at, 'loden.service'), change(unit).replaceAll('/opt/loden', ROOT));
  cpSync(join(DEPLOY, 'docker.service.d'), join(at, 'docker.service.d'), { recursive: true });
  for (const name of ['docker.service', 'docker.socket'])
    copyFileSync(join('/usr/lib/systemd/system', name), join(at, name));
  return at;
}

describe('systemd-analyze verify', () => {
  test.each(['loden.service', 'docker.service'])('says nothing about %s', async (name) => {
    expect(await run(['systemd-analyze', 'verify', join(place(), name)])).toEqual({ status: 0, said: '' });
  });

  test('would say something: its exit status alone proves nothing', async () => {
    const at = place((text) => text.replace('RestrictRealtime', 'RestrictRealtme'));
    const { said } = await run(['systemd-analyze', 'verify', join(at, 'loden.service')]);
    expect(said).toContain("Unknown key 'RestrictRealtme'");
  });
});

test('the exposure that docs/deploy.md names is what systemd-analyze security finds', async () => {
  const { said } = await run([
    'systemd-analyze',
    'security',
    '--offline=true',
    join(place(), 'loden.service'),
  ]);
  const [, exposure] = /Overall exposure level for loden\.service: ([\d.]+)/.exec(said)!;
  const docs = readFileSync(join(ROOT, 'docs/deploy.md'), 'utf8');
  expect(docs).toContain(`exposure level ${exposure}`);
});

test('the unit says what others rely on', () => {
  const values = (key: string): string[] =>
    [...unit.matchAll(new RegExp(`^${key}=(.*)$`, 'gm'))].map((m) => m[1]!);
  expect(values('Type')).toEqual(['notify']);
  expect(values('Restart')).toEqual(['always']);
  expect(values('Before').join(' ').split(' ')).toContain('docker.service');
  // Legacy iptables would load them itself, if it might.
  const modules = ['modprobe@ip_tables.service', 'modprobe@ip6_tables.service'];
  expect(values('CapabilityBoundingSet').join(' ')).not.toContain('CAP_SYS_MODULE');
  expect(values('After').join(' ').split(' ')).toEqual(['network-online.target', 'etcd.service', ...modules]);
  expect(values('Wants').join(' ').split(' ')).toEqual(['network-online.target', ...modules]);
  expect(values('EnvironmentFile')).toEqual(['-/run/flannel/options.env', '-/etc/flannel/options.env']);
  expect(values('Environment')).toEqual([`FLANNELD_SUBNET_FILE=${DEFAULTS.subnetFile}`]);
  expect(values('FileDescriptorStoreMax')).toEqual(['128']);
  for (const [key, path] of [
    ['RuntimeDirectory', DEFAULTS.runDir],
    ['StateDirectory', DEFAULTS.stateDir],
  ] as const)
    expect([`/run/${values(key)[0]}`, `/var/lib/${values(key)[0]}`]).toContain(path);
  const dropIn = readFileSync(join(DEPLOY, 'docker.service.d/loden.conf'), 'utf8');
  const [written] = / -d (\S+)$/m.exec(values('ExecStartPost')[0]!)!.slice(1);
  expect(dropIn).toContain(`EnvironmentFile=-${written}\n`);
  // Docker's own start writes the same, of the same.
  const post = values('ExecStartPost')[0]!.replace(`\${FLANNELD_SUBNET_FILE}`, DEFAULTS.subnetFile);
  const [pre] = /^ExecStartPre=-\/bin\/sh -c '(.*)'$/m.exec(dropIn)!.slice(1);
  expect(pre).toBe(`test ! -e ${DEFAULTS.subnetFile} || exec env -i ${post.slice(1)}`);
});

test('each file in place of another is told of in docs/deploy.md', () => {
  const docs = readFileSync(join(ROOT, 'docs/deploy.md'), 'utf8');
  const files = readdirSync(DEPLOY, { recursive: true, encoding: 'utf8' });
  for (const file of files.filter((f) => /\.\w+$/.test(f) && !f.endsWith('.d')))
    expect(docs, file).toContain(file);
  expect(docs).toContain('mk-docker-opts.sh');
});
