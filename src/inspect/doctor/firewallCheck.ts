import type { Firewall } from '../firewall/index.ts';
import type { Facts } from './facts.ts';
import { unreadable } from './firewallWords.ts';
import { type Overlay, overlayOf } from './overlay.ts';
import { type Found, ok, skipped } from './types.ts';

/** What checks of the firewall begin with: its rules and the overlay, or why there is nothing to judge. */
export function withRules(
  facts: Facts,
  judge: (firewall: Firewall, overlay: Overlay) => readonly Found[],
): readonly Found[] {
  if ('missing' in facts.firewall) return [skipped(facts.firewall.missing)];
  const firewall = facts.firewall.value;
  const unseen = unreadable(firewall, facts.privileged);
  if (unseen !== undefined) return [skipped(unseen)];
  const overlay = overlayOf(facts);
  return overlay ? judge(firewall, overlay) : [skipped('the network config is not known')];
}

/** What was found; that all is well only where all rules were read, and each could be judged. */
export function verdict(found: readonly Found[], { gaps }: Firewall, well: string): readonly Found[] {
  const unread = gaps.map((gap) => skipped(`not all rules could be read: ${gap.replace(/\s*\n\s*/g, '; ')}`));
  return found.length + unread.length > 0 ? [...found, ...unread] : [ok(well)];
}
