import type { ClientOptions } from '../../config/commands.ts';
import { adminOf } from '../admin.ts';
import { coloured, type Io } from '../command.ts';
import { paint } from '../paint.ts';
import { renderLeaseChange } from '../render/changes.ts';
import { json } from '../render.ts';

/** `loden leases reserve` */
export async function reserveLease(
  options: ClientOptions & { readonly subnet: string; readonly node: string },
  io: Io,
): Promise<void> {
  const { subnet, node } = options;
  const change = await adminOf(options).reserve({ subnet, node });
  io.print(
    options.json ? json(change) : renderLeaseChange(subnet, change, paint(coloured(options.color, io))),
  );
}

/** `loden leases release` */
export async function releaseLease(
  options: ClientOptions & { readonly subnet: string; readonly force: boolean },
  io: Io,
): Promise<void> {
  const { subnet, force } = options;
  const change = await adminOf(options).release({ subnet, force });
  io.print(
    options.json ? json(change) : renderLeaseChange(subnet, change, paint(coloured(options.color, io))),
  );
}
