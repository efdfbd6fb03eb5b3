import type { Problem } from '../../errors.ts';
import { type Fields, fields, isObject, show } from '../../fields.ts';
import { type Addr, parseAddr } from '../../net/addr.ts';
import { parsePrefix } from '../../net/prefix.ts';
import { readDns } from './config.ts';
import { addAll, complain, type JsonObject, listMember, type ReadElement, refuse } from './json.ts';
import {
  type CniResult,
  type ResultInterface,
  type ResultIp,
  type ResultRoute,
  ROUTE_NUMBERS,
} from './result.ts';

const AT = 'prevResult';
const U32 = 0xffff_ffff;

/**
 * Read `prevResult` in the form of any version. Members that are not in the specification are dropped. Throws CniError
 * (code 7) with everything wrong in it.
 */
export function parseResult(value: unknown): CniResult {
  const problems: Problem[] = [];
  if (!isObject(value)) {
    refuse([{ path: AT, expected: 'a JSON object', got: show(value) }]);
    throw new Error('unreachable');
  }
  const f = fields(value, `${AT}.`);
  const interfaces = listMember(value, 'interfaces', problems, readInterface, `${AT}.`);
  const ips = listMember(value, 'ips', problems, readIp, `${AT}.`);
  for (const [i, ip] of ips.entries()) {
    if (ip.interface !== undefined && ip.interface >= interfaces.length) {
      const expected = `the index of one of ${interfaces.length} interfaces`;
      problems.push({ path: `${AT}.ips[${i}].interface`, expected, got: String(ip.interface) });
    }
  }
  const routes = listMember(value, 'routes', problems, readRoute, `${AT}.`);
  const old = (['ip4', 'ip6'] as const).map((name) =>
    readOld(f.object(name) ?? {}, `${AT}.${name}`, problems),
  );
  const dns = readDns(f.object('dns') ?? {}, `${AT}.dns.`, problems);
  refuse([...f.problems, ...problems]);
  return {
    interfaces,
    ips: [...ips, ...old.flatMap((o) => o.ips)],
    routes: [...routes, ...old.flatMap((o) => o.routes)],
    dns,
  };
}

/** 0.1.0 and 0.2.0: `ip4` and `ip6`, each with its routes. */
function readOld(source: JsonObject, at: string, problems: Problem[]): Pick<CniResult, 'ips' | 'routes'> {
  if (Object.keys(source).length === 0) return { ips: [], routes: [] };
  const f = fields(source, `${at}.`);
  const address = prefixOf(f, 'ip');
  const gateway = gatewayOf(f, 'gateway');
  const routes = listMember(source, 'routes', problems, readRoute, `${at}.`);
  addAll(problems, f.problems);
  return { ips: address ? [{ address, ...(gateway ? { gateway } : {}) }] : [], routes };
}

/** A reader of elements that are objects: everything wrong in one is told. */
const element =
  <T>(read: (f: Fields) => T | undefined): ReadElement<T> =>
  (value, path, problems) => {
    if (!isObject(value)) {
      complain(problems, path, 'a JSON object', value);
      return undefined;
    }
    const f = fields(value, `${path}.`);
    const out = read(f);
    addAll(problems, f.problems);
    return out;
  };

const text = (f: Fields, name: string): string | undefined => f.text(name, 'a string', (t) => t) || undefined;

function prefixOf(f: Fields, name: string) {
  if (!f.has(name)) f.problem(name, 'address/length', undefined);
  return f.text(name, 'address/length', parsePrefix);
}

/** Empty is what Go writes for no address. */
function gatewayOf(f: Fields, name: string): Addr | undefined {
  const found = f.text(name, 'an IP address', (t) => (t === '' ? 'none' : parseAddr(t)));
  return found === 'none' ? undefined : found;
}

const number = (f: Fields, name: string): number | undefined =>
  f.has(name) ? f.integer(name, 0, U32, 0) : undefined;

/** The members that are there. */
const given = <T extends object>(members: T): { [K in keyof T]?: Exclude<T[K], undefined> } =>
  Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined)) as never;

const readInterface = element<ResultInterface>((f) => {
  const name = text(f, 'name');
  if (name === undefined) f.problem('name', 'the name of an interface', undefined);
  const mtu = number(f, 'mtu');
  const texts = { mac: text(f, 'mac'), sandbox: text(f, 'sandbox'), socketPath: text(f, 'socketPath') };
  // A missing name is told; the element keeps its place, for addresses refer to it by number.
  return { name: name ?? '', ...given({ ...texts, pciID: text(f, 'pciID'), mtu: mtu || undefined }) };
});

const readIp = element<ResultIp>((f) => {
  const address = prefixOf(f, 'address');
  const index = number(f, 'interface');
  const gateway = gatewayOf(f, 'gateway');
  return address && { address, ...given({ gateway, interface: index }) };
});

const readRoute = element<ResultRoute>((f) => {
  const dst = prefixOf(f, 'dst');
  const gw = gatewayOf(f, 'gw');
  const numbers = Object.fromEntries(ROUTE_NUMBERS.map((name) => [name, number(f, name)]));
  return dst && { dst, ...given({ gw, ...numbers }) };
});
