/**
 * Backend options, lower case, that flannel reads on Windows only. They may stand in the config of a cluster that has
 * such nodes too, and mean nothing here.
 */
export const WINDOWS_OPTIONS: ReadonlySet<string> = new Set(['name', 'macprefix', 'dnsserverlist']);
