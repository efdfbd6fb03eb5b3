import type { Problem } from '../../errors.ts';
import { isObject, show } from '../../fields.ts';
import { CniError, CODE } from '../errors.ts';
import type { AttachmentId, CniVersion, Command, PluginCall } from '../types.ts';
import { type Asked, readAsked } from './args.ts';
import { type NetConfig, readConfig } from './config.ts';
import {
  complain,
  type JsonObject,
  lines,
  listMember,
  member,
  parseNetConfig,
  type ReadElement,
  refuse,
  textMember,
} from './json.ts';
import { checkContainerId, checkIfname, checkNetworkName } from './names.ts';
import { parseResult } from './parseResult.ts';
import type { CniResult } from './result.ts';
import { atLeast, isVersion, VERSIONS } from './version.ts';

interface Common {
  /** Of the configuration, and so of the answer. */
  readonly version: CniVersion;
  /** `name`. */
  readonly network: string;
  readonly config: NetConfig;
  /** The whole configuration as it came. */
  readonly raw: JsonObject;
}

/** CNI_NETNS must not be the namespace the plugin itself runs in. */
interface Netns {
  /** `<dev>:<ino>` (decimal) that CNI_NETNS must not have: else ownNetns(). Absent with CNI_NETNS_OVERRIDE. */
  readonly forbiddenNetns?: string;
}

export interface AddRequest extends Common, AttachmentId, Netns {
  readonly command: 'ADD';
  readonly netns: string;
  /** Nothing for type flannel, nor a prevResult: its delegate reads them. */
  readonly asked: Asked;
  /** Of the plugins before us in the chain. */
  readonly prevResult?: CniResult;
}

export interface CheckRequest extends Common, AttachmentId {
  readonly command: 'CHECK';
  readonly netns: string;
  /** Without anything for type flannel. */
  readonly prevResult: CniResult;
}

export interface DelRequest extends Common, AttachmentId, Netns {
  readonly command: 'DEL';
  /** Absent when empty; may be gone. */
  readonly netns?: string;
  /** What is wrong in the configuration and was replaced by its default: a DEL does not fail for that. */
  readonly problems: readonly string[];
}

export interface StatusRequest extends Common {
  readonly command: 'STATUS';
}

export interface GcRequest extends Common {
  readonly command: 'GC';
  /** `cni.dev/valid-attachments`: everything else of this network is to go. */
  readonly valid: readonly AttachmentId[];
}

export interface VersionRequest {
  readonly command: 'VERSION';
}

export type Request = AddRequest | CheckRequest | DelRequest | StatusRequest | GcRequest | VersionRequest;

/** The commands that come with a configuration. */
type Verb = Exclude<Command, 'VERSION'>;

/** Variables a command cannot do without, in the order in which missing ones are told (libcni's skel). */
const NEEDS: Readonly<Record<Verb, readonly string[]>> = {
  ADD: ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME', 'CNI_PATH'],
  CHECK: ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME', 'CNI_PATH'],
  DEL: ['CNI_CONTAINERID', 'CNI_IFNAME', 'CNI_PATH'],
  GC: ['CNI_PATH'],
  STATUS: ['CNI_PATH'],
};

/** The version of the specification that brought a command. */
const SINCE: Partial<Record<Verb, CniVersion>> = { CHECK: '0.4.0', GC: '1.1.0', STATUS: '1.1.0' };

const isVerb = (text: string): text is Verb => Object.hasOwn(NEEDS, text);

/**
 * What is asked for. Throws CniError, the first thing wrong in the order in which libcni looks: environment; configuration
 * and its name; command; container id, interface name; version; then what this plugin itself reads in the configuration.
 */
export function readRequest(call: PluginCall): Request {
  const env = (name: string): string => (Object.hasOwn(call.env, name) ? call.env[name]! : '');
  const command = env('CNI_COMMAND');
  const needs = isVerb(command) ? NEEDS[command] : [];
  const missing = ['CNI_COMMAND', ...needs].filter((name) => env(name) === '');
  if (missing.length > 0) {
    throw new CniError(CODE.invalidEnvironment, `required env variables [${missing.join(',')}] missing`);
  }
  if (command === 'VERSION') return { command };

  const raw = parseNetConfig(call.stdin);
  const network = textMember(raw, 'name', 'error unmarshall network config') ?? '';
  checkNetworkName(network);
  if (!isVerb(command)) throw new CniError(CODE.invalidEnvironment, `unknown CNI_COMMAND: ${command}`);
  const id: AttachmentId = { containerId: env('CNI_CONTAINERID'), ifname: env('CNI_IFNAME') };
  if (needs.includes('CNI_CONTAINERID')) {
    checkContainerId(id.containerId);
    checkIfname(id.ifname);
  }
  const version = readVersion(raw, command);
  const { config, problems } = readConfig(raw);
  const common: Common = { version, network, config, raw };
  if (command !== 'DEL') refuse(problems);
  const netns = env('CNI_NETNS');
  switch (command) {
    case 'ADD':
      checkNetns(netns);
      return {
        command,
        ...common,
        ...id,
        netns,
        ...forbidden(call, env('CNI_NETNS_OVERRIDE')),
        // A delegate reads these two itself, and its arguments may be others.
        asked: config.type === 'loden' ? readAsked(env('CNI_ARGS'), raw) : { ips: [] },
        ...(config.type === 'loden' ? readPrevResult(raw) : {}),
      };
    case 'CHECK': {
      checkNetns(netns);
      const { prevResult } = config.type === 'loden' ? readPrevResult(raw) : { prevResult: NONE };
      if (!prevResult) throw new CniError(CODE.invalidConfig, 'required prevResult missing');
      return { command, ...common, ...id, netns, prevResult };
    }
    case 'DEL':
      return {
        command,
        ...common,
        ...id,
        ...(netns === '' ? {} : { netns }),
        ...forbidden(call, env('CNI_NETNS_OVERRIDE')),
        problems: lines(problems),
      };
    case 'GC':
      return { command, ...common, valid: readValid(raw) };
    case 'STATUS':
      return { command, ...common };
  }
}

function readVersion(raw: JsonObject, command: Verb): CniVersion {
  const version = textMember(raw, 'cniVersion', 'decoding version from network config') || '0.1.0';
  if (!isVersion(version)) {
    const supported = VERSIONS.map((x) => `"${x}"`).join(' ');
    throw new CniError(
      CODE.incompatibleVersion,
      'incompatible CNI versions',
      `config is ${show(version)}, plugin supports [${supported}]`,
    );
  }
  const since = SINCE[command];
  if (since !== undefined && !atLeast(version, since))
    throw new CniError(CODE.incompatibleVersion, `config version does not allow ${command}`);
  return version;
}

/** The daemon's working directory is not the plugin's: a relative path would name another file. */
function checkNetns(netns: string): void {
  if (netns.startsWith('/')) return;
  throw new CniError(CODE.invalidEnvironment, `CNI_NETNS must be an absolute path, not ${show(netns)}`);
}

function forbidden(call: PluginCall, override: string): Netns {
  if (call.netns === undefined || override === '1' || override.toUpperCase() === 'TRUE') return {};
  return { forbiddenNetns: call.netns };
}

function readPrevResult(raw: JsonObject): { prevResult?: CniResult } {
  const value = member(raw, 'prevResult');
  return value === undefined ? {} : { prevResult: parseResult(value) };
}

/** Of a delegate's interface: its CHECK reads the prevResult itself. */
const NONE: CniResult = { interfaces: [], ips: [], routes: [], dns: {} };

const VALID = 'cni.dev/valid-attachments';

/** Containers of a node: a kubelet's limit is some hundreds. */
const MOST_VALID = 16_384;

/**
 * A missing list is not an empty one: all of the network's containers would lose their addresses. `null` is what libcni
 * writes for an empty one. An entry that cannot be read is an error for the same reason.
 */
function readValid(raw: JsonObject): AttachmentId[] {
  const problems: Problem[] = [];
  if (!Object.keys(raw).some((key) => key.toLowerCase() === VALID))
    complain(problems, VALID, 'a list of what is valid', undefined);
  const read: ReadElement<AttachmentId> = (element, path) => {
    const containerId = isObject(element) ? member(element, 'containerID') : undefined;
    const ifname = isObject(element) ? member(element, 'ifname') : undefined;
    if (typeof containerId === 'string' && typeof ifname === 'string') return { containerId, ifname };
    complain(problems, path, '{"containerID": "…", "ifname": "…"}', element);
    return undefined;
  };
  const valid = listMember(raw, VALID, problems, read, '', MOST_VALID);
  refuse(problems);
  return valid;
}
