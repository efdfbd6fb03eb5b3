import { PeerCounters } from '../kernel/peerCounters.ts';
import type { ObservedState } from '../kernel/state.ts';
import { subnetOf } from '../subnet/types.ts';
import type { Daemon } from './daemon.ts';
import { leaseView } from './overlay.ts';
import { type CountedPeer, KernelTraffic } from './traffic.ts';

/** An Ethernet header, which the kernel counts with a packet that leaves the device. */
const ETHERNET = 14;

/** Those whose packets the kernel forwards: a forwarder in user space counts its own. */
function* countedPeers({ asked }: Pick<Daemon, 'asked'>): Generator<CountedPeer | undefined> {
  if (!asked) return;
  const { network, held, served, host } = asked;
  const { backend, config } = network;
  if (backend.forwarding || !backend.paths) return;
  const view = leaseView(network, held, served);
  for (const path of backend.paths(config, view, host)) {
    const lease = path && view.peers.get(path.key);
    const subnet = lease && subnetOf(lease, path.family);
    yield subnet && { key: path.key, subnet, dev: path.dev };
  }
}

/** Counters of the kernel for the peers that a daemon serves. */
export const countTraffic = (
  daemon: Pick<Daemon, 'asked'>,
  state: Pick<ObservedState, 'link'>,
): KernelTraffic =>
  new KernelTraffic({
    counters: new PeerCounters(),
    peers: () => countedPeers(daemon),
    facts: () => daemon.asked,
    header: (device) => (state.link(device)?.mac === undefined ? 0 : ETHERNET),
  });
