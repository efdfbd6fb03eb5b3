import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { controlSocket, getJson } from '../api/client.ts';
import { NoDaemonError } from '../api/faults.ts';
import type { CleanupOptions } from '../config/commands.ts';
import { EXIT, FILES } from '../contract.ts';
import { LodenError } from '../errors.ts';
import { cleanup as cleanupKernel } from '../kernel/cleanup.ts';
import { Firewall } from '../kernel/firewall.ts';
import { NetlinkKernel } from '../kernel/netlinkKernel.ts';
import { StateDir } from '../subnet/stateDir.ts';

/** What `loden cleanup --json` prints. */
interface CleanupJson {
  /** Number of objects by kind; what stood on a removed link went with it and is not counted. */
  readonly removed: Readonly<Record<string, number>>;
  /** Tables and chains in which rules of ours were. */
  readonly firewall: readonly string[];
  readonly problems: readonly string[];
}

/**
 * `loden cleanup`: take out of the kernel all that a daemon put there, and nothing else; with it goes what is saved of the
 * forwarder. Lease, subnet file and state directory stay, so that the node gets its subnet back.
 * Throws LodenError with exit code 75 while a daemon runs, and 1 when something could not be removed.
 */
export async function cleanup(options: CleanupOptions, print: (text: string) => void): Promise<void> {
  await refuseBesideDaemon(options);
  const kernel = NetlinkKernel.open();
  try {
    const links = await cleanupKernel(kernel, { devices: new Set() });
    const firewall = await Firewall.cleanup();
    // What a daemon would go on forwarding before it knows anything: it would be for a device that is gone.
    await rm(join(options.runDir, FILES.forwarderTable), { force: true });
    await rm(join(options.runDir, FILES.offload), { force: true });
    const result: CleanupJson = {
      removed: links.removed,
      firewall: firewall.removed,
      problems: [...links.failed.map((f) => `${f.object}: ${f.error}`), ...firewall.problems],
    };
    print(options.json ? `${JSON.stringify(result, null, 2)}\n` : render(result));
    if (links.failed.length > 0) throw new LodenError('not all could be removed; see above');
  } finally {
    kernel.close();
  }
}

/** A daemon would put everything back at once. */
async function refuseBesideDaemon({ runDir, stateDir }: CleanupOptions): Promise<void> {
  try {
    await getJson(runDir, '/v1/status');
  } catch (e) {
    if (!(e instanceof NoDaemonError)) throw e;
    // Nobody answers; one that is only starting holds the state directory.
    if (existsSync(stateDir)) await (await StateDir.open(stateDir))[Symbol.asyncDispose]();
    return;
  }
  throw new LodenError(
    `a loden daemon answers on ${controlSocket(runDir)}: stop it before cleaning up behind it`,
    { exitCode: EXIT.busy },
  );
}

function render({ removed, firewall, problems }: CleanupJson): string {
  const counts = Object.entries(removed).filter(([, n]) => n > 0);
  const things = [...counts.map(([kind, n]) => `${n} ${kind}${n === 1 ? '' : 's'}`), ...firewall];
  const lines = [
    things.length > 0 ? `removed: ${things.join(', ')}` : 'there was nothing to remove',
    ...problems,
  ];
  return lines.map((line) => `${line}\n`).join('');
}
