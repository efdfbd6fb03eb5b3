/** Words that `why` and `doctor` share. */

/** What to do about the lease of a node that is gone for good, and what it does to one that is not. */
export const releaseGone = (subnet: string): string =>
  `a lease whose node is known to be gone runs out by itself; \`loden leases release --force ${subnet}\` deletes it at once (a node that lives after all loses its subnet, and its pods their addresses)`;
