import type { Command } from './command.ts';
import { cleanup } from './commands/cleanup.ts';
import { cniInstall } from './commands/cniInstall.ts';
import { cniUninstall } from './commands/cniUninstall.ts';
import { dockerOpts } from './commands/dockerOpts.ts';
import { leasesList } from './commands/leasesList.ts';
import { run } from './commands/run.ts';
import { version } from './commands/version.ts';

/** Every command, in the order of `--help`. */
export const COMMANDS: readonly Command[] = [
  run,
  leasesList,
  cleanup,
  cniInstall,
  cniUninstall,
  dockerOpts,
  version,
];

/** What `--help` says of words that several commands begin with. */
export const FAMILIES: Readonly<Record<string, string>> = {
  leases: 'Who has which subnet.',
  cni: 'The CNI plugin, by which pods get addresses.',
};
