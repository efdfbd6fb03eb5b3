import type { StatusJson } from '../../../api/shapes.ts';
import { knownValue } from '../../world.ts';
import type { Facts } from '../facts.ts';
import { type Check, type Found, failure, orOk, skipped, warning } from '../types.ts';

/** Objects that are named one by one; the rest is counted. */
const NAMED = 5;
/** Repairs that more than an accident must have caused. */
const MANY = 100;

type Failing = StatusJson['kernel']['failing'];

/** Of what is told of an object several times, what the kernel says itself: not that others wait for it. */
const ownWords = (failing: Failing): Failing =>
  failing.filter(
    (f) =>
      !/wait for it$/.test(f.error) ||
      !failing.some((o) => o.object === f.object && !/wait for it$/.test(o.error)),
  );

/** Does the kernel hold what the daemon wants? */
export const objects: Check<Facts> = {
  id: 'objects',
  group: 'Daemon',
  title: 'kernel objects',
  look(facts) {
    const status = knownValue(facts.world.status);
    if (!status) return [skipped('only the daemon knows')];
    const { failing: all, conflicts, objects: kinds, repairs } = status.kernel;
    const failing = ownWords(all);
    const found: Found[] = [];
    for (const { object, error } of failing.slice(0, NAMED))
      found.push(
        failure(
          object,
          `the kernel refuses ${object}: ${error}`,
          "the words are the kernel's own; the other checks here may name who is in the way; the daemon tries again by itself",
        ),
      );
    if (failing.length > NAMED)
      found.push(
        failure(null, `the kernel refuses ${failing.length - NAMED} more objects`, 'loden status shows them'),
      );
    for (const c of conflicts.slice(0, NAMED))
      found.push(
        warning(
          c.object,
          `${c.object} is not put in place, for ${c.with} is in its place, which is not ours`,
          'remove that, if it is of no use: loden puts its own there at once',
        ),
      );
    const many = Object.entries(repairs).filter(([, n]) => n >= MANY);
    for (const [kind, n] of many)
      found.push(
        warning(
          kind,
          `${n} times somebody has removed or changed a ${kind} of ours, and it was put back`,
          'find who does it: loden events --kind repair; see the checks network-managers and other-overlays',
        ),
      );
    const sum = Object.values(kinds).reduce((n, k) => n + k.inSync, 0);
    return orOk(found, `${sum} objects are as they should be`);
  },
};
