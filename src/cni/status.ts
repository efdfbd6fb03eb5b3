import { formatAddr } from '../net/addr.ts';
import { formatPrefix } from '../net/prefix.ts';
import type { CommandCounts } from './counters.ts';
import type { AttachmentRecord } from './records.ts';

/** What the control API shows of the plugin's side; docs/contracts.md explains it. */
export interface CniStatus {
  readonly attachments: number;
  /** DELs waiting on disk. */
  readonly queued: number;
  /** Pods with an address of a subnet this node no longer has. */
  readonly stale: readonly string[];
  readonly commands: Readonly<Record<string, CommandCounts>>;
}

/** An attachment in `/v1/attachments`. */
export const attachmentJson = ({ attachment: a, since }: AttachmentRecord) => ({
  containerId: a.containerId,
  ifname: a.ifname,
  network: a.network,
  addresses: a.addresses.map(({ address }) => formatPrefix(address)),
  gateways: a.addresses.map(({ gateway }) => formatAddr(gateway)),
  mode: a.mode,
  bridge: a.bridge ?? null,
  hostIf: a.hostIf,
  mac: a.mac,
  mtu: a.mtu,
  netns: a.netns,
  since: new Date(since).toISOString(),
});
