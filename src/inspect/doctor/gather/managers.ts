import { readdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { Managers, UnitFile } from '../facts.ts';
import { parseUnitFile } from '../unitFile.ts';
import type { Process } from './proc.ts';

/** Bytes of one configuration file that are read. */
const LARGEST = 1 << 20;

/** systemd's directories for network files; what is in an earlier one hides what has the same name in a later one. */
const NETWORK = ['etc', 'run', 'usr/local/lib', 'usr/lib', 'lib'].map((d) => `${d}/systemd/network`);
const NETWORKD_CONF = ['usr/lib', 'usr/local/lib', 'run', 'etc'].map((d) => `${d}/systemd/networkd.conf`);
const MANAGER_CONF = ['usr/lib', 'run', 'etc'].map((d) => `${d}/NetworkManager`);
/** Of managers without an INI dialect. */
const PLAIN = ['etc/dhcpcd.conf', 'etc/connman/main.conf'];

const list = (dir: string): Promise<string[]> => readdir(dir).catch(() => []);
const text = (path: string): Promise<string | undefined> =>
  readFile(path).then(
    (bytes) => bytes.subarray(0, LARGEST).toString('utf8'),
    () => undefined,
  );

/** Files of a suffix by name, each with its drop-ins. */
async function unitFiles(root: string, suffix: string): Promise<UnitFile[]> {
  const byName = new Map<string, string>();
  const dropIns = new Map<string, Map<string, string>>();
  for (const dir of NETWORK) {
    for (const name of await list(join(root, dir))) {
      if (name.endsWith(suffix)) {
        if (!byName.has(name)) byName.set(name, join(root, dir, name));
      } else if (name.endsWith(`${suffix}.d`)) {
        const of = dropIns.get(name.slice(0, -2)) ?? new Map<string, string>();
        for (const file of await list(join(root, dir, name))) {
          if (file.endsWith('.conf') && !of.has(file)) of.set(file, join(root, dir, name, file));
        }
        dropIns.set(name.slice(0, -2), of);
      }
    }
  }
  const files: UnitFile[] = [];
  for (const name of [...byName.keys()].sort()) {
    const more = [...(dropIns.get(name) ?? [])].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, path]) => path);
    const texts = await Promise.all([byName.get(name)!, ...more].map(text));
    files.push(
      parseUnitFile(
        byName.get(name)!,
        texts.filter((t) => t !== undefined),
      ),
    );
  }
  return files;
}

/** A main file and its drop-ins, in the order in which later ones count more. */
async function confFiles(paths: readonly string[]): Promise<UnitFile[]> {
  const files: UnitFile[] = [];
  for (const path of paths) {
    const body = await text(path);
    if (body !== undefined) files.push(parseUnitFile(path, [body]));
  }
  return files;
}

async function withDropIns(
  root: string,
  mains: readonly string[],
  dirs: readonly string[],
): Promise<UnitFile[]> {
  const byName = new Map<string, string>();
  for (const dir of dirs) {
    for (const name of await list(join(root, dir)))
      if (name.endsWith('.conf')) byName.set(name, join(root, dir, name));
  }
  const dropIns = [...byName].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, path]) => path);
  const present = await confFiles(mains.map((m) => join(root, m)));
  // Of the main files only the one in the highest directory is read.
  return [...present.slice(-1), ...(await confFiles(dropIns))];
}

/** Who else manages the network: what runs, and how it is configured below `root`. */
export async function findManagers(root: string, processes: readonly Process[]): Promise<Managers> {
  const plain = await Promise.all(
    PLAIN.map(async (path) => [basename(path), await text(join(root, path))] as const),
  );
  const running = new Set(processes.map((p) => p.name));
  return {
    running,
    linkFiles: await unitFiles(root, '.link'),
    networkFiles: await unitFiles(root, '.network'),
    networkdConf: await withDropIns(
      root,
      NETWORKD_CONF,
      NETWORKD_CONF.map((c) => `${c}.d`),
    ),
    networkManagerConf: await withDropIns(
      root,
      MANAGER_CONF.map((d) => `${d}/NetworkManager.conf`),
      MANAGER_CONF.map((d) => `${d}/conf.d`),
    ),
    plain: new Map(plain.filter((p): p is readonly [string, string] => p[1] !== undefined)),
  };
}
