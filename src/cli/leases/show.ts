import type { LeaseJson, LeasesJson } from '../../api/shapes.ts';
import type { ClientOptions } from '../../config/commands.ts';
import { LodenError } from '../../errors.ts';
import { show } from '../../fields.ts';
import { parsePrefix } from '../../net/prefix.ts';
import { coloured, type Io } from '../command.ts';
import { paint } from '../paint.ts';
import { renderLease } from '../render/leases.ts';
import { json } from '../render.ts';
import { findLeases, type ListOnce } from './list.ts';

/** `loden leases show`: exit 1 when there is no such lease. */
export async function showLease(
  options: ClientOptions & { readonly subnet: string },
  listOnce: ListOnce,
  io: Io,
): Promise<void> {
  const found = await findLeases(options, listOnce);
  const lease = leaseOf(found.list, options.subnet);
  if (options.json) return io.print(json(lease));
  io.print(
    renderLease(lease, {
      paint: paint(coloured(options.color, io)),
      networkBackend: lease.backend === null ? await found.networkBackend() : undefined,
    }),
  );
}

/** The lease of a subnet, named by it or by its key. Throws LodenError when there is none. */
export function leaseOf({ leases, setAside, source }: LeasesJson, subnet: string): LeaseJson {
  const wanted = parsePrefix(subnet);
  const same = (text: string): boolean => {
    const p = parsePrefix(text);
    return wanted !== undefined && p?.len === wanted.len && p.addr.value === wanted.addr.value;
  };
  const lease = leases.find((l) => l.key === subnet || l.subnets.some((s) => s === subnet || same(s)));
  if (lease) return lease;
  const aside = setAside.find(({ key }) => key === subnet || key.replace('-', '/') === subnet);
  if (aside) throw new LodenError(`the key ${show(aside.key)} is no lease that can be read: ${aside.reason}`);
  const where = source === 'daemon' ? 'known to the daemon' : 'in etcd';
  throw new LodenError(`no lease of ${show(subnet)} is ${where}; \`loden leases\` shows all there are`);
}
