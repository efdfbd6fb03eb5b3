import { formatPrefix } from '../net/prefix.ts';
import type { Lease } from '../subnet/types.ts';
import type { Judge } from './judge.ts';
import type { Vetted } from './peers.ts';

/** More newcomers than this are judged in turn, with all the others. */
const FEW = 100;

/**
 * Who may be served beside whom: each lease's claims held against those of older ones. While nobody is refused the order
 * does not matter, each gets on with each. So after a change only newcomers are judged, against all that have come since
 * everybody was; if one of them is refused, perhaps for the sake of somebody who has left, everybody is again.
 */
export class Verdicts {
  readonly #claims: (lease: Lease) => readonly Vetted[];
  readonly #judge: () => Judge;
  /** Who was accepted when nobody was refused, and the judge who knows them. */
  #peace: { readonly judge: Judge; readonly accepted: Set<Lease> } | undefined;

  constructor(claims: (lease: Lease) => readonly Vetted[], judge: () => Judge) {
    this.#claims = claims;
    this.#judge = judge;
  }

  /** The verdicts on leases given in order. */
  *on(leases: readonly Lease[]): Generator<Vetted> {
    if (this.#isPeaceful(leases)) {
      for (const lease of leases) for (const claim of this.#claims(lease)) yield claim;
      return;
    }
    const judge = this.#judge();
    let refused = 0;
    for (const lease of leases) {
      for (const claim of this.#claims(lease)) {
        const reason = judgement(judge, claim);
        if (reason === undefined) {
          yield claim;
        } else {
          refused++;
          yield { problem: { lease, reason } };
        }
      }
    }
    this.#peace = refused === 0 ? { judge, accepted: new Set(leases) } : undefined;
  }

  /** Is it seen at once that nobody is refused? */
  #isPeaceful(leases: readonly Lease[]): boolean {
    if (!this.#peace || this.#peace.accepted.size > leases.length + FEW) return false;
    const { judge, accepted } = this.#peace;
    const newcomers = leases.filter((lease) => !accepted.has(lease));
    if (newcomers.length > FEW) return false;
    // What the judge has seen of them stays with the judge.
    this.#peace = undefined;
    for (const lease of newcomers) {
      if (this.#claims(lease).some((claim) => judgement(judge, claim) !== undefined)) return false;
      accepted.add(lease);
    }
    this.#peace = { judge, accepted };
    return true;
  }
}

/** Why a claim that is right in itself is refused all the same. */
function judgement(judge: Judge, claim: Vetted): string | undefined {
  if ('problem' in claim) return undefined;
  const reason = judge(claim.peer);
  return reason === undefined ? undefined : `${formatPrefix(claim.peer.subnet)}: ${reason}`;
}
