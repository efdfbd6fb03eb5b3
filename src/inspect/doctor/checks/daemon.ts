import { VERSION } from '../../../contract.ts';
import { knownValue } from '../../world.ts';
import type { Facts } from '../facts.ts';
import { type Check, type Found, failure, info, orOk, skipped, warning } from '../types.ts';

/** Does the daemon run, and is it ready? */
export const daemon: Check<Facts> = {
  id: 'daemon',
  group: 'Daemon',
  title: 'daemon',
  look(facts) {
    const { state, reason } = facts.world.daemon;
    if (state === 'none')
      return [
        warning(
          facts.options.runDir,
          `no daemon answers at ${facts.options.runDir}: what the kernel holds stays, but nothing follows changes of leases`,
          'systemctl start loden; journalctl -u loden tells why it ended; or name its --run-dir',
        ),
      ];
    if (state === 'refusing') {
      if (!facts.privileged && /permission denied/i.test(reason ?? ''))
        return [skipped(`${reason}: run this as root`, facts.options.runDir)];
      return [
        failure(
          facts.options.runDir,
          `the daemon does not answer: ${reason}`,
          'systemctl restart loden loses no packet; journalctl -u loden',
        ),
      ];
    }
    const status = knownValue(facts.world.status)!;
    const found: Found[] = [];
    if (!status.ready)
      found.push(
        failure(
          null,
          `the daemon is not ready: ${status.reason ?? 'it does not say why'}`,
          'the reason says what it waits for; loden status shows more',
        ),
      );
    if (status.version !== VERSION)
      found.push(
        info(
          null,
          `the daemon is version ${status.version}, and this is ${VERSION}`,
          'systemctl restart loden (no packet is lost)',
        ),
      );
    for (const problem of status.problems.filter((p) => !status.reason?.includes(p)))
      found.push(info(null, `the daemon says: ${problem}`));
    return orOk(found, `runs as process ${status.pid} since ${status.startedAt} and is ready`);
  },
};
