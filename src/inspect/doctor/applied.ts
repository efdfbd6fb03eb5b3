import type { ConfigJson } from '../../api/shapes.ts';
import { type EtcdOptions, etcdOptions } from '../../config/etcd.ts';
import { type OptionName, optionsOf, type Values } from '../../config/options.ts';
import { type Env, type Flags, readSources } from '../../config/sources.ts';
import type { Applied } from './facts.ts';

/** Which options apply to this host: those given here, else the running daemon's, else the defaults. */
export interface Settled {
  readonly values: Values;
  readonly etcd: EtcdOptions;
  readonly applied: Applied;
}

/** Options of ours that say how to ask, not how this host is. */
const OWN: ReadonlySet<OptionName> = new Set([
  'json',
  'color',
  'only',
  'list',
  'root',
  'run-dir',
  'bin-dir',
  'conf-dir',
]);

/** Pure. `config`: what the running daemon was told. */
export function settle(flags: Flags, env: Env, config: ConfigJson | undefined): Settled {
  const given = readSources('doctor', flags, env);
  const told = (config?.options ?? []).filter((o) => o.origin !== 'default');
  const merged = new Map(flags);
  for (const name of optionsOf('doctor')) {
    const theirs = told.find((o) => o.name === name);
    if (OWN.has(name) || !theirs || given.settings.get(name)?.origin !== 'default') continue;
    merged.set(name, theirs.values);
  }
  const passwordHidden = merged.has('etcd-password') && !flags.has('etcd-password');
  // What is masked is no password; without it the name is of no use.
  if (passwordHidden) {
    merged.delete('etcd-password');
    if (!flags.has('etcd-username')) merged.delete('etcd-username');
  }
  const both = readSources('doctor', merged, env);
  const { values, settings } = both.problems.length === 0 ? both : given;
  const etcd = etcdOptions(values);
  return {
    values,
    etcd,
    applied: {
      runDir: values['run-dir'],
      stateDir: values['state-dir'],
      subnetFile: values['subnet-file'],
      endpoints: etcd.endpoints,
      endpointsByDefault: settings.get('etcd-endpoints')?.origin === 'default',
      passwordHidden,
      ipMasq: values['ip-masq'],
      forwardRules: values['iptables-forward-rules'],
      ifaces: values.iface,
    },
  };
}
