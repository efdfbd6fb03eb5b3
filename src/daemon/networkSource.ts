import { restartNeeded } from '../admin/restart.ts';
import { type ChosenBackend, chooseBackend } from '../backends/registry.ts';
import { parseNetworkConfig } from '../config/network.ts';
import { ConfigError, type Problem } from '../errors.ts';
import type { NetworkConfig } from '../subnet/types.ts';

/** The network config in force, and what stands against a newer one. */
export interface NetworkInForce extends ChosenBackend {
  readonly network: NetworkConfig;
}

/** What decides whether a config that is right in itself comes into force. */
export interface NetworkRules {
  /** The key in etcd, for messages. */
  readonly key: string;
  /** Does the lease we hold fit that config? True when we hold none. */
  readonly keeps: (next: NetworkConfig) => boolean;
  /** What keeps it from running on this host as it is now. */
  readonly against: (next: NetworkInForce) => readonly Problem[];
  /** Told of keys in a config that came into force and that mean nothing to this version. */
  readonly ignored: (keys: readonly string[]) => void;
}

/**
 * Decides which network config is in force. The first must be right, or the daemon ends; from then on a bad, missing or
 * too different one is a problem that is told, and the last good one stays.
 */
export class NetworkSource {
  #inForce: NetworkInForce | undefined;
  #problem: string | undefined;
  /** What was taken last. */
  #text: string | undefined;
  readonly #rules: NetworkRules;

  constructor(rules: NetworkRules) {
    this.#rules = rules;
  }

  get inForce(): NetworkInForce | undefined {
    return this.#inForce;
  }

  /** What is in the store; undefined: nothing, or nobody has looked yet. */
  get text(): string | undefined {
    return this.#text;
  }

  /** Why the text in the store is not in force; undefined when it is. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** Take a new text, undefined when there is none. Throws ConfigError if it is bad and nothing is in force yet. */
  take(text: string | undefined): void {
    const { key, keeps, against, ignored } = this.#rules;
    this.#text = text;
    if (text === undefined) {
      this.#problem = this.#inForce
        ? `the network config ${key} is gone from etcd; the last one stays in force`
        : `waiting for the network config: put one at ${key}, e.g. {"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}`;
      return;
    }
    let next: NetworkInForce;
    try {
      const network = parseNetworkConfig(text);
      next = { network, ...chooseBackend(network) };
    } catch (e) {
      if (!this.#inForce || !(e instanceof ConfigError)) throw e;
      this.#problem = `the new network config at ${key} is not in force: ${e.message}`;
      return;
    }
    if (this.#inForce) {
      const fields = restartNeeded(this.#inForce.network, next.network, keeps(next.network));
      if (fields.length > 0) {
        this.#problem = `the new network config at ${key} needs a restart of loden to come into force: ${fields.join(', ')}`;
        return;
      }
      const problems = against(next);
      if (problems.length > 0) {
        const error = new ConfigError('it cannot run on this host', problems);
        this.#problem = `the new network config at ${key} is not in force: ${error.message}`;
        return;
      }
    }
    this.#problem = undefined;
    this.#inForce = next;
    const { unknownKeys = [] } = next.network;
    if (unknownKeys.length > 0) ignored(unknownKeys);
  }

  /** The host has changed: what could not come into force may now. */
  reconsider(): void {
    if (this.#inForce && this.#problem !== undefined) this.take(this.#text);
  }
}
