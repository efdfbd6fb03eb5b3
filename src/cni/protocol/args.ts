import type { Problem } from '../../errors.ts';
import { isObject, show } from '../../fields.ts';
import { type Addr, formatAddr, parseAddr, sameAddr } from '../../net/addr.ts';
import { type Mac, macBytes, parseMac } from '../../net/mac.ts';
import { parsePrefix } from '../../net/prefix.ts';
import { CniError, CODE } from '../errors.ts';
import { complain, type JsonObject, listMember, member, type ReadElement, refuse } from './json.ts';

/** What the caller wishes for: CNI_ARGS, `args.cni` and `runtimeConfig` together. */
export interface Asked {
  /** At most one of each family; an address that cannot be had is an error, never passed over. */
  readonly ips: readonly Addr[];
  readonly mac?: Mac;
}

/** An address, with or without a length behind it, as host-local takes it. */
const addressOf = (text: string): Addr | undefined => parseAddr(text) ?? parsePrefix(text)?.addr;

/** A unicast address that is not zero: the kernel refuses others (is_valid_ether_addr). */
function unicastMac(text: string): Mac | undefined {
  const mac = parseMac(text.replaceAll('-', ':'));
  if (!mac) return undefined;
  const bytes = macBytes(mac);
  return (bytes[0]! & 1) === 0 && bytes.some((b) => b !== 0) ? mac : undefined;
}

const UNICAST = 'a MAC address of one interface (not zero, not multicast)';

/**
 * CNI_ARGS, `K=V;K=V`: IP (several with a comma between them), MAC, IgnoreUnknown. Throws CniError (code 4) in libcni's
 * words (LoadArgs); Kubernetes sends its own keys with IgnoreUnknown=1.
 */
export function parseArgs(text: string): Asked {
  const unknown: string[] = [];
  let ips: readonly Addr[] = [];
  let mac: Mac | undefined;
  let ignoreUnknown = false;
  const wrong = (msg: string) => new CniError(CODE.invalidEnvironment, `ARGS: ${msg}`);
  for (const pair of text === '' ? [] : text.split(';')) {
    const [key, value, more] = pair.split('=', 3);
    if (value === undefined || more !== undefined) throw wrong(`invalid pair ${show(pair)}`);
    const bad = (why: string) => wrong(`error parsing value of pair ${show(pair)}: ${why}`);
    if (key === 'IgnoreUnknown') {
      const word = value.toLowerCase();
      if (!['1', 'true', '0', 'false'].includes(word)) throw bad('expected 1, true, 0 or false');
      ignoreUnknown = word === '1' || word === 'true';
    } else if (key === 'IP') {
      const found = value === '' ? [] : value.split(',').map(addressOf);
      if (found.includes(undefined)) throw bad('expected an IP address');
      ips = found as Addr[];
    } else if (key === 'MAC') {
      mac = value === '' ? undefined : unicastMac(value);
      if (value !== '' && !mac) throw bad(`expected ${UNICAST}`);
    } else unknown.push(pair);
  }
  if (unknown.length > 0 && !ignoreUnknown) {
    const shown = unknown.slice(0, 10).map(show).join(' ');
    throw wrong(`unknown args [${shown}]; IgnoreUnknown=1 in CNI_ARGS would let them be`);
  }
  return { ips, ...(mac ? { mac } : {}) };
}

/** `args.cni` or `runtimeConfig`: `ips` and `mac`. */
function fromConfig(source: unknown, at: string, problems: Problem[]): Asked {
  if (source === undefined) return { ips: [] };
  if (!isObject(source)) {
    complain(problems, at, 'a JSON object', source);
    return { ips: [] };
  }
  const read: ReadElement<Addr> = (element, path) => {
    const found = typeof element === 'string' ? addressOf(element) : undefined;
    if (!found) complain(problems, path, 'an IP address', element);
    return found;
  };
  const ips = listMember(source, 'ips', problems, read, `${at}.`);
  const text = member(source, 'mac') ?? '';
  const mac = typeof text === 'string' ? unicastMac(text) : undefined;
  if (text !== '' && !mac) complain(problems, `${at}.mac`, UNICAST, text);
  return { ips, ...(mac ? { mac } : {}) };
}

/**
 * Everything asked for. Addresses of all sources count, as for host-local; of the MACs that of `runtimeConfig` wins, then
 * `args.cni`, as for bridge. Throws CniError: code 4 for CNI_ARGS, 7 for the configuration.
 */
export function readAsked(envArgs: string, raw: JsonObject): Asked {
  const problems: Problem[] = [];
  const args = member(raw, 'args');
  // Only `args.cni` is ours; the rest of `args` is anybody's.
  const cni = fromConfig(isObject(args) ? member(args, 'cni') : undefined, 'args.cni', problems);
  const runtime = fromConfig(member(raw, 'runtimeConfig'), 'runtimeConfig', problems);
  const env = parseArgs(envArgs);
  refuse(problems);
  const ips: Addr[] = [];
  for (const ip of [...env.ips, ...cni.ips, ...runtime.ips])
    if (!ips.some((other) => sameAddr(other, ip))) ips.push(ip);
  for (const family of [4, 6]) {
    const same = ips.filter((ip) => ip.family === family);
    if (same.length > 1) {
      throw new CniError(
        CODE.invalidConfig,
        `asked for ${same.slice(0, 10).map(formatAddr).join(', ')}: an interface gets one IPv${family} address`,
        'addresses can be asked for in CNI_ARGS (IP), args.cni.ips and runtimeConfig.ips; all of them count',
      );
    }
  }
  const mac = runtime.mac ?? cni.mac ?? env.mac;
  return { ips, ...(mac ? { mac } : {}) };
}
