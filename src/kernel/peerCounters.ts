import { NFT_COUNTERS } from '../contract.ts';
import { type Commands, demand, ownCommands } from './command.ts';
import {
  type Counted,
  type CounterWish,
  counterChanges,
  nothingCounted,
  parseCounterTable,
} from './peerCountersText.ts';
import { Slices } from './slices.ts';

/**
 * nft writes each line by itself: among 5,000 peers taking them one by one kept the event loop for 40 ms. The shell gathers them. Without
 * nft or the table its status is not 0.
 */
const LIST = ['sh', '-c', `all=$(nft list table netdev ${NFT_COUNTERS}) && printf %s "$all"`] as const;

/** Counters in nf_tables for packets to and from peers. One call at a time. */
export class PeerCounters {
  readonly #commands: Commands;

  constructor(commands: Commands = ownCommands) {
    this.#commands = commands;
  }

  /**
   * Read what has been counted, and see to it that what is wanted is counted from now on: what was not yet is 0 in the result.
   * Rejects with MissingCommand without nft, with a LodenError when nft cannot do it.
   */
  async read(wish: CounterWish): Promise<Counted> {
    const { status, stdout } = await this.#commands.run(LIST);
    const table = status === 0 ? await inSlices(parseCounterTable(stdout, wish)) : undefined;
    let input = '';
    const changes = counterChanges(wish, table);
    const slices = new Slices();
    for (const piece of changes) {
      input += piece;
      if (slices.isOver) await slices.next();
    }
    if (input !== '')
      demand(
        await this.#commands.run(['nft', '-f', '-'], input),
        `count peers' packets in nft table netdev ${NFT_COUNTERS}`,
      );
    return table ?? nothingCounted(wish);
  }

  /** Count no more. Returns whether there was anything; rejects with MissingCommand without nft. */
  async remove(): Promise<boolean> {
    const { status } = await this.#commands.run(['nft', 'delete', 'table', 'netdev', NFT_COUNTERS]);
    return status === 0;
  }
}

async function inSlices<T>(steps: Generator<void, T>): Promise<T> {
  const slices = new Slices();
  for (let step = steps.next(); ; step = steps.next()) {
    if (step.done) return step.value;
    if (slices.isOver) await slices.next();
  }
}
