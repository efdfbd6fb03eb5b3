import { isObject } from '../../fields.ts';
import type { Addr } from '../../net/addr.ts';
import { parseAddr } from '../../net/addr.ts';
import type { Packet } from './packet.ts';
import { protocolOf, WITH_PORTS } from './words.ts';

/** Expressions of libnftables-json(5), as far as they are about what a {@link Packet} holds. */

/** How a value is written, which decides how a literal is read. */
export type Kind = 'name' | 'word' | 'state' | 'proto' | 'icmp' | 'icmp6' | 'number' | 'addr';
export type Value = number | string | Addr;

/** `absent`: the packet has no such field, and the rule ends there, whatever is compared. */
type Read = (p: Packet) => Value | 'absent-field' | undefined;

export interface Field {
  readonly kind: Kind;
  readonly read: Read;
}

export const ABSENT = 'absent-field';
const UNKNOWN: Read = () => undefined;

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
