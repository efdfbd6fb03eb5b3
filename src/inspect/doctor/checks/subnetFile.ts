import { formatPrefix, samePrefix } from '../../../net/prefix.ts';
import { subnetsOf } from '../../ownHost.ts';
import { knownValue } from '../../world.ts';
import type { Facts } from '../facts.ts';
import { overlayOf, ownLease } from '../overlay.ts';
import { type Check, type Found, failure, info, orOk, skipped, warning } from '../types.ts';

/** Does subnet.env say what is so? Docker and CNI plugins go by it. */
export const subnetFile: Check<Facts> = {
  id: 'subnet-file',
  group: 'Daemon',
  title: 'subnet.env',
  look(facts) {
    const path = knownValue(facts.world.status)?.subnetFile ?? facts.options.subnetFile;
    const ready = knownValue(facts.world.status)?.ready === true;
    if ('missing' in facts.subnetEnv) return [skipped(facts.subnetEnv.missing, path)];
    const env = facts.subnetEnv.value;
    const rewrite = ready
      ? 'systemctl restart loden writes it anew (no packet is lost)'
      : 'start loden: it writes it when it is ready';
    if (env === null)
      return [
        ready
          ? failure(
              path,
              `${path} is missing, though the daemon is ready: Docker and CNI plugins do not know the subnet`,
              rewrite,
            )
          : info(path, `there is no ${path} yet: the daemon writes it when it is ready`),
      ];
    const found: Found[] = [];
    const level = ready ? failure : warning;
    const own = subnetsOf(ownLease(facts));
    const stale = own.filter((s) => !env.subnets.some((e) => samePrefix(e, s)));
    if (own.length > 0 && stale.length > 0)
      found.push(
        level(
          path,
          `${path} says ${env.subnets.map(formatPrefix).join(' and ') || 'no subnet'}, but this node's lease is ${own.map(formatPrefix).join(' and ')}`,
          `${rewrite}; restart Docker, and pods that have addresses of the other subnet`,
        ),
      );
    const networks = overlayOf(facts)?.networks ?? [];
    if (stale.length === 0 && networks.some((n) => !env.networks.some((e) => samePrefix(e, n))))
      found.push(
        level(
          path,
          `${path} says that the network is ${env.networks.map(formatPrefix).join(' and ')}, but it is ${networks.map(formatPrefix).join(' and ')}`,
          rewrite,
        ),
      );
    const mtu = knownValue(facts.world.status)?.mtu;
    if (mtu != null && env.mtu !== mtu)
      found.push(
        level(
          path,
          `${path} says MTU ${env.mtu ?? 'nothing'}, but the overlay takes ${mtu} bytes`,
          `${rewrite}; restart Docker and pods that were started with the other one`,
        ),
      );
    return orOk(found, `${path} says ${env.subnets.map(formatPrefix).join(' and ')}, MTU ${env.mtu ?? '?'}`);
  },
};
