import { isObject } from '../../fields.ts';
import type { Addr } from '../../net/addr.ts';
import { compareAddr, parseAddr } from '../../net/addr.ts';
import { any, not, type Packet, type Tri } from './packet.ts';
import { addressTest, fitsName, icmpTypeOf, protocolOf, WITH_PORTS } from './words.ts';

/** Expressions of libnftables-json(5), as far as they are about what a {@link Packet} holds. */

/** How a value is written, which decides how a literal is read. */
type Kind = 'name' | 'word' | 'state' | 'proto' | 'icmp' | 'icmp6' | 'number' | 'addr';
type Value = number | string | Addr;

/** `absent`: the packet has no such field, and the rule ends there, whatever is compared. */
type Read = (p: Packet) => Value | 'absent-field' | undefined;

interface Field {
  readonly kind: Kind;
  readonly read: Read;
}

const ABSENT = 'absent-field';
const UNKNOWN: Read = () => undefined;

/** The elements of a named set or map, or undefined when rules change it as packets pass. */
export type Sets = (name: string) => readonly unknown[] | undefined;

/** A field, or several that are compared together; undefined: not one this evaluator knows. */
export function fieldsOf(expr: unknown): readonly Field[] | undefined {
  if (!isObject(expr)) return undefined;
  if (Array.isArray(expr.concat)) {
    const parts = expr.concat.map(fieldOf);
    return parts.every((f) => f !== undefined) ? parts : undefined;
  }
  const field = fieldOf(expr);
  return field && [field];
}

function fieldOf(expr: unknown): Field | undefined {
  if (!isObject(expr)) return undefined;
  const { meta, payload, ct, fib } = expr;
  if (isObject(meta)) return metaField(meta.key);
  if (isObject(payload)) return payloadField(payload.protocol, payload.field);
  if (isObject(ct)) return ctField(ct.key);
  if (isObject(fib)) return fibField(fib);
  for (const op of ['&', '|', '^', '<<', '>>'] as const) if (op in expr) return bitwise(op, expr[op]);
  return undefined;
}

function metaField(key: unknown): Field | undefined {
  switch (key) {
    case 'iifname':
    case 'iif':
      return { kind: 'name', read: (p) => p.iif };
    case 'oifname':
    case 'oif':
      return { kind: 'name', read: (p) => p.oif };
    case 'l4proto':
      return { kind: 'proto', read: (p) => p.proto };
    case 'nfproto':
      return { kind: 'word', read: (p) => `ipv${p.family}` };
    case 'protocol':
      return { kind: 'word', read: (p) => (p.family === 4 ? 'ip' : 'ip6') };
    case 'mark':
      return { kind: 'number', read: (p) => p.mark };
    case 'length':
      return { kind: 'number', read: (p) => p.length };
    default:
      return undefined;
  }
}

const PORTED: ReadonlySet<unknown> = new Set(['tcp', 'udp', 'dccp', 'sctp', 'udplite']);

function payloadField(protocol: unknown, name: unknown): Field | undefined {
  if (protocol === 'ip' || protocol === 'ip6') {
    const of = (kind: Kind, read: Read): Field => ({
      kind,
      read: (p) => (p.family === (protocol === 'ip' ? 4 : 6) ? read(p) : ABSENT),
    });
    if (name === 'saddr') return of('addr', (p) => p.saddr);
    if (name === 'daddr') return of('addr', (p) => p.daddr);
    if (name === 'protocol' || name === 'nexthdr') return of('proto', (p) => p.proto);
    if (name === 'length' && protocol === 'ip') return of('number', (p) => p.length);
    return of('number', UNKNOWN);
  }
  if (protocol === 'th') {
    const ported = (read: Read): Field => ({
      kind: 'number',
      read: (p) => (p.proto !== undefined && WITH_PORTS.has(p.proto) ? read(p) : undefined),
    });
    return name === 'sport' ? ported((p) => p.sport) : name === 'dport' ? ported((p) => p.dport) : undefined;
  }
  const number =
    protocol === 'icmp'
      ? 1
      : protocol === 'icmpv6'
        ? 58
        : PORTED.has(protocol)
          ? protocolOf(protocol)
          : undefined;
  if (number === undefined) return undefined;
  const of = (kind: Kind, read: Read): Field => ({
    kind,
    read: (p) => (p.proto === undefined ? undefined : p.proto === number ? read(p) : ABSENT),
  });
  if (number === 1 || number === 58) {
    const kind = number === 1 ? 'icmp' : 'icmp6';
    return of(kind, name === 'type' ? (p) => p.icmpType : UNKNOWN);
  }
  if (name === 'sport') return of('number', (p) => p.sport);
  if (name === 'dport') return of('number', (p) => p.dport);
  return of('number', UNKNOWN);
}

function ctField(key: unknown): Field | undefined {
  if (key === 'state') return { kind: 'state', read: (p) => p.ctState };
  if (key === 'direction')
    return { kind: 'word', read: (p) => (p.ctState === 'new' ? 'original' : undefined) };
  return undefined;
}

function fibField({ result, flags }: Readonly<Record<string, unknown>>): Field | undefined {
  const flag = Array.isArray(flags) && flags.length === 1 ? flags[0] : flags;
  if (result !== 'type') return undefined;
  if (flag === 'daddr') return { kind: 'word', read: (p) => p.daddrType };
  if (flag === 'saddr') return { kind: 'word', read: (p) => p.saddrType };
  return undefined;
}

function bitwise(op: '&' | '|' | '^' | '<<' | '>>', operands: unknown): Field | undefined {
  if (!Array.isArray(operands) || operands.length !== 2) return undefined;
  const left = fieldOf(operands[0]);
  if (!left) return undefined;
  const right: unknown = operands[1];
  if (left.kind === 'addr' && op === '&' && typeof right === 'string') {
    const mask = parseAddr(right);
    if (!mask) return undefined;
    return {
      kind: 'addr',
      read: (p) => {
        const a = left.read(p);
        return typeof a === 'object' ? { family: a.family, value: a.value & mask.value } : a;
      },
    };
  }
  if (left.kind !== 'number' || typeof right !== 'number') return undefined;
  return {
    kind: 'number',
    read: (p) => {
      const n = left.read(p);
      return typeof n === 'number' ? arithmetic(op, n, right) : n;
    },
  };
}

function arithmetic(op: '&' | '|' | '^' | '<<' | '>>', a: number, b: number): number {
  switch (op) {
    case '&':
      return (a & b) >>> 0;
    case '|':
      return (a | b) >>> 0;
    case '^':
      return (a ^ b) >>> 0;
    case '<<':
      return (a << b) >>> 0;
    case '>>':
      return a >>> b;
  }
}

/** A number that a statement gives to a mark; undefined when that cannot be told. */
export function numberOf(expr: unknown, p: Packet): number | undefined {
  if (typeof expr === 'number') return expr;
  const value = fieldOf(expr)?.read(p);
  return typeof value === 'number' ? value : undefined;
}

/** Does the value suits the literal? */
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

/** Does one element of a set suits all the fields? */
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
