import { resolve } from 'node:path';
import { ConfigError } from '../errors.ts';
import { checkEtcd, type EtcdOptions, etcdOptions } from './etcd.ts';
import type { Values } from './options.ts';
import { checkRunDir } from './run.ts';
import { type Env, type Flags, readSources } from './sources.ts';

/** All that `loden leases` was told. */
export interface LeasesOptions {
  readonly etcd: EtcdOptions;
  readonly runDir: string;
  readonly source: Values['source'];
  readonly json: boolean;
}

/** All that `loden cleanup` was told. */
export interface CleanupOptions {
  readonly runDir: string;
  readonly stateDir: string;
  readonly json: boolean;
}

/** The options of `loden leases`; throws ConfigError with all problems. */
export function leasesOptions(flags: Flags, env: Env): LeasesOptions {
  const { values, settings, problems } = readSources('leases', flags, env);
  problems.push(...checkEtcd(values, settings), ...checkRunDir(values, settings));
  if (problems.length > 0) throw new ConfigError('the options of loden leases cannot be used', problems);
  return { etcd: etcdOptions(values), runDir: values['run-dir'], source: values.source, json: values.json };
}

/** The options of `loden cleanup`; throws ConfigError with all problems. */
export function cleanupOptions(flags: Flags, env: Env): CleanupOptions {
  const { values, settings, problems } = readSources('cleanup', flags, env);
  problems.push(...checkRunDir(values, settings));
  if (problems.length > 0) throw new ConfigError('the options of loden cleanup cannot be used', problems);
  return {
    runDir: values['run-dir'],
    stateDir: values['state-dir'],
    json: values.json,
  };
}

/** All that `loden cni install` was told; paths are absolute. */
export interface CniInstallOptions {
  readonly binDir: string;
  readonly confDir: string;
  readonly runDir: string;
  readonly stateDir: string;
  readonly networkName: string;
  readonly cniVersion: Values['cni-version'];
  readonly force: boolean;
  readonly json: boolean;
}

/** All that `loden cni uninstall` was told; paths are absolute. */
export type CniUninstallOptions = Pick<CniInstallOptions, 'binDir' | 'confDir' | 'force' | 'json'>;

/** The options of `loden cni install`; throws ConfigError with all problems. */
export function cniInstallOptions(flags: Flags, env: Env): CniInstallOptions {
  const { values, settings, problems } = readSources('cni install', flags, env);
  problems.push(...checkRunDir(values, settings));
  if (problems.length > 0) throw new ConfigError('the options of loden cni install cannot be used', problems);
  return {
    ...cniFiles(values),
    runDir: resolve(values['run-dir']),
    stateDir: resolve(values['state-dir']),
    networkName: values['network-name'],
    cniVersion: values['cni-version'],
  };
}

/** The options of `loden cni uninstall`; throws ConfigError with all problems. */
export function cniUninstallOptions(flags: Flags, env: Env): CniUninstallOptions {
  const { values, problems } = readSources('cni uninstall', flags, env);
  if (problems.length > 0)
    throw new ConfigError('the options of loden cni uninstall cannot be used', problems);
  return cniFiles(values);
}

const cniFiles = (values: Values): CniUninstallOptions => ({
  binDir: resolve(values['bin-dir']),
  confDir: resolve(values['conf-dir']),
  force: values.force,
  json: values.json,
});
