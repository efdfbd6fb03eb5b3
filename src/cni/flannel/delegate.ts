import { fields, isObject, show } from '../../fields.ts';
import { formatAddr, parseAddr } from '../../net/addr.ts';
import { formatPrefix, parsePrefix } from '../../net/prefix.ts';
import { CniError, CODE } from '../errors.ts';
import type { FlannelConfig } from '../protocol/config.ts';
import { type JsonObject, member } from '../protocol/json.ts';
import { ROUTE_NUMBERS } from '../protocol/result.ts';
import type { DelegateOutcome } from '../types.ts';
import type { FlannelEnv } from './subnetEnv.ts';

/** A delegate's configuration; `type` is a plugin's name, `name` the network's. */
export type DelegateConfig = JsonObject & { readonly type: string; readonly name: string };

/** What of a request the delegate's configuration is made of. */
export interface FlannelRequest {
  readonly network: string;
  readonly config: FlannelConfig;
  readonly raw: JsonObject;
}

/** Set by flannel's plugin itself. */
const OURS = ['name', 'ipam'] as const;

const invalid = (msg: string): CniError => new CniError(CODE.invalidConfig, msg);

/** A plugin's name: a file in CNI_PATH, nothing that leads out of it. */
export const isPluginName = (text: string): boolean => /^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,254}$/.test(text);

/**
 * The configuration flannel's plugin would give its delegate (flannel-io/cni-plugin, flannel_linux.go): `delegate` with what
 * is missing in it filled in. Throws CniError (code 7) in flannel's words.
 */
export function delegateConfig(request: FlannelRequest, env: FlannelEnv): DelegateConfig {
  const { config, network, raw } = request;
  const delegate = config.delegate ?? {};
  const type = Object.hasOwn(delegate, 'type') ? delegate.type : 'bridge';
  if (typeof type !== 'string')
    throw invalid("'delegate' dictionary, if present, must have (string) 'type' field");
  for (const name of OURS) {
    if (Object.hasOwn(delegate, name))
      throw invalid(`'delegate' dictionary must not have '${name}' field, it'll be set by flannel`);
  }
  if (!isPluginName(type)) throw invalid(`'delegate' dictionary: 'type' is no plugin's name: ${show(type)}`);
  // It would be asked for a delegate of its own, and keep that in the place of ours; and the plugin runs no other of ours.
  if (type === 'flannel' || type === 'loden')
    throw invalid(`'delegate' dictionary: 'type' must not be ${type} itself`);
  const version = member(raw, 'cniVersion');
  return {
    // What flannel is not doing, the delegate should.
    ipMasq: !env.ipMasq,
    mtu: env.mtu,
    ...(type === 'bridge' ? { isGateway: true } : {}),
    ...delegate,
    ...(config.runtimeConfig ? { runtimeConfig: config.runtimeConfig } : {}),
    ...(version === undefined || version === '' ? {} : { cniVersion: version }),
    name: network,
    type,
    ipam: delegateIpam(config.ipam ?? {}, env),
  };
}

/** `ipam` with the node's subnets for ranges, and a route to each network behind those it has. */
function delegateIpam(ipam: JsonObject, env: FlannelEnv): JsonObject {
  return {
    type: 'host-local',
    ...ipam,
    ranges: env.subnets.map((subnet) => [{ subnet: formatPrefix(subnet) }]),
    routes: [...ipamRoutes(ipam.routes), ...env.networks.map((n) => ({ dst: formatPrefix(n) }))],
  };
}

/** Routes as libcni's type has them: other members are dropped. */
function ipamRoutes(routes: unknown): JsonObject[] {
  const wrong = (why: string) =>
    invalid(
      `failed to assemble Delegate IPAM: failed to read IPAM routes: failed to parse ipam.routes: ${why}`,
    );
  if (routes === undefined || routes === null) return [];
  if (!Array.isArray(routes)) throw wrong(`expected a list, got ${show(routes)}`);
  return routes.map((route: unknown, i) => {
    if (!isObject(route)) throw wrong(`[${i}]: expected a JSON object, got ${show(route)}`);
    const f = fields(route, `[${i}].`);
    const dst = f.text('dst', 'address/length', parsePrefix);
    if (!f.has('dst')) f.problem('dst', 'address/length', undefined);
    const gw = f.text('gw', 'an IP address', (t) => (t === '' ? 'none' : parseAddr(t)));
    const numbers = ROUTE_NUMBERS.filter((name) => f.has(name)).map((name) => [
      name,
      f.integer(name, 0, 0xffff_ffff, 0),
    ]);
    const [problem] = f.problems;
    if (problem || !dst)
      throw wrong(problem ? `${problem.path}: expected ${problem.expected}, got ${problem.got}` : '');
    return {
      dst: formatPrefix(dst),
      ...(gw && gw !== 'none' ? { gw: formatAddr(gw) } : {}),
      ...Object.fromEntries(numbers),
    };
  });
}

/** No plugin of that name is in CNI_PATH; a shell's number for it, which the plugin binary gives. */
export const NOT_FOUND = 127;

/** Codes are unsigned, and 0 is none. */
const isCode = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) > 0;

/** The failure of a delegate as the runtime is to see it: with the delegate's own code and words where it printed them. */
export function delegateError(plugin: string, command: string, outcome: DelegateOutcome): CniError {
  const failed = `failed to delegate ${command.toLowerCase()}`;
  try {
    const said: unknown = JSON.parse(outcome.stdout);
    if (isObject(said) && isCode(said.code) && typeof said.msg === 'string') {
      const details = typeof said.details === 'string' ? said.details : undefined;
      return new CniError(said.code, `${failed}: ${plugin}: ${said.msg}`, details);
    }
  } catch {
    // No error object: its output, if any, follows.
  }
  const how =
    outcome.exit === NOT_FOUND
      ? 'it cannot be run: is there such a program in CNI_PATH?'
      : outcome.exit > 128
        ? `it was ended by signal ${outcome.exit - 128}`
        : `it ended with exit code ${outcome.exit} and no error message`;
  return new CniError(
    CODE.internal,
    `${failed}: ${plugin}: ${how}`,
    outcome.stdout.slice(0, 500) || undefined,
  );
}
