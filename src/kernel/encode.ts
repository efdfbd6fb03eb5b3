import type { Request } from '../netlink/message.ts';
import { createAddress, deleteAddress } from './address.ts';
import { appendFdb, deleteFdb, putFdb } from './fdb.ts';
import type { Doomed, Op } from './kernel.ts';
import { changeLink, createLink, deleteLink } from './link.ts';
import type { Names } from './names.ts';
import { deleteNeigh, putNeigh } from './neigh.ts';
import { appendRoute, createRoute, deleteRoute } from './route.ts';
import type { Address, Link, Route } from './types.ts';

/** The messages of one operation (none for sysctls and for the making of a TUN). Throws KernelError ENODEV for a device that is not there. */
export function encode(op: Op, names: Names): Request[] {
  return requests(op, names) as Request[];
}

function requests(op: Op, names: Names): readonly object[] {
  switch (op.verb) {
    case 'create':
      return created(op.object, names);
    case 'put':
      if (op.object.kind === 'sysctl') return [];
      return [op.object.kind === 'neigh' ? putNeigh(op.object, names) : putFdb(op.object, names)];
    case 'append':
      return [op.object.kind === 'route' ? appendRoute(op.object, names) : appendFdb(op.object, names)];
    case 'change':
      return changeLink(op.object, op.observed, op.change, names);
    case 'delete':
      return [deleted(op.object, names)];
  }
}

function created(o: Link | Address | Route, names: Names): readonly object[] {
  switch (o.kind) {
    case 'link':
      return o.tun ? [] : [createLink(o, names)];
    case 'address':
      return [createAddress(o, names)];
    case 'route':
      return [createRoute(o, names)];
  }
}

function deleted(o: Doomed, names: Names): object {
  switch (o.kind) {
    case 'link':
      return deleteLink(o);
    case 'address':
      return deleteAddress(o);
    case 'neigh':
      return deleteNeigh(o);
    case 'fdb':
      return deleteFdb(o);
    case 'route':
      return deleteRoute(o, names);
  }
}
