import { join } from 'node:path';
import { CNI, DEFAULTS, FILES } from '../../contract.ts';
import { isObject } from '../../fields.ts';

/** The network configuration that `loden cni install` writes. */

/** Runtimes take the first by name. */
export const CONFLIST = '10-loden.conflist';

/** The chained plugin that forwards host ports; of the CNI project, not ours. */
export const CHAINED = 'portmap';

interface Wish {
  readonly networkName: string;
  readonly runDir: string;
  readonly stateDir: string;
}

/** Its text: paths stand in it only where they are not the plugin's own defaults. */
export function conflistText({ networkName, runDir, stateDir }: Wish): string {
  return render(
    networkName,
    runDir === DEFAULTS.runDir ? undefined : join(runDir, FILES.controlSocket),
    stateDir === DEFAULTS.stateDir ? undefined : join(stateDir, CNI.delQueue),
  );
}

function render(name: string, socket: string | undefined, delQueue: string | undefined): string {
  const conflist = {
    cniVersion: '1.0.0',
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
  const same = render(word(value.name) ?? '', word(own.socket), word(own.delQueue)) === text;
  return same ? 'ours' : 'changed';
}
