import { isObject } from '../fields.ts';
import { formatAddr, parseAddr } from '../net/addr.ts';
import { parseMac } from '../net/mac.ts';
import { formatPrefix, type Prefix, parsePrefix } from '../net/prefix.ts';
import type { AttachmentRecord } from './records.ts';
import type { AttachedAddress, Attachment } from './types.ts';

/** Why a file is none that has no whole line. */
export const CUT = 'it is empty or cut short';

/** An attachment as a line of JSON, and back. */
export function formatRecord({ attachment: a, since }: AttachmentRecord): string {
  return `${JSON.stringify({
    ...a,
    since,
    addresses: a.addresses.map(({ address, gateway }) => [formatPrefix(address), formatAddr(gateway)]),
    routes: a.routes.map(formatPrefix),
  })}\n`;
}

/** What the last whole line says: the first is there before anything else is, so a later one may be cut. Throws Error. */
export function parseRecord(text: string, state: AttachmentRecord['state']): AttachmentRecord {
  const lines = text.split('\n').slice(0, -1);
  // A file that is still `adding` may have a second line; what was reserved for it is found by its owner.
  const line = state === 'adding' ? lines[0] : lines.at(-1);
  if (line === undefined) throw new Error(CUT);
  const value: unknown = JSON.parse(line);
  if (!isObject(value)) throw new Error('it is no JSON object');
  const text_ = (name: string): string => {
    const v = value[name];
    if (typeof v !== 'string' || v === '') throw new Error(`it has no ${name}`);
    return v;
  };
  const number = (name: string): number => {
    const v = value[name];
    if (typeof v !== 'number' || !Number.isFinite(v)) throw new Error(`it has no ${name}`);
    return v;
  };
  const list = (name: string): readonly unknown[] => {
    const v = value[name];
    if (!Array.isArray(v)) throw new Error(`it has no ${name}`);
    return v;
  };
  const mac = (name: string) => parseMac(text_(name)) ?? fail(`${name} is no MAC address`);
  const mode = text_('mode');
  if (mode !== 'bridge' && mode !== 'ptp') throw new Error('there is no such mode');
  const attachment: Attachment = {
    containerId: text_('containerId'),
    ifname: text_('ifname'),
    network: text_('network'),
    netns: text_('netns'),
    mode,
    ...(value.bridge === undefined ? {} : { bridge: text_('bridge') }),
    hostIf: text_('hostIf'),
    hostMac: mac('hostMac'),
    mac: mac('mac'),
    mtu: number('mtu'),
    hairpin: value.hairpin === true,
    addresses: list('addresses').map(attachedAddress),
    routes: list('routes').map(aPrefix),
    dataDir: text_('dataDir'),
  };
  if (state === 'attached' && attachment.addresses.length === 0) throw new Error('it has no address');
  return { state, attachment, since: number('since') };
}

const fail = (message: string): never => {
  throw new Error(message);
};

const aPrefix = (value: unknown): Prefix =>
  (typeof value === 'string' ? parsePrefix(value) : undefined) ??
  fail('there is no prefix where one should be');

function attachedAddress(value: unknown): AttachedAddress {
  const [address, gateway] = Array.isArray(value) ? (value as readonly unknown[]) : [];
  const via = typeof gateway === 'string' ? parseAddr(gateway) : undefined;
  return { address: aPrefix(address), gateway: via ?? fail('there is no gateway where one should be') };
}
