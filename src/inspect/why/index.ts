import { answer } from './conclude.ts';
import { gather, type Places } from './gather.ts';
import type { Question, Why } from './types.ts';

/** `loden why`: the whole path of a packet from this host to an address, hop by hop, and what is wrong with it. */
export const why = async (question: Question, places: Places): Promise<Why> =>
  answer(await gather(question, places));

export type { Places } from './gather.ts';
export { HOPS, type Hop, type HopName, type HopState, type Question, type Why } from './types.ts';
