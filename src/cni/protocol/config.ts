import { CNI, DEFAULTS } from '../../contract.ts';
import type { Problem } from '../../errors.ts';
import { type Fields, fields, isObject } from '../../fields.ts';
import { formatPrefix, network, type Prefix, parsePrefix } from '../../net/prefix.ts';
import type { Mode } from '../types.ts';
import { addAll, complain, type JsonObject, listMember, member, type ReadElement } from './json.ts';
import { ifnameFault } from './names.ts';
import type { Dns } from './result.ts';

export type { JsonObject } from './json.ts';

/** Configuration of type `loden`, beside what the request itself has. */
export interface LodenConfig {
  readonly type: 'loden';
  readonly mode: Mode;
  readonly bridge: string;
  /** Bytes; absent: the overlay's. */
  readonly mtu?: number;
  readonly hairpin: boolean;
  /** `ipam.dataDir`. */
  readonly dataDir: string;
  /** `ipam.routes` without default routes, which a container has anyway. */
  readonly routes: readonly Prefix[];
  readonly dns: Dns;
}

/** Configuration of type `flannel`: src/cni/flannel/delegate.ts makes the delegate's of it. */
export interface FlannelConfig {
  readonly type: 'flannel';
  readonly subnetFile: string;
  readonly dataDir: string;
  readonly delegate?: JsonObject;
  readonly ipam?: JsonObject;
  readonly runtimeConfig?: JsonObject;
}

export type NetConfig = LodenConfig | FlannelConfig;

/** Bytes: the smallest MTU IPv4 works with (RFC 791), and what a link's attribute can hold of use. */
const MTU = { min: 68, max: 65_535 } as const;

const PATH = 'an absolute path';
const absolute = (text: string): string | undefined =>
  text.startsWith('/') && !text.includes('\0') && text.length < 4096 ? text : undefined;

/**
 * Read a configuration, with everything that is wrong in it; in the place of what is wrong stands its default. Keys
 * nobody knows are let be: other plugins of a chain and the runtime have theirs beside ours.
 */
export function readConfig(raw: JsonObject): { config: NetConfig; problems: readonly Problem[] } {
  const f = fields(raw);
  const problems: Problem[] = [];
  const type = member(raw, 'type');
  if (type !== 'loden' && type !== 'flannel') complain(problems, 'type', '"loden" or "flannel"', type);
  const config = type === 'flannel' ? readFlannel(f) : readLoden(f, problems);
  return { config, problems: [...f.problems, ...problems] };
}

function readFlannel(f: Fields): FlannelConfig {
  const parts = {
    delegate: f.object('delegate'),
    ipam: f.object('ipam'),
    runtimeConfig: f.object('runtimeConfig'),
  };
  return {
    type: 'flannel',
    subnetFile: f.text('subnetFile', PATH, absolute) ?? DEFAULTS.subnetFile,
    dataDir: f.text('dataDir', PATH, absolute) ?? CNI.flannelDataDir,
    ...(parts.delegate ? { delegate: parts.delegate } : {}),
    ...(parts.ipam ? { ipam: parts.ipam } : {}),
    ...(parts.runtimeConfig ? { runtimeConfig: parts.runtimeConfig } : {}),
  };
}

function readLoden(f: Fields, problems: Problem[]): LodenConfig {
  const ipam = f.object('ipam') ?? {};
  const i = fields(ipam, 'ipam.');
  // Ranges of host-local are let be, for addresses come out of the node's lease; another plugin's would be missed.
  i.text('type', '"host-local", or nothing: addresses come out of the node\'s lease', (t) =>
    t === '' || t === 'host-local' ? t : undefined,
  );
  const dataDir = i.text('dataDir', PATH, absolute) ?? CNI.dataDir;
  const routes = readRoutes(ipam, problems);
  const bridge = f.text('bridge', 'the name of an interface', (t) => (ifnameFault(t) ? undefined : t));
  // 0 is what the reference plugins write for "not given".
  const mtu = f.integer('mtu', 0, MTU.max, 0);
  if (mtu !== 0 && mtu < MTU.min) f.problem('mtu', `0 or a whole number from ${MTU.min} to ${MTU.max}`, mtu);
  const mode = f.text('mode', '"bridge" or "ptp"', (t) => (t === 'bridge' || t === 'ptp' ? t : undefined));
  const hairpin = f.boolean('hairpinMode', f.boolean('hairpin', true));
  // The plugin itself has used these two before the daemon saw anything.
  f.text('socket', PATH, absolute);
  f.text('delQueue', PATH, absolute);
  addAll(problems, i.problems);
  return {
    type: 'loden',
    mode: mode ?? 'bridge',
    bridge: bridge ?? CNI.bridge,
    ...(mtu >= MTU.min ? { mtu } : {}),
    hairpin,
    dataDir,
    routes,
    dns: readDns(f.object('dns') ?? {}, 'dns.', problems),
  };
}

function readRoutes(ipam: JsonObject, problems: Problem[]): Prefix[] {
  const seen = new Set<string>();
  const read: ReadElement<Prefix> = (element, path) => {
    if (!isObject(element)) {
      complain(problems, path, '{"dst": "address/length"}', element);
      return undefined;
    }
    const dst = member(element, 'dst');
    const prefix = typeof dst === 'string' ? parsePrefix(dst) : undefined;
    if (!prefix) complain(problems, `${path}.dst`, 'address/length', dst);
    const gw = member(element, 'gw');
    const foreign = gw !== undefined && gw !== '';
    if (foreign) complain(problems, `${path}.gw`, "nothing: a container's routes go by its node", gw);
    if (!prefix || foreign || prefix.len === 0) return undefined;
    const whole = network(prefix);
    const text = formatPrefix(whole);
    if (seen.has(text)) return undefined;
    seen.add(text);
    return whole;
  };
  return listMember(ipam, 'routes', problems, read, 'ipam.');
}

/** An element that is a string. */
const readText: ReadElement<string> = (element, path, problems) => {
  if (typeof element === 'string') return element;
  complain(problems, path, 'a string', element);
  return undefined;
};

const DNS_LISTS = ['nameservers', 'search', 'options'] as const;

/** `dns` of a configuration or a result, passed on as it is. */
export function readDns(source: JsonObject, at: string, problems: Problem[]): Dns {
  const f = fields(source, at);
  const domain = f.text('domain', 'a string', (t) => t);
  const lists = DNS_LISTS.flatMap((name) => {
    const list = listMember(source, name, problems, readText, at);
    return list.length > 0 ? [[name, list] as const] : [];
  });
  addAll(problems, f.problems);
  return { ...Object.fromEntries(lists), ...(domain ? { domain } : {}) };
}
