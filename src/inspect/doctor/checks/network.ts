import { formatPrefix } from '../../../net/prefix.ts';
import { knownValue, whyMissing } from '../../world.ts';
import type { Facts } from '../facts.ts';
import { overlayOf } from '../overlay.ts';
import { type Check, type Found, failure, info, orOk, skipped, warning } from '../types.ts';

/** Is there a network config that can be used, and does the daemon go by it? */
export const networkConfig: Check<Facts> = {
  id: 'network-config',
  group: 'Leases',
  title: 'network config',
  look(facts) {
    const network = knownValue(facts.world.network);
    const why = whyMissing(facts.world.network)?.replace(/\s*\n\s*/g, ' ');
    if (!network) {
      const isWrong = /network config/.test(why ?? '');
      return [
        isWrong
          ? failure(
              null,
              why!,
              'loden config validate FILE tells what is wrong; loden config set FILE writes it',
            )
          : skipped(why ?? 'it is not known'),
      ];
    }
    const found: Found[] = [];
    const told = knownValue(facts.world.config)?.network;
    if (told && !told.inForce)
      found.push(
        warning(
          told.key,
          `the network config in etcd is not what the daemon goes by: ${told.problem ?? 'it was changed'}`,
          'restart loden on every node, or put the former config back',
        ),
      );
    for (const key of network.unknownKeys ?? [])
      found.push(info(key, `the network config has "${key}", which means nothing to this version`));
    const overlay = overlayOf(facts);
    return orOk(
      found,
      `${overlay?.networks.map(formatPrefix).join(' and ') ?? 'it'} by ${network.backend.type}`,
    );
  },
};
