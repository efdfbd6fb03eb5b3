import { resolve } from 'node:path';
import { ConfigError } from '../errors.ts';
import { checkEtcd, type EtcdOptions, etcdOptions } from './etcd.ts';
import type { Command } from './option.ts';
import type { Values } from './options.ts';
import { checkRunDir } from './run.ts';
import { type Env, type Flags, readSources } from './sources.ts';

/** How a command that asks the daemon, or etcd instead, finds and shows what it is asked for. */
export interface ClientOptions {
  readonly etcd: EtcdOptions;
  readonly runDir: string;
  readonly source: Values['source'];
  readonly json: boolean;
  readonly color: Values['color'];
}

/** All that `loden leases` was told. */
export interface LeasesOptions extends ClientOptions {
  readonly watch: boolean;
}

/** The values of a command's options; throws ConfigError with all problems. Those of other commands have their defaults. */
export function commandValues(command: Command, flags: Flags, env: Env): Values {
  const { values, settings, problems } = readSources(command, flags, env);
  if (settings.has('etcd-endpoints')) problems.push(...checkEtcd(values, settings));
  if (settings.has('run-dir')) problems.push(...checkRunDir(values, settings));
  if (problems.length > 0) throw new ConfigError(`the options of loden ${command} cannot be used`, problems);
  return values;
}

/** What the options of a client's command mean; of those it does not take, the defaults. */
export const clientOptions = (values: Values): ClientOptions => ({
  etcd: etcdOptions(values),
  runDir: values['run-dir'],
  source: values.source,
  json: values.json,
  color: values.color,
});

/** All that `loden cleanup` was told. */
export interface CleanupOptions {
  readonly runDir: string;
  readonly stateDir: string;
  readonly json: boolean;
}

/** The options of `loden leases`; throws ConfigError with all problems. */
export function leasesOptions(flags: Flags, env: Env): LeasesOptions {
  const values = commandValues('leases list', flags, env);
  return { ...clientOptions(values), watch: values.watch };
}

/** The options of `loden version`; throws ConfigError with all problems. */
export const versionOptions = (flags: Flags, env: Env): { readonly json: boolean } => ({
  json: commandValues('version', flags, env).json,
});

/** The options of `loden cleanup`; throws ConfigError with all problems. */
export function cleanupOptions(flags: Flags, env: Env): CleanupOptions {
  const values = commandValues('cleanup', flags, env);
  return { runDir: values['run-dir'], stateDir: values['state-dir'], json: values.json };
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
  const values = commandValues('cni install', flags, env);
  return {
    ...cniFiles(values),
    runDir: resolve(values['run-dir']),
    stateDir: resolve(values['state-dir']),
    networkName: values['network-name'],
    cniVersion: values['cni-version'],
  };
}

/** The options of `loden cni uninstall`; throws ConfigError with all problems. */
export const cniUninstallOptions = (flags: Flags, env: Env): CniUninstallOptions =>
  cniFiles(commandValues('cni uninstall', flags, env));

const cniFiles = (values: Values): CniUninstallOptions => ({
  binDir: resolve(values['bin-dir']),
  confDir: resolve(values['conf-dir']),
  force: values.force,
  json: values.json,
});
