import { CniError, CODE } from '../errors.ts';

/** Bytes of an interface's name, without the closing zero (linux/if.h, IFNAMSIZ). */
const IFNAME_BYTES = 15;

/** What nobody sees, and some trim away. */
const UNSEEN = /[\p{Cc}\p{Cf}\p{Cs}]/u;

/** In place of an interface in /proc/sys/net/ipv4/conf and ipv6/conf. */
const NOT_ONE = new Set(['all', 'default']);

/** Bytes of a container's id: real ones have 64; what is longer cannot be told whole in the address store. */
const LONGEST_ID = 1000;

/** Of container ids and network names (spec section "Parameters"). */
const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;

/** What Go's unicode.IsSpace holds for white space, and the two characters the kernel refuses (dev_valid_name). */
const NOT_IN_IFNAME = /[/:\t-\r \u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]/;

/** What is wrong with an interface's name, in libcni's words, and more of it; undefined when nothing is. */
export function ifnameFault(name: string): readonly [msg: string, details?: string] | undefined {
  if (name === '') return ['interface name is empty'];
  if (Buffer.byteLength(name) > IFNAME_BYTES)
    return [
      'interface name is too long',
      `interface name should be less than ${IFNAME_BYTES + 1} characters`,
    ];
  if (name === '.' || name === '..') return ['interface name is . or ..'];
  if (NOT_IN_IFNAME.test(name)) return ['interface name contains / or : or whitespace characters'];
  if (UNSEEN.test(name)) return ['interface name contains control or format characters'];
  if (NOT_ONE.has(name))
    return [`interface name is ${name}, which stands for all interfaces in /proc/sys/net`];
  // dev_get_valid_name() takes `eth%d` for a pattern: the interface would be called otherwise than all of us think.
  if (name.includes('%')) return ['interface name contains %, for which the kernel would put a number'];
  return undefined;
}

/** Throws CniError (code 4). */
export function checkIfname(name: string): void {
  const fault = ifnameFault(name);
  if (fault) throw new CniError(CODE.invalidEnvironment, ...fault);
}

/** Throws CniError (code 4). */
export function checkContainerId(id: string): void {
  if (!NAME.test(id)) throw new CniError(CODE.invalidEnvironment, 'invalid characters in containerID', id);
  if (Buffer.byteLength(id) > LONGEST_ID)
    throw new CniError(
      CODE.invalidEnvironment,
      `containerID is too long: it has ${Buffer.byteLength(id)} bytes, and may have ${LONGEST_ID}`,
    );
}

/** Throws CniError (code 7). */
export function checkNetworkName(name: string): void {
  if (name === '') throw new CniError(CODE.invalidConfig, 'missing network name');
  if (!NAME.test(name))
    throw new CniError(CODE.invalidConfig, 'invalid characters found in network name', name);
}
