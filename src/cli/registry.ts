import type { Command } from './command.ts';
import { cleanup } from './commands/cleanup.ts';
import { cniInstall } from './commands/cniInstall.ts';
import { cniUninstall } from './commands/cniUninstall.ts';
import { completion } from './commands/completion.ts';
import { configSet } from './commands/configSet.ts';
import { configShow } from './commands/configShow.ts';
import { configValidate } from './commands/configValidate.ts';
import { dockerOpts } from './commands/dockerOpts.ts';
import { doctor } from './commands/doctor.ts';
import { events } from './commands/events.ts';
import { leasesList } from './commands/leasesList.ts';
import { leasesRelease } from './commands/leasesRelease.ts';
import { leasesReserve } from './commands/leasesReserve.ts';
import { leasesShow } from './commands/leasesShow.ts';
import { metrics } from './commands/metrics.ts';
import { peers } from './commands/peers.ts';
import { run } from './commands/run.ts';
import { status } from './commands/status.ts';
import { version } from './commands/version.ts';
import { why } from './commands/why.ts';

/** Every command, in the order of `--help`. */
export const COMMANDS: readonly Command[] = [
  run,
  leasesList,
  leasesShow,
  leasesReserve,
  leasesRelease,
  status,
  peers,
  why,
  doctor,
  configShow,
  configValidate,
  configSet,
  events,
  metrics,
  cleanup,
  cniInstall,
  cniUninstall,
  dockerOpts,
  completion,
  version,
];

/** What `--help` says of words that several commands begin with. */
export const FAMILIES: Readonly<Record<string, string>> = {
  leases: 'Who has which subnet.',
  config: 'The network config in etcd.',
  cni: 'The CNI plugin, by which pods get addresses.',
};
