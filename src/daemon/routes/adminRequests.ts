import * as v from 'valibot';
import { releaseSubnet, reserveSubnet, setNetwork } from '../../admin/operations.ts';
import type { LeaseChangeJson } from '../../api/changes.ts';
import { Refusal } from '../../subnet/adminNode.ts';
import { ApiError, badRequest } from '../http/errors.ts';
import { flag } from '../http/query.ts';
import type { ApiRequest, Reply } from '../http/route.ts';
import type { RouteParts } from './parts.ts';

/** The requests of admin.ts, which says what they are. */

type Parts = Pick<RouteParts, 'options' | 'etcd' | 'events'>;

const Reservation = v.strictObject({ subnet: v.string(), node: v.string() });

const Network = v.strictObject({
  config: v.string(),
  revision: v.optional(v.pipe(v.string(), v.regex(/^\d{1,18}$/))),
  force: v.optional(v.boolean()),
  dryRun: v.optional(v.boolean()),
});

export async function postReservation({ body, signal }: ApiRequest, parts: Parts): Promise<Reply> {
  const change = await refusing(() => reserveSubnet(parts.etcd, read(Reservation, body), signal));
  note(parts, change);
  return { status: change.done === 'created' ? 201 : 200, value: change };
}

export async function deleteLease({ params, query, signal }: ApiRequest, parts: Parts): Promise<Reply> {
  const { etcd, options } = parts;
  const subnet = params.key ?? '';
  const force = flag(query, 'force');
  const change = await refusing(() => releaseSubnet(etcd, { subnet, force, ttl: options.leaseTtl }, signal));
  note(parts, change);
  return { value: change };
}

export async function putNetwork({ body, signal }: ApiRequest, { etcd, events }: Parts): Promise<Reply> {
  const change = await refusing(() => setNetwork(etcd, read(Network, body), signal));
  if (change.done === 'set') {
    const what = change.changes.map(({ path }) => path).join(', ') || 'anew';
    events.note({
      level: 'info',
      kind: 'config',
      subject: change.key,
      message: `an operator has set the network config: ${what}`,
    });
  }
  return { value: change };
}

function note({ events }: Parts, { done, key }: LeaseChangeJson): void {
  if (done === 'nothing') return;
  const what = done === 'created' ? 'made this reservation' : `${done} this lease`;
  events.note({ level: 'info', kind: 'lease', subject: key, message: `an operator has ${what}` });
}

/** The body of a request; what it says is not repeated in an error, for it may hold a secret. */
function read<T>(shape: v.GenericSchema<unknown, T>, body: unknown): T {
  const parsed = v.safeParse(shape, body);
  if (parsed.success) return parsed.output;
  const path = v.getDotPath(parsed.issues[0]);
  throw badRequest(path ? `${path} is not as it must be` : 'the body must be a JSON object');
}

async function refusing<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (e) {
    if (e instanceof Refusal) throw new ApiError(409, 'refused', e.message);
    throw e;
  }
}
