import { execFile } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, test } from 'vitest';

const LAUNCHER = fileURLToPath(new URL('../../bin/loden', import.meta.url));
const ARCH = process.arch;

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'ld-launcher-'));
  put('bin/loden', undefined);
  copyFileSync(LAUNCHER, join(root, 'bin/loden'));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

/** A file, executable, in the pretended checkout. */
function put(path: string, text: string | undefined): void {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  if (text === undefined) return;
  writeFileSync(join(root, path), text);
  chmodSync(join(root, path), 0o755);
}

/** A pretended node that says how it was called. */
const fakeNode = (name: string) =>
  `#!/bin/sh\n[ "$1" = --version ] && { echo ${name}; exit; }\necho "${name} pid=$$ ca=\${NODE_EXTRA_CA_CERTS-unset}"\nprintf '[%s]\\n' "$@"\n`;

function launch(
  args: string[],
  options: { env?: Record<string, string>; as?: string; path?: string } = {},
): Promise<{ status: number; stdout: string; stderr: string; pid: number | undefined }> {
  return new Promise((resolve) => {
    const child = execFile(
      options.as ?? join(root, 'bin/loden'),
      args,
      { env: { PATH: options.path ?? '/usr/bin:/bin', ...options.env } },
      (error, stdout, stderr) =>
        resolve({ status: error ? Number(error.code) : 0, stdout, stderr, pid: child.pid }),
    );
  });
}

test('runs dist/main.js by the pinned node, as the same process, with the arguments as they came', async () => {
  put('dist/main.js', '');
  put(`node_modules/node-linux-${ARCH}/bin/node`, fakeNode('pinned'));
  const { status, stdout, pid } = await launch(['run', '--iface', 'a b', '', '*']);
  expect(status).toBe(0);
  expect(stdout).toContain(`pinned pid=${pid} `);
  const main = join(root, 'dist/main.js');
  expect(stdout).toContain(`[${main}]\n[run]\n[--iface]\n[a b]\n[]\n[*]\n`);
});

test('is found through symbolic links, absolute and relative', async () => {
  put('dist/main.js', '');
  put(`node_modules/node-linux-${ARCH}/bin/node`, fakeNode('pinned'));
  put('else/where/x', '');
  symlinkSync('../../bin/loden', join(root, 'else/where/one'));
  symlinkSync(join(root, 'else/where/one'), join(root, 'else/two'));
  const { stdout } = await launch(['version'], { as: join(root, 'else/two') });
  expect(stdout).toContain(`[${join(root, 'dist/main.js')}]`);
});

test('says what to do when it is not built', async () => {
  const { status, stderr } = await launch(['run']);
  expect(status).toBe(70);
  expect(stderr).toContain(`${join(root, 'dist/main.js')} is missing`);
  expect(stderr).toContain('npm run setup');
});

test.each([
  ['v24.1.0', true],
  ['v26.0.0', true],
  ['v23.9.0', false],
  ['v20.20.2', false],
  ['v9.9.9', false],
])('without the pinned node takes the system node %s: %s', async (version, taken) => {
  put('dist/main.js', '');
  put('path/node', fakeNode(version));
  const { status, stdout, stderr } = await launch(['run'], { path: `${root}/path:/usr/bin:/bin` });
  expect(status).toBe(taken ? 0 : 70);
  if (taken) expect(stdout).toContain(version);
  else expect(stderr).toMatch(new RegExp(`${version}.*npm run setup`));
});

test('keeps extra certificates only for an etcd by TLS', async () => {
  put('dist/main.js', '');
  put(`node_modules/node-linux-${ARCH}/bin/node`, fakeNode('pinned'));
  const ca = { NODE_EXTRA_CA_CERTS: '/ca.pem' };
  expect((await launch(['run'], { env: ca })).stdout).toContain('ca=unset');
  expect((await launch(['run', '--etcd-endpoints=https://e:1'], { env: ca })).stdout).toContain('ca=/ca.pem');
  const env = { ...ca, FLANNELD_ETCD_ENDPOINTS: 'https://e:1' };
  expect((await launch(['run'], { env })).stdout).toContain('ca=/ca.pem');
});
