import type { Facts } from '../facts.ts';
import { type Check, info, orOk, skipped, warning } from '../types.ts';

/** Milliseconds between our clock and etcd's from which logs and certificates are confusing. */
const FAR = 5_000;

/** Does this host know what time it is? */
export const clock: Check<Facts> = {
  id: 'clock',
  group: 'Host',
  title: 'clock',
  look(facts) {
    if ('missing' in facts.clock) return [skipped(facts.clock.missing)];
    const { synchronised } = facts.clock.value;
    const fix =
      'timedatectl set-ntp true (or install chrony), and look at chronyc tracking or timedatectl timesync-status on both';
    const offsets = ('value' in facts.etcd ? facts.etcd.value : []).filter((e) => e.clockAhead !== null);
    const far = offsets.filter((e) => Math.abs(e.clockAhead!) > FAR);
    if (far.length > 0)
      return far.map((e) => {
        const seconds = Math.round(Math.abs(e.clockAhead!) / 1000);
        return warning(
          e.endpoint,
          `the clock of etcd at ${e.endpoint} is ${seconds} s ${e.clockAhead! > 0 ? 'ahead of' : 'behind'} this host's: certificates, tokens and logs are judged by it`,
          fix,
        );
      });
    if (synchronised === false && offsets.length === 0)
      return [
        info(
          null,
          'the kernel says that nobody keeps the clock right, and there is no other to compare it with',
          fix,
        ),
      ];
    const agreed = `it agrees with ${offsets.length === 1 ? 'that' : 'those'} of etcd within ${FAR / 1000} s`;
    if (synchronised === false)
      return [info(null, `the kernel says that nobody keeps the clock right, but ${agreed}`, fix)];
    return orOk([], offsets.length > 0 ? agreed : 'it is kept right');
  },
};
