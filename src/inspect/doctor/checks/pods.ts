import { knownValue } from '../../world.ts';
import type { Facts } from '../facts.ts';
import { listed } from '../overlay.ts';
import { type Check, type Found, info, orOk, skipped, warning } from '../types.ts';

/** Are the pods that the daemon has attached still where they belong? */
export const pods: Check<Facts> = {
  id: 'pods',
  group: 'Pods',
  title: 'attached pods',
  look(facts) {
    const status = knownValue(facts.world.status);
    if (!status) return [skipped('only the daemon knows')];
    const { attachments, queued, stale } = status.cni;
    const found: Found[] = [];
    if (stale.length > 0)
      found.push(
        warning(
          stale[0]!,
          `${stale.length === 1 ? '1 pod has an address' : `${stale.length} pods have addresses`} of a subnet that this node no longer has: ${listed(stale)}`,
          'delete them: they are made anew with addresses of the present subnet',
        ),
      );
    if (queued > 0)
      found.push(info(null, `${queued} deletions of pods wait to be tried again; the daemon's log says why`));
    return orOk(found, `${attachments} ${attachments === 1 ? 'pod is' : 'pods are'} attached`);
  },
};
