import type { ClientOptions } from '../config/commands.ts';
import { EXIT } from '../contract.ts';
import { coloured, type Io } from './command.ts';
import { ask } from './daemon.ts';
import { paint } from './paint.ts';
import { renderStatus } from './render/status.ts';
import { json } from './render.ts';

/** `loden status`: exit 0 when the daemon is ready, 1 when it is not, 69 when there is none. */
export async function status(options: ClientOptions, io: Io, now = new Date()): Promise<number> {
  const [answer, probes] = await Promise.all([
    ask(options.runDir, '/v1/status'),
    // It only adds to the status: a daemon that does not know of it is none the worse.
    ask(options.runDir, '/v1/probes').catch(() => undefined),
  ]);
  const offload = probes?.checksumOffload;
  if (options.json) io.print(json({ ...answer, checksumOffload: offload ?? null }));
  else io.print(renderStatus({ status: answer, offload }, paint(coloured(options.color, io)), now));
  return answer.ready ? EXIT.ok : EXIT.failure;
}
