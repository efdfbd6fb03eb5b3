/** rtnetlink(7): the tables for links, addresses, neighbours (and FDB entries) and routes. */
export * from './rtnl/address.ts';
export * from './rtnl/family.ts';
export * from './rtnl/link.ts';
export * from './rtnl/neigh.ts';
export * from './rtnl/qdisc.ts';
export * from './rtnl/route.ts';
