import * as v from 'valibot';
import { CELLS, cellOf, worseCell } from '../../api/cell.ts';
import type { RowJson } from '../../api/matrix.ts';
import type { PathReport, Probing } from '../../probe/types.ts';
import type { Reactions } from '../reactions/reactions.ts';

/** What a node tells of its own paths, and what is taken from others. */

/** Nodes of a row that is accepted; characters of a lease key. */
const [MOST_PEERS, LONGEST_KEY] = [20_000, 100];

/** A thousand pipes would cost some milliseconds for each of a thousand rows. */
const isKeys = (list: unknown): boolean =>
  Array.isArray(list) &&
  list.length <= MOST_PEERS &&
  list.every((key) => typeof key === 'string' && key.length <= LONGEST_KEY);

const ROW = v.object({
  key: v.nullable(v.pipe(v.string(), v.maxLength(LONGEST_KEY))),
  peers: v.custom<readonly string[]>(isKeys),
  cells: v.pipe(v.string(), v.maxLength(MOST_PEERS), v.regex(/^[-.0-9mlx]*$/)),
});

/** Another's row; undefined: it is none. It comes from a host that may be anybody's. */
export function parseRow(text: string): RowJson | undefined {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return undefined;
  }
  const { success, output } = v.safeParse(ROW, json);
  return success && output.cells.length === output.peers.length ? output : undefined;
}

/** The cell of one path of ours. */
export const pathCell = (path: string, report: PathReport, reactions: Pick<Reactions, 'routeMtu'>): string =>
  cellOf({
    health: report.health,
    rtt: report.rtt,
    lowered: report.fullSize === 'lost' || reactions.routeMtu(path) !== undefined,
  });

/** The cell of a peer: the worse of its two families; `.` when it is not probed. */
export function peerCell(
  key: string,
  { paths }: Pick<Probing, 'paths'>,
  reactions: Pick<Reactions, 'routeMtu'>,
): string {
  let cell = CELLS[1]!;
  for (const family of [4, 6] as const) {
    const path = `${key} ${family}`;
    const report = paths.get(path);
    if (report) cell = worseCell(cell, pathCell(path, report, reactions));
  }
  return cell;
}

/** Our own row as JSON text, in pieces. */
export function* rowText(
  key: string | null,
  probing: Pick<Probing, 'paths'>,
  reactions: Pick<Reactions, 'routeMtu'>,
): Generator<string> {
  yield `{"key":${JSON.stringify(key)},"peers":[`;
  let cells = '';
  let last: string | undefined;
  for (const { target } of probing.paths.values()) {
    // The families of a peer follow each other, if it has two; one that does not is told twice, and the same.
    if (target.key === last) continue;
    yield `${last === undefined ? '' : ','}${JSON.stringify(target.key)}`;
    last = target.key;
    cells += peerCell(target.key, probing, reactions);
  }
  yield `],"cells":"${cells}"}\n`;
}
