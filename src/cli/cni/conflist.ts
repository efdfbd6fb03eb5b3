import { join } from 'node:path';
import type { CniInstallOptions } from '../../config/commands.ts';
import { CNI_VERSIONS } from '../../config/kinds.ts';
import { CNI, DEFAULTS, FILES } from '../../contract.ts';
import { isObject } from '../../fields.ts';

/** The network configuration that `loden cni install` writes. */

/** Runtimes take the first by name. */
export const CONFLIST = '10-loden.conflist';

/** The chained plugin that forwards host ports; of the CNI project, not ours. */
export const CHAINED = 'portmap';

interface Wish {
  readonly networkName: string;
  readonly cniVersion: CniInstallOptions['cniVersion'];
  readonly runDir: string;
  readonly stateDir: string;
}

/** What differs from one text to another. */
interface Members {
  readonly cniVersion: string;
  readonly name: string;
  readonly socket: string | undefined;
  readonly delQueue: string | undefined;
}

/** Its text: paths stand in it only where they are not the plugin's own defaults. */
export function conflistText({ networkName, cniVersion, runDir, stateDir }: Wish): string {
  return FORMS[0]({
    cniVersion,
    name: networkName,
    socket: runDir === DEFAULTS.runDir ? undefined : join(runDir, FILES.controlSocket),
    delQueue: stateDir === DEFAULTS.stateDir ? undefined : join(stateDir, CNI.delQueue),
  });
}

/** All forms the text has ever had, the one that is written first: what an earlier version wrote is ours too. */
const FORMS = [render] as const;

function render({ cniVersion, name, socket, delQueue }: Members): string {
  const conflist = {
    cniVersion,
    name,
    plugins: [
      // A runtime passes --ip and --mac of its command line only to plugins that say they take them.
      { type: CNI.names[0], socket, delQueue, capabilities: { ips: true, mac: true } },
      { type: CHAINED, capabilities: { portMappings: true } },
    ],
  };
  return `${JSON.stringify(conflist, null, 2)}\n`;
}

/**
 * Whose a text is: `ours` is what install writes with some options, byte for byte; `changed` is any other configuration
 * that names our plugin; `foreign` everything else.
 */
export function ownerOf(text: string): 'ours' | 'changed' | 'foreign' {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return 'foreign';
  }
  const plugins = isObject(value) && Array.isArray(value.plugins) ? value.plugins.filter(isObject) : [];
  const own = plugins.find(({ type }) => type === CNI.names[0]);
  if (!own || !isObject(value)) return 'foreign';
  const word = (member: unknown): string | undefined => (typeof member === 'string' ? member : undefined);
  const version = CNI_VERSIONS.find((v) => v === value.cniVersion);
  if (version === undefined) return 'changed';
  const members: Members = {
    cniVersion: version,
    name: word(value.name) ?? '',
    socket: word(own.socket),
    delQueue: word(own.delQueue),
  };
  return FORMS.some((form) => form(members) === text) ? 'ours' : 'changed';
}

/** Is this a file that runtimes, or other plugins, take for a network configuration? */
export const isConf = (name: string): boolean => /\.(?:conf|conflist|json)$/.test(name);

/** The types a configuration names: its own, of its plugins, and of what these hand on. None when it is no JSON. */
export function typesIn(text: string): ReadonlySet<string> {
  const types = new Set<string>();
  try {
    JSON.parse(text, (key, value: unknown) => {
      // Go takes the name in any case.
      if (key.toLowerCase() === 'type' && typeof value === 'string') types.add(value);
      return value;
    });
  } catch {}
  return types;
}
