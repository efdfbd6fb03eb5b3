import { ConfigError, type Problem } from '../errors.ts';
import { show } from '../fields.ts';
import type { BackendType, NetworkConfig } from '../subnet/types.ts';
import { alloc } from './alloc/index.ts';
import type { Backend } from './backend.ts';
import { hostGw } from './hostgw/index.ts';
import { udp } from './udp/index.ts';
import { vxlan } from './vxlan/index.ts';

const BACKENDS: readonly Backend[] = [vxlan, udp, hostGw, alloc];

/** Backends flannel has and this version does not. */
const KNOWN_ELSEWHERE: ReadonlySet<string> = new Set(['ipip', 'wireguard', 'ipsec', 'extension']);

/** The types that work, in the order to recommend them. */
export const backendTypes: readonly BackendType[] = BACKENDS.map((b) => b.type);

/** A backend with its checked config: what the network config asks for. */
export interface ChosenBackend {
  readonly backend: Backend;
  /** Of the backend's own shape: pass it back to its functions. */
  readonly config: unknown;
  /** Keys of the Backend object that mean nothing to it. */
  readonly unknown: readonly string[];
}

/** The backend of that type (lower case) with its options checked, or all that is wrong with them. */
export function findBackend(
  type: BackendType,
  options: Readonly<Record<string, unknown>>,
): ChosenBackend | { readonly problems: readonly Problem[] } {
  const backend = BACKENDS.find((b) => b.type === type);
  if (!backend) {
    const expected = `one of ${backendTypes.join(', ')}`;
    const got = KNOWN_ELSEWHERE.has(type)
      ? `${show(type)}, which is not available in this version`
      : show(type);
    return { problems: [{ path: 'Backend.Type', expected, got }] };
  }
  const parsed = backend.parse(options);
  return 'config' in parsed ? { backend, ...parsed } : parsed;
}

/** As {@link findBackend} for a whole network config; throws ConfigError with all problems. */
export function chooseBackend(network: NetworkConfig): ChosenBackend {
  const found = findBackend(network.backend.type, network.backend.options);
  if ('problems' in found) throw new ConfigError('the network config cannot be used', found.problems);
  return found;
}
