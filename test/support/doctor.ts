import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import type { Finding, Level, Report } from '../../src/inspect/doctor/types.ts';
import type { EtcdHost } from './etcdHost.ts';
import { type Host, LODEN } from './host.ts';
import type { Netns } from './netns.ts';
import { CommandError, type Proc } from './proc.ts';

export interface DoctorRun {
  readonly status: number;
  readonly report: Report;
}

/** `loden doctor --json` in a namespace. */
export async function doctor(
  at: Pick<Netns, 'run'>,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<DoctorRun> {
  const argv = [LODEN, 'doctor', '--json', ...args];
  try {
    return { status: 0, report: JSON.parse(await at.run(argv, { env })) as Report };
  } catch (error) {
    if (!(error instanceof CommandError) || error.stdout === '') throw error;
    return { status: Number(error.status), report: JSON.parse(error.stdout) as Report };
  }
}

/** The options by which it finds a host's daemon and files, and etcd where none runs; no CNI files unless given. */
export const optionsFor = (host: Host, etcd: EtcdHost): readonly string[] => [
  ...host.dirs,
  ...['--etcd-endpoints', etcd.endpoint()],
  ...['--conf-dir', join(host.dir, 'net.d'), '--bin-dir', join(host.dir, 'bin')],
];

export type Verdict = 'failure' | 'warning' | 'skipped' | 'fine';

/** The worst that each check says. */
export function verdicts({ findings }: Report): Record<string, Verdict> {
  const order: readonly Level[] = ['failure', 'warning', 'skipped'];
  const out: Record<string, Verdict> = {};
  for (const [check, of] of Object.entries(Object.groupBy(findings, (f) => f.check))) {
    const worst = order.find((level) => of!.some((f) => f.level === level));
    out[check] = (worst as Verdict | undefined) ?? 'fine';
  }
  return out;
}

/** What a check says that is not well. */
export const trouble = ({ findings }: Report, check: string): readonly Finding[] =>
  findings.filter((f) => f.check === check && (f.level === 'failure' || f.level === 'warning'));

/** A program of this name that does nothing. */
export function namedProgram(netns: Netns, dir: string, name: string): Promise<Proc> {
  const path = join(dir, name);
  copyFileSync('/bin/sleep', path);
  return netns.start([path, '600'], { log: `${path}.log` });
}

/** Files of a host, for `--root`. */
export function rootWith(dir: string, files: Readonly<Record<string, string>>): string {
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(dir, path)), { recursive: true });
    writeFileSync(join(dir, path), path.endsWith('.gz') ? gzipSync(text) : text);
  }
  return dir;
}
