import { createHash } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { run } from './proc.ts';

/** The process of every pod's sandbox. */
export const PAUSE = 'localhost/pause:1';
/** busybox and nothing else. */
export const BUSYBOX = 'localhost/busybox:1';

const APPLETS = ['cat', 'httpd', 'ip', 'ls', 'nc', 'ping', 'sh', 'sleep'] as const;

/** The root file system of {@link BUSYBOX}, made in `dir`. */
function busyboxRoot(dir: string): string {
  const root = join(dir, 'busybox');
  if (existsSync(root)) return root;
  for (const name of ['bin', 'etc', 'tmp', 'proc', 'sys', 'dev', 'www']) {
    mkdirSync(join(root, name), { recursive: true });
  }
  copyFileSync('/usr/bin/busybox', join(root, 'bin/busybox'));
  for (const applet of APPLETS) symlinkSync('busybox', join(root, 'bin', applet));
  writeFileSync(join(root, 'etc/passwd'), 'root:x:0:0:root:/:/bin/sh\n');
  return root;
}

/** An archive of both images, as `docker save` writes it, made in `dir`: nothing has to be downloaded. */
export async function imageArchive(dir: string): Promise<string> {
  const pause = join(dir, 'pause');
  mkdirSync(pause);
  const source = fileURLToPath(new URL('pause.c', import.meta.url));
  await run(['gcc', '-static', '-Os', '-Wall', '-Werror', '-o', join(pause, 'pause'), source]);

  const images = join(dir, 'images');
  mkdirSync(images);
  const manifest = [
    await image(images, PAUSE, pause, ['/pause']),
    await image(images, BUSYBOX, busyboxRoot(dir), ['/bin/sh']),
  ];
  writeFileSync(join(images, 'manifest.json'), JSON.stringify(manifest));
  const archive = join(dir, 'images.tar');
  await run(['tar', '-C', images, '-cf', archive, '.']);
  for (const used of [pause, images]) rmSync(used, { recursive: true });
  return archive;
}

/** Put layer and configuration of an image into `dir`; returns its entry in the manifest. */
async function image(dir: string, name: string, root: string, command: readonly string[]) {
  const short = name.replace(/^.*\/|:.*$/g, '');
  const layer = `${short}.tar`;
  await run(['tar', '-C', root, '--owner=0', '--group=0', '-cf', join(dir, layer), '.']);
  const config = `${short}.json`;
  const digest = createHash('sha256')
    .update(readFileSync(join(dir, layer)))
    .digest('hex');
  writeFileSync(
    join(dir, config),
    JSON.stringify({
      architecture: process.arch === 'x64' ? 'amd64' : process.arch,
      os: 'linux',
      config: { Cmd: command, Env: ['PATH=/bin'] },
      rootfs: { type: 'layers', diff_ids: [`sha256:${digest}`] },
    }),
  );
  return { Config: config, RepoTags: [name], Layers: [layer] };
}
