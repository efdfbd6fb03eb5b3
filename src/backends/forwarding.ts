import type { Sysctl } from '../kernel/types.ts';
import type { Family } from '../net/addr.ts';
import type { HostFacts } from './backend.ts';

const sysctl = (path: string, value: string): Sysctl => ({ kind: 'sysctl', path, value });

/**
 * What makes this host a router, for every backend that carries packets of pods. The order matters: a forwarding host
 * ignores router advertisements unless accept_ra is 2, and the kernel drops the default routes it learned from them at
 * the moment forwarding goes on (rt6_purge_dflt_routers), so an uplink that listens to them is told to go on first.
 */
export function forwarding(families: Iterable<Family>, host: HostFacts): Sysctl[] {
  const out: Sysctl[] = [];
  for (const family of families) {
    if (family === 4) {
      out.push(sysctl('net/ipv4/ip_forward', '1'));
    } else {
      if (host.uplink.acceptRa) out.push(sysctl(`net/ipv6/conf/${host.uplink.name}/accept_ra`, '2'));
      out.push(sysctl('net/ipv6/conf/all/forwarding', '1'));
    }
  }
  return out;
}
