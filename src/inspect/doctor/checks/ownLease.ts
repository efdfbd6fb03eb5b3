import { DEFAULTS } from '../../../contract.ts';
import { duration } from '../../../duration.ts';
import { isSurelyOwn } from '../../ownHost.ts';
import { knownValue, whyMissing } from '../../world.ts';
import type { Facts } from '../facts.ts';
import { ownLease as leaseOf } from '../overlay.ts';
import { type Check, failure, info, ok, skipped, warning } from '../types.ts';

/** Part of its life below which a lease that is kept alive all the time should never be. */
const LITTLE = 1 / 4;

/** Have we a subnet, and is it kept? */
export const ownLease: Check<Facts> = {
  id: 'own-lease',
  group: 'Leases',
  title: "this node's lease",
  look(facts) {
    const status = knownValue(facts.world.status);
    if (!status) {
      if (!knownValue(facts.world.leases))
        return [skipped(whyMissing(facts.world.leases) ?? 'the leases are not known')];
      const lease = leaseOf(facts);
      if (lease && !isSurelyOwn(facts, lease))
        return [
          info(
            lease.key,
            `${lease.subnets.join(' and ')} is leased to a node with this host's address; whether it is this one cannot be told, for its node id ${facts.node === null ? 'is not in --state-dir' : 'cannot be read (run this as root)'}`,
          ),
        ];
      return [
        lease
          ? ok(`${lease.subnets.join(' and ')} is leased to this node`)
          : info(null, 'this node has no lease: a daemon takes one when it starts'),
      ];
    }
    const { state, reason, secondsLeft, lease } = status.lease;
    if (state === 'waiting')
      return [
        failure(
          null,
          `this node has no subnet: ${reason ?? 'the daemon waits'}`,
          'the reason says what to do; loden events shows what happened',
        ),
      ];
    if (state === 'fenced')
      return [
        failure(
          lease?.key ?? null,
          `the lease ${lease?.key ?? ''} has run out and is fenced: ${reason ?? 'etcd has not answered in time'}; pods keep their addresses, new ones get none`,
          'let etcd answer again (see the check etcd): the daemon gets the lease back by itself',
        ),
      ];
    const words = `${lease?.subnets.join(' and ') ?? 'a subnet'} is ours`;
    if (secondsLeft === null) return [ok(`${words}, reserved for this node`)];
    if (secondsLeft < ttl(facts) * LITTLE)
      return [
        warning(
          lease?.key ?? null,
          `the lease ${lease?.key ?? ''} has only ${duration(secondsLeft)} left of ${duration(ttl(facts))}: it is not being kept alive`,
          'see the check etcd; when it has run out, new pods get no addresses and another node may take the subnet',
        ),
      ];
    return [ok(`${words}, for ${duration(secondsLeft)} more unless it is kept alive`)];
  },
};

/** Seconds, as the daemon was told. */
function ttl(facts: Facts): number {
  const text = knownValue(facts.world.config)?.options.find((o) => o.name === 'lease-ttl')?.values[0];
  const [, n, unit] = /^(\d+)(h|m|s)?$/.exec(text ?? '') ?? [];
  if (n === undefined) return DEFAULTS.leaseTtl;
  return Number(n) * (unit === 'h' ? 3600 : unit === 'm' ? 60 : 1);
}
