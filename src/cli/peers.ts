import { setTimeout as sleep } from 'node:timers/promises';
import type { PeerJson, PeersJson } from '../api/shapes.ts';
import type { LeasesOptions } from '../config/commands.ts';
import { LodenError } from '../errors.ts';
import { printable } from '../text.ts';
import { coloured, type Io } from './command.ts';
import { ask } from './daemon.ts';
import { lasting, nudges } from './nudges.ts';
import { type Paint, paint } from './paint.ts';
import { byTrouble, renderPeers, type Trouble, troubleOf } from './render/peers.ts';
import { json, jsonLine } from './render.ts';
import { redraw } from './screen.ts';

/** Milliseconds between two looks at a terminal: round trips and bytes change without an event. */
const REFRESH = 2_000;

const KINDS = ['peer', 'path', 'mtu', 'offload', 'config'];

/** `loden peers`, once or, with --watch, until nobody reads any more. */
export async function peers(options: LeasesOptions, io: Io): Promise<void> {
  const look = paint(coloured(options.color, io));
  if (options.watch)
    return io.terminal && !options.json ? watchTable(options, io, look) : watchLines(options, io, look);
  const answer = await ask(options.runDir, '/v1/peers');
  io.print(
    options.json
      ? json({ ...answer, peers: byTrouble(answer.peers) })
      : renderPeers(answer, look, io.terminal?.columns),
  );
}

/** A table that is drawn again and again; bytes become rates. */
async function watchTable({ runDir }: LeasesOptions, io: Io, look: Paint): Promise<void> {
  let before: PeersJson | undefined;
  while (!io.signal.aborted) {
    try {
      const answer = await ask(runDir, '/v1/peers');
      redraw(io, renderPeers(answer, look, io.terminal?.columns, before));
      before = answer;
    } catch (e) {
      // The first answer decides whether there is something to wait for.
      if (!before || !(e instanceof LodenError)) throw e;
      redraw(io, `${look.bad(printable(e.message))}\ntrying again\n`);
    }
    await sleep(REFRESH, undefined, { signal: io.signal }).catch(() => {});
  }
}

/** What has changed with a peer: who serves it, and how it is reached. */
interface PeerChange {
  readonly change: 'present' | 'appeared' | 'changed' | 'gone';
  readonly trouble: Trouble;
  readonly peer: PeerJson;
}

const standing = (peer: PeerJson): string =>
  JSON.stringify([
    peer.publicIP,
    peer.publicIPv6,
    peer.problem,
    peer.paths.map((p) => [p.family, p.health, p.fullSize, p.routeMtu, p.checksum, p.error]),
  ]);

/** From one answer to the next; `before` undefined: all that is there. */
function peerChanges(before: PeersJson | undefined, after: PeersJson): PeerChange[] {
  const old = new Map(before?.peers.map((p) => [p.key, p]));
  const now = new Set(after.peers.map((p) => p.key));
  const told = (change: PeerChange['change'], peer: PeerJson): PeerChange => ({
    change,
    trouble: troubleOf(peer),
    peer,
  });
  return [
    ...[...old.values()].filter((p) => !now.has(p.key)).map((p) => told('gone', p)),
    ...after.peers.flatMap((peer) => {
      const was = old.get(peer.key);
      if (!was) return [told(before ? 'appeared' : 'present', peer)];
      return standing(was) === standing(peer) ? [] : [told('changed', peer)];
    }),
  ];
}

function renderPeerChange(at: string, { change, trouble, peer }: PeerChange, look: Paint): string {
  const subnets = printable(peer.subnets.join(', '));
  const state = trouble === 'none' ? look.good('in order') : look.warn(trouble);
  const why = peer.problem === null ? '' : `: ${printable(peer.problem)}`;
  return `${printable(at)} ${change} ${subnets}${change === 'gone' ? '' : `: ${state}${why}`}\n`;
}

/** A line for each change; the daemon says when there is one. */
async function watchLines(options: LeasesOptions, io: Io, look: Paint): Promise<void> {
  let before: PeersJson | undefined;
  await lasting(io, async (shown) => {
    for await (const _ of nudges(options.runDir, KINDS, io.signal)) {
      const answer = await ask(options.runDir, '/v1/peers');
      for (const change of peerChanges(before, answer)) {
        if (options.json) io.print(jsonLine({ at: answer.at, ...change }));
        else if (change.change !== 'present') io.print(renderPeerChange(answer.at, change, look));
      }
      if (!before && !options.json) io.print(renderPeers(answer, look));
      before = answer;
      shown();
    }
    return 'again';
  });
}
