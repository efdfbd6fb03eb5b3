import type { Facts } from '../facts.ts';
import { type Check, ok, skipped, warning } from '../types.ts';

/** Do packets between two pods of one bridge go through iptables? Services of Kubernetes need it. */
export const bridgeNetfilter: Check<Facts> = {
  id: 'bridge-netfilter',
  group: 'Host',
  title: 'bridged packets and iptables',
  look(facts) {
    if ('missing' in facts.sysctls) return [skipped(facts.sysctls.missing)];
    const value = facts.sysctls.value.get('net/bridge/bridge-nf-call-iptables');
    const proxied = 'value' in facts.managers && facts.managers.value.running.has('kube-proxy');
    if (value === '1')
      return [
        ok(
          'net.bridge.bridge-nf-call-iptables is 1: packets between pods of this node go through iptables too, as kube-proxy needs it',
        ),
      ];
    const state =
      value === undefined
        ? 'the module br_netfilter is not loaded'
        : 'net.bridge.bridge-nf-call-iptables is 0';
    if (proxied)
      return [
        warning(
          null,
          `${state}, and kube-proxy runs here: a pod does not reach a service behind which is a pod of its own node, for the answer goes round iptables`,
          'modprobe br_netfilter && sysctl -w net/bridge/bridge-nf-call-iptables=1, and the same in /etc/modules-load.d/ and /etc/sysctl.d/',
        ),
      ];
    return [
      ok(
        `${state}: packets between pods of this node do not go through iptables, and nobody here needs that`,
      ),
    ];
  },
};
