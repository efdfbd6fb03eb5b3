import { NODE_FIELD } from '../contract.ts';
import { isObject, show } from '../fields.ts';
import { type Addr, type Family, formatAddr, parseAddr } from '../net/addr.ts';
import type { BackendData, LeaseAttrs, NodeId } from './types.ts';

/** Bytes of a lease value; flannel's are under 300. */
export const MAX_VALUE = 64 * 1024;
/** Levels of objects and lists inside BackendData: whoever prints it later recurses. */
const MAX_DEPTH = 16;
const MAX_BACKEND_TYPE = 64;

const NODE_ID = /^[0-9a-f]{32}$/;
const INSTANCE = /^[0-9a-f]{16}$/;

export const isNodeId = (text: unknown): text is NodeId => typeof text === 'string' && NODE_ID.test(text);
export const isInstance = (text: unknown): text is string => typeof text === 'string' && INSTANCE.test(text);

/**
 * The JSON value of a lease key: flannel's members in flannel's order, ours last. Without an IPv4 endpoint PublicIP
 * is "0.0.0.0" as flannel writes it, which cannot read null there. Throws RangeError for more than {@link MAX_VALUE} bytes.
 */
export function encodeValue(attrs: LeaseAttrs): string {
  const [v4, v6] = [attrs.endpoints.get(4), attrs.endpoints.get(6)];
  const value: Record<string, unknown> = {
    PublicIP: v4 ? formatAddr(v4) : '0.0.0.0',
    PublicIPv6: v6 ? formatAddr(v6) : null,
  };
  if (attrs.backend !== undefined) value.BackendType = attrs.backend;
  if (attrs.data.has(4)) value.BackendData = attrs.data.get(4);
  if (attrs.data.has(6)) value.BackendV6Data = attrs.data.get(6);
  if (attrs.node !== undefined) value[NODE_FIELD] = { node: attrs.node, instance: attrs.instance };
  const text = JSON.stringify(value);
  if (Buffer.byteLength(text) > MAX_VALUE) {
    throw new RangeError(`a lease value of ${Buffer.byteLength(text)} bytes; the limit is ${MAX_VALUE}`);
  }
  return text;
}

export type ParsedValue = { readonly attrs: LeaseAttrs } | { readonly reason: string };

/**
 * Read a lease value written by anybody. Unknown members are ignored; a wrong type, size or depth anywhere else
 * gives a reason, so that one bad value is set aside alone. Never throws.
 */
export function decodeValue(text: string): ParsedValue {
  if (text.length > MAX_VALUE)
    return { reason: `a value of ${text.length} characters; the limit is ${MAX_VALUE}` };
  let value: unknown;
  try {
    value = SUSPECT.test(text) ? JSON.parse(text, withoutProto) : JSON.parse(text);
  } catch {
    return { reason: `not JSON: ${show(text)}` };
  }
  if (!isObject(value)) return { reason: `not a JSON object: ${show(value)}` };
  const object = value;
  const get = (name: string): unknown =>
    Object.hasOwn(object, name) ? (object[name] ?? undefined) : undefined;

  const endpoints = new Map<Family, Addr>();
  for (const [name, family] of [
    ['PublicIP', 4],
    ['PublicIPv6', 6],
  ] as const) {
    const given = get(name);
    if (given === undefined) continue;
    const addr = typeof given === 'string' ? parseAddr(given) : undefined;
    if (addr?.family !== family) return { reason: `${name} is not an IPv${family} address: ${show(given)}` };
    if (addr.value !== 0n) endpoints.set(family, addr);
  }
  if (endpoints.size === 0) return { reason: 'neither PublicIP nor PublicIPv6' };

  const backend = get('BackendType');
  if (backend !== undefined && (typeof backend !== 'string' || backend.length > MAX_BACKEND_TYPE)) {
    return { reason: `BackendType is not a name: ${show(backend)}` };
  }
  const data = new Map<Family, BackendData>();
  for (const [name, family] of [
    ['BackendData', 4],
    ['BackendV6Data', 6],
  ] as const) {
    const given = get(name);
    if (given === undefined) continue;
    if (tooDeep(given, MAX_DEPTH)) return { reason: `${name} is nested deeper than ${MAX_DEPTH} levels` };
    data.set(family, given);
  }
  const attrs = { endpoints, data, ...(backend ? { backend } : {}) };
  const own = get(NODE_FIELD);
  if (own === undefined) return { attrs };
  // A lease with an id we cannot read is somebody's all the same: read as flannel's it could be taken for our own.
  if (!isObject(own) || !Object.hasOwn(own, 'node') || !isNodeId(own.node)) {
    return { reason: `${NODE_FIELD} has no node id of 32 hex digits: ${show(own)}` };
  }
  const instance =
    Object.hasOwn(own, 'instance') && isInstance(own.instance) ? { instance: own.instance } : {};
  return { attrs: { ...attrs, node: own.node, ...instance } };
}

/** Text in which some member may be named __proto__, plainly or escaped. */
const SUSPECT = /__proto__|\\u00/i;
/** JSON.parse makes `__proto__` a member like any other, but whoever copies it with Object.assign sets a prototype. */
const withoutProto = (name: string, value: unknown): unknown => (name === '__proto__' ? undefined : value);

function tooDeep(value: unknown, levels: number): boolean {
  if (typeof value !== 'object' || value === null) return false;
  if (levels === 0) return true;
  return Object.values(value).some((v) => tooDeep(v, levels - 1));
}
