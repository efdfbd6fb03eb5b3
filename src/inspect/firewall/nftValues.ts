import { isObject } from '../../fields.ts';
import { compareAddr, parseAddr } from '../../net/addr.ts';
import { ABSENT, type Field, fieldsOf, type Kind, type Value } from './nftFields.ts';
import { any, not, type Packet, type Tri } from './packet.ts';
import { addressTest, fitsName, icmpTypeOf, protocolOf } from './words.ts';

/** Literals, sets and maps of libnftables-json(5), and comparing with them. */

/** The elements of a named set or map, or undefined when rules change it as packets pass. */
export type Sets = (name: string) => readonly unknown[] | undefined;

/** Does the value fit the literal? */
type Fits = (v: Value) => Tri;

function fits(kind: Kind, literal: unknown): Fits {
  if (isObject(literal)) {
    const { prefix, range, elem } = literal;
    if (isObject(elem)) return fits(kind, elem.val);
    if (isObject(prefix) && kind === 'addr') {
      const test = addressTest(`${prefix.addr}/${prefix.len}`);
      return (v) => (typeof v === 'object' ? test?.(v) : undefined);
    }
    if (Array.isArray(range) && range.length === 2) return between(kind, range[0], range[1]);
    // Several bits at once, which a state never has.
    if (kind === 'state' && Array.isArray(literal['|']) && literal['|'].length > 1) return () => false;
    return () => undefined;
  }
  if (kind === 'name') {
    if (typeof literal !== 'string') return () => undefined;
    return (v) => (typeof v === 'string' ? fitsName(v, literal, '*') : undefined);
  }
  const wanted = scalar(kind, literal);
  if (wanted === undefined) return () => undefined;
  if (typeof wanted === 'object') return (v) => typeof v === 'object' && compareAddr(v, wanted) === 0;
  return (v) => v === wanted;
}

function scalar(kind: Kind, literal: unknown): Value | undefined {
  switch (kind) {
    case 'proto':
      return protocolOf(literal);
    case 'icmp':
    case 'icmp6':
      return icmpTypeOf(literal, kind === 'icmp6');
    case 'number':
      return typeof literal === 'number' ? literal : undefined;
    case 'addr':
      return typeof literal === 'string' ? parseAddr(literal) : undefined;
    default:
      return typeof literal === 'string' ? literal : undefined;
  }
}

function between(kind: Kind, low: unknown, high: unknown): Fits {
  const [from, to] = [scalar(kind, low), scalar(kind, high)];
  if (typeof from === 'number' && typeof to === 'number')
    return (v) => (typeof v === 'number' ? v >= from && v <= to : undefined);
  if (typeof from === 'object' && typeof to === 'object')
    return (v) => (typeof v === 'object' ? compareAddr(v, from) >= 0 && compareAddr(v, to) <= 0 : undefined);
  return () => undefined;
}

/** Does one element of a set fit all the fields? */
function fitsElement(fields: readonly Field[], element: unknown): (values: readonly Value[]) => Tri {
  const bare = isObject(element) && isObject(element.elem) ? element.elem.val : element;
  if (fields.length === 1) {
    const suits = fits(fields[0]!.kind, bare);
    return ([v]) => suits(v!);
  }
  const parts = isObject(bare) && Array.isArray(bare.concat) ? bare.concat : [];
  if (parts.length !== fields.length) return () => undefined;
  const each = fields.map(({ kind }, i) => fits(kind, parts[i]));
  return (values) => {
    let sure: Tri = true;
    for (const [i, suits] of each.entries()) {
      const t = suits(values[i]!);
      if (t === false) return false;
      if (t === undefined) sure = undefined;
    }
    return sure;
  };
}

function readAll(fields: readonly Field[], p: Packet): readonly Value[] | 'absent-field' | undefined {
  const values: Value[] = [];
  let known = true;
  for (const { read } of fields) {
    const value = read(p);
    if (value === ABSENT) return ABSENT;
    if (value === undefined) known = false;
    else values.push(value);
  }
  return known ? values : undefined;
}

/** A `match` statement. What is absent fits nothing, not even `!=`: the rule ends there. */
export function matchTest(match: Readonly<Record<string, unknown>>, sets: Sets): (p: Packet) => Tri {
  const fields = fieldsOf(match.left);
  if (!fields) return () => undefined;
  const compare = comparison(match.op, fields, match.right, sets);
  return (p) => {
    const values = readAll(fields, p);
    return values === ABSENT ? false : values === undefined ? undefined : compare(values);
  };
}

function comparison(
  op: unknown,
  fields: readonly Field[],
  right: unknown,
  sets: Sets,
): (values: readonly Value[]) => Tri {
  const [{ kind }] = fields as [Field];
  if (op === '==' || op === '!=') {
    const suits = belongs(fields, right, sets);
    return op === '==' ? suits : (v) => not(suits(v));
  }
  if (op === 'in' || op === '!') {
    // Bits of a mask.
    if (kind !== 'state') return () => undefined;
    const list: readonly unknown[] = Array.isArray(right) ? right : [right];
    const each = list.map((l) => fits(kind, l));
    return ([v]) => {
      const some = any(each.map((f) => f(v!)));
      return op === 'in' ? some : not(some);
    };
  }
  if (kind !== 'number' || typeof right !== 'number') return () => undefined;
  return ([v]) => {
    if (typeof v !== 'number') return undefined;
    if (op === '<') return v < right;
    if (op === '>') return v > right;
    if (op === '<=') return v <= right;
    return op === '>=' ? v >= right : undefined;
  };
}

/** Is it the literal, or in the set? */
function belongs(fields: readonly Field[], right: unknown, sets: Sets): (values: readonly Value[]) => Tri {
  const elements =
    typeof right === 'string' && right.startsWith('@')
      ? sets(right.slice(1))
      : isObject(right) && Array.isArray(right.set)
        ? right.set
        : 'literal';
  if (elements === undefined) return () => undefined;
  if (elements === 'literal') return Array.isArray(right) ? () => undefined : fitsElement(fields, right);
  const each = elements.map((e) => fitsElement(fields, e));
  return (values) => any(each.map((f) => f(values)));
}

/** Picks from the elements of a map by key: the data of the first that fits; 'none'; undefined when that cannot be told. */
export function mapPick<T>(
  key: unknown,
  elements: readonly (readonly [unknown, T])[],
): (p: Packet) => T | 'none' | undefined {
  const fields = fieldsOf(key);
  if (!fields) return () => undefined;
  const each = elements.map(([element, data]) => ({ suits: fitsElement(fields, element), data }));
  return (p) => {
    const values = readAll(fields, p);
    if (values === ABSENT) return 'none';
    if (values === undefined) return undefined;
    let unsure = false;
    for (const { suits, data } of each) {
      const t = suits(values);
      if (t) return unsure ? undefined : data;
      if (t === undefined) unsure = true;
    }
    return unsure ? undefined : 'none';
  };
}
