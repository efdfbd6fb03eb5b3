import { type Addr, parseAddr } from '../net/addr.ts';

/** The endpoints that name an address instead of a host: no peer's subnet may cover one. */
export function endpointAddrs(endpoints: readonly string[]): Addr[] {
  return endpoints.flatMap((endpoint) => {
    const host = URL.parse(endpoint)?.hostname.replace(/^\[|\]$/g, '');
    return (host && parseAddr(host)) || [];
  });
}
