import {
  bool,
  type Codec,
  FieldReader,
  int64,
  type MessageOf,
  many,
  message,
  one,
  type Partly,
  text,
} from './protobuf.ts';

// The part of etcd's API we use; names and numbers are those of rpc.proto and kv.proto of etcd 3.4.

/** In every answer. */
const Header = message({ cluster_id: int64(1), revision: int64(3) });
export type Header = MessageOf<typeof Header>;

const KeyValue = message({
  key: text(1),
  create_revision: int64(2),
  mod_revision: int64(3),
  value: text(5),
  /** 0n: none. */
  lease: int64(6),
});
/** One key as etcd has it. */
export type KeyValue = MessageOf<typeof KeyValue>;

/** Without `range_end` one key, else all from `key` up to before `range_end`. */
const RangeRequest = message({ key: text(1), range_end: text(2) });
const RangeResponse = message({ header: one(1, Header), kvs: many(2, KeyValue) });
const PutRequest = message({ key: text(1), value: text(2), lease: int64(3), ignore_lease: bool(6) });
const DeleteRangeRequest = message({ key: text(1) });

/** Values of Compare.target; Compare.result is left at 0, which is Equal. */
export const COMPARE = { version: 0n, mod: 2n } as const;
const Compare = message({ target: int64(2), key: text(3), version: int64(4), mod_revision: int64(6) });
export type Compare = Partly<MessageOf<typeof Compare>>;
const RequestOp = message({
  request_range: one(1, RangeRequest),
  request_put: one(2, PutRequest),
  request_delete_range: one(3, DeleteRangeRequest),
});
export type RequestOp = Partly<MessageOf<typeof RequestOp>>;
const TxnRequest = message({
  compare: many(1, Compare),
  success: many(2, RequestOp),
  failure: many(3, RequestOp),
});
export type TxnRequest = Partly<MessageOf<typeof TxnRequest>>;
const ResponseOp = message({ response_range: one(1, RangeResponse) });
const TxnResponse = message({ header: one(1, Header), succeeded: bool(2), responses: many(3, ResponseOp) });
export type TxnResponse = MessageOf<typeof TxnResponse>;

const Event = message({ type: int64(1), kv: one(2, KeyValue) });
/** Event.type of a deletion; a put is 0. */
export const DELETED = 1n;
const WatchCreateRequest = message({
  key: text(1),
  range_end: text(2),
  start_revision: int64(3),
  fragment: bool(8),
});
const WatchRequest = message({ create_request: one(1, WatchCreateRequest) });
const WatchResponse = message({
  header: one(1, Header),
  created: bool(3),
  canceled: bool(4),
  compact_revision: int64(5),
  cancel_reason: text(6),
  /** More of the same revision follows. */
  fragment: bool(7),
  events: many(11, Event),
});
export type WatchResponse = MessageOf<typeof WatchResponse>;

const LeaseID = message({ ID: int64(1) });

/** One remote procedure. */
export interface Method<Request, Response> {
  /** For logs and metrics: `KV.range`. */
  readonly name: string;
  readonly path: string;
  readonly request: Codec<Request>;
  readonly response: Codec<Response>;
}

const method = <Q, R>(
  service: string,
  name: string,
  request: Codec<Q>,
  response: Codec<R>,
): Method<Q, R> => ({
  name: `${service}.${name[0]!.toLowerCase()}${name.slice(1)}`,
  path: `/etcdserverpb.${service}/${name}`,
  request,
  response,
});

/** The bytes themselves, to be read by {@link RangeReader}. */
const raw: Codec<Buffer> = { encode: () => Buffer.alloc(0), decode: (bytes) => bytes };

export const METHODS = {
  range: method('KV', 'Range', RangeRequest, raw),
  txn: method('KV', 'Txn', TxnRequest, TxnResponse),
  watch: method('Watch', 'Watch', WatchRequest, WatchResponse),
  leaseGrant: method(
    'Lease',
    'LeaseGrant',
    message({ TTL: int64(1) }),
    message({ header: one(1, Header), ID: int64(2), TTL: int64(3) }),
  ),
  leaseRevoke: method('Lease', 'LeaseRevoke', LeaseID, message({ header: one(1, Header) })),
  leaseKeepAlive: method(
    'Lease',
    'LeaseKeepAlive',
    LeaseID,
    message({ header: one(1, Header), ID: int64(2), TTL: int64(3) }),
  ),
  leaseTimeToLive: method(
    'Lease',
    'LeaseTimeToLive',
    message({ ID: int64(1), keys: bool(2) }),
    message({ header: one(1, Header), TTL: int64(3), keys: many(5, raw) }),
  ),
  authenticate: method(
    'Auth',
    'Authenticate',
    message({ name: text(1), password: text(2) }),
    message({ header: one(1, Header), token: text(2) }),
  ),
} as const;

/**
 * Reads a RangeResponse key by key, so that a caller can pause between keys: decoding 5,000 of them at once blocks
 * the loop for 20 to 50 ms. Throws RangeError when the bytes are not such a message.
 */
export class RangeReader {
  readonly header: Header;
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
    // etcd writes the header first: fields are written in the order of their numbers.
    const first = new FieldReader(bytes).next().value;
    this.header = Header.decode(first?.number === 1 ? first.bytes : Buffer.alloc(0));
  }

  /** The next key; undefined after the last. */
  next(): KeyValue | undefined {
    while (this.#at < this.#bytes.length) {
      const fields = new FieldReader(this.#bytes, this.#at);
      const field = fields.next().value;
      this.#at = fields.at;
      if (field?.number === 2) return KeyValue.decode(field.bytes);
    }
    return undefined;
  }
}
