import type { Problem } from '../errors.ts';
import type { Values } from './options.ts';
import type { Settings } from './sources.ts';

/** How to reach etcd, as the store takes it. */
export interface EtcdOptions {
  /** `scheme://host:port`; all of them `https` when a certificate file is given. */
  readonly endpoints: readonly string[];
  readonly prefix: string;
  readonly caFile: string | undefined;
  readonly certFile: string | undefined;
  readonly keyFile: string | undefined;
  readonly username: string | undefined;
  readonly password: string | undefined;
}

/** Options that only make sense together. */
const PAIRS = [
  ['etcd-certfile', 'etcd-keyfile'],
  ['etcd-keyfile', 'etcd-certfile'],
  ['etcd-password', 'etcd-username'],
  ['etcd-username', 'etcd-password'],
] as const;

export function checkEtcd(values: Values, settings: Settings): Problem[] {
  return PAIRS.filter(([has, lacks]) => values[has] !== undefined && values[lacks] === undefined).map(
    ([has, lacks]) => ({
      path: settings.get(lacks)!.from,
      expected: `a value, since ${settings.get(has)!.from} is given`,
      got: 'nothing',
    }),
  );
}

export function etcdOptions(values: Values): EtcdOptions {
  const tls = [values['etcd-cafile'], values['etcd-certfile'], values['etcd-keyfile']].some(
    (f) => f !== undefined,
  );
  return {
    // Somebody who names a CA does not want to talk in the clear, whatever the scheme says.
    endpoints: values['etcd-endpoints'].map((e) => (tls ? e.replace(/^http:/, 'https:') : e)),
    prefix: values['etcd-prefix'],
    caFile: values['etcd-cafile'],
    certFile: values['etcd-certfile'],
    keyFile: values['etcd-keyfile'],
    username: values['etcd-username'],
    password: values['etcd-password'],
  };
}
