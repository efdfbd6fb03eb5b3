import type { Sysctl } from '../kernel/types.ts';
import type { Family } from '../net/addr.ts';
import type { HostFacts } from './backend.ts';

const on = (path: string): Sysctl => ({ kind: 'sysctl', path, value: '1' });

/**
 * What makes this host a router, for every backend that carries packets of pods. The order matters: a forwarding host
 * ignores router advertisements unless accept_ra is 2, and the kernel drops the default routes it learned from them at
 * the moment forwarding goes on (rt6_purge_dflt_routers), so an uplink that listens to them is told to go on first.
 */
export function forwarding(families: Iterable<Family>, host: HostFacts): Sysctl[] {
  const { name, acceptRa } = host.uplink;
  const out: Sysctl[] = [];
  for (const family of families) {
    if (family === 4) {
      out.push(on('net/ipv4/ip_forward'));
    } else {
      if (acceptRa)
        out.push({ kind: 'sysctl', path: `net/ipv6/conf/${name}/accept_ra`, value: '2', dev: name });
      out.push(on('net/ipv6/conf/all/forwarding'));
    }
  }
  return out;
}
