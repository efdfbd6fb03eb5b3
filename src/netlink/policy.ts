import type { Codec, Struct } from './codecs.ts';
import { eachAttribute, NetlinkFormatError, NLA_F_NESTED, type Source, type Writer } from './wire.ts';

/**
 * Policy tables: one line for each attribute gives its encoder, its decoder and its TypeScript type.
 *
 *     const IFA = attributes({ IFA_ADDRESS: [1, addr], IFA_LABEL: [3, string] });
 *     type IfaValues = ValuesOf<typeof IFA>;   // { IFA_ADDRESS?: Addr; IFA_LABEL?: string }
 */
export type Fields = Readonly<Record<string, readonly [type: number, codec: Codec<unknown>]>>;

/** The values of a table; all are optional, as they are in the kernel. Undefined ones are not written. */
export type Values<F extends Fields> = {
  readonly [K in keyof F]?: F[K] extends readonly [number, Codec<infer V>] ? V | undefined : never;
};

/** A table of attributes; itself a codec, of a nested attribute's payload. */
export interface Attributes<V> extends Codec<V> {
  /** Type number and codec by name, in the order they are written. */
  readonly fields: Fields;
  /** The name of an attribute type; undefined for one the table does not have. */
  nameOf(type: number): string | undefined;
}

export type ValuesOf<T> = T extends Attributes<infer V> ? V : never;

/** Makes a table. Attributes it does not have are skipped in replies; of a repeated one the last counts. */
export function attributes<const F extends Fields>(fields: F): Attributes<Values<F>> {
  const rows = Object.entries(fields).map(([name, [type, codec]]) => ({
    name,
    // The kernel's newer policies insist on the flag, the older ones ignore it.
    type: codec.nested ? type | NLA_F_NESTED : type,
    codec,
  }));
  const byType: ({ name: string; codec: Codec<unknown> } | undefined)[] = [];
  for (const [name, [type, codec]] of Object.entries(fields)) byType[type] = { name, codec };

  return {
    fields,
    nested: true,
    nameOf: (type) => byType[type]?.name,
    write(w: Writer, values: Values<F>) {
      const given = values as Record<string, unknown>;
      for (const row of rows) {
        const value = given[row.name];
        if (value === undefined || (row.codec.flag && value === false)) continue;
        const mark = w.beginAttribute(row.type);
        row.codec.write(w, value);
        w.endAttribute(mark);
      }
    },
    read(s: Source, at: number, end: number) {
      const values: Record<string, unknown> = {};
      eachAttribute(s, at, end, (type, from, to) => {
        const row = byType[type];
        if (row === undefined) return;
        const value = row.codec.read(s, from, to);
        if (value !== undefined) values[row.name] = value;
      });
      return values as Values<F>;
    },
  };
}

/** A fixed C struct: fields in order, padding written out (`pad`). Missing values are written as zero. */
export type Layout = Readonly<Record<string, Struct<unknown>>>;

export type LayoutValues<L extends Layout> = {
  readonly [K in keyof L as L[K] extends Struct<undefined> ? never : K]: L[K] extends Struct<infer V>
    ? V
    : never;
};

export type HeaderOf<T> = T extends Header<infer H> ? H : never;

/** A message's fixed header. */
export interface Header<H> {
  /** Bytes, as C lays it out. */
  readonly size: number;
  write(w: Writer, values: Partial<H>): void;
  /** Throws {@link NetlinkFormatError} when fewer than `size` bytes are left. */
  read(s: Source, at: number, end: number): H;
}

/** Makes a fixed header out of its layout. */
export function header<const L extends Layout>(name: string, layout: L): Header<LayoutValues<L>> {
  const rows = Object.entries(layout).map(([field, codec]) => ({ field, codec, size: codec.size }));
  const size = rows.reduce((sum, row) => sum + row.size, 0);
  return {
    size,
    write(w: Writer, values: Partial<LayoutValues<L>>) {
      const given = values as Record<string, unknown>;
      for (const row of rows) {
        const value = given[row.field];
        if (value === undefined) w.zero(row.size);
        else row.codec.write(w, value);
      }
    },
    read(s: Source, at: number, end: number) {
      if (end - at < size) {
        throw new NetlinkFormatError(`${end - at} bytes where struct ${name} needs ${size}`);
      }
      const values: Record<string, unknown> = {};
      let here = at;
      for (const row of rows) {
        const value = row.codec.read(s, here, here + row.size);
        if (value !== undefined) values[row.field] = value;
        here += row.size;
      }
      return values as LayoutValues<L>;
    },
  };
}
