import type { EtcdOptions } from '../config/etcd.ts';
import type { Values } from '../config/options.ts';
import { EXIT } from '../contract.ts';
import { why as ask, type Question } from '../inspect/why/index.ts';
import { readNodeId } from '../subnet/stateDir.ts';
import { coloured, type Io } from './command.ts';
import { paint } from './paint.ts';
import { renderWhy } from './render/why.ts';
import { json } from './render.ts';

export interface WhyOptions {
  readonly question: Question;
  readonly runDir: string;
  readonly stateDir: string;
  readonly etcd: EtcdOptions;
  readonly json: boolean;
  readonly color: Values['color'];
}

/** `loden why`: exit 0 when no hop is broken, 1 when one is. */
export async function why(options: WhyOptions, io: Io): Promise<number> {
  // Only root may read it; without it our own lease is known by the daemon alone.
  const node = await readNodeId(options.stateDir).catch(() => undefined);
  const found = await ask(options.question, {
    world: { runDir: options.runDir, etcd: options.etcd, node },
  });
  io.print(
    options.json ? json(found) : renderWhy(found, paint(coloured(options.color, io)), io.terminal?.columns),
  );
  return found.whole ? EXIT.ok : EXIT.failure;
}
