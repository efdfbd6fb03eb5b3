import type { PluginAnswer, PluginCall } from '../../cni/types.ts';
import type { Happening } from './log.ts';

/** Commands of which a failure is news; of the others the runtime makes what it will. */
const TOLD = new Set(['ADD', 'DEL']);

/** A pod that could not be attached or detached. */
export function podHappenings(call: PluginCall, answer: PluginAnswer): Happening[] {
  const { CNI_COMMAND: command = '', CNI_CONTAINERID: id = '', CNI_IFNAME: ifname = '' } = call.env;
  if (answer.kind !== 'error' || !TOLD.has(command)) return [];
  const { code, msg } = answer.error;
  const pod = `${id}/${ifname}`;
  return [
    {
      level: 'warn',
      kind: 'pods',
      subject: pod,
      message: `${command} of ${pod} failed: ${msg}`,
      fields: { command, code },
    },
  ];
}
