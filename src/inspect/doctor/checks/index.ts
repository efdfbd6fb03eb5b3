import type { Facts } from '../facts.ts';
import type { Check } from '../types.ts';
import { bridgeNetfilter } from './bridgeNetfilter.ts';
import { certificates } from './certificates.ts';
import { checksum } from './checksum.ts';
import { clock } from './clock.ts';
import { cni } from './cni.ts';
import { daemon } from './daemon.ts';
import { duplicateIps } from './duplicateIps.ts';
import { etcd } from './etcd.ts';
import { forwardDrop } from './forwardDrop.ts';
import { forwarding } from './forwarding.ts';
import { kernel } from './kernel.ts';
import { leases } from './leases.ts';
import { mtu } from './mtu.ts';
import { networkConfig } from './network.ts';
import { networkManagers } from './networkManagers.ts';
import { objects } from './objects.ts';
import { otherOverlays } from './otherOverlays.ts';
import { overlap } from './overlap.ts';
import { ownLease } from './ownLease.ts';
import { peers } from './peers.ts';
import { pods } from './pods.ts';
import { rpFilter } from './rpFilter.ts';
import { subnetFile } from './subnetFile.ts';
import { tunnelFirewall } from './tunnelFirewall.ts';
import { tunnelMac } from './tunnelMac.ts';
import { tunnelPort } from './tunnelPort.ts';
import { udev } from './udev.ts';
import { uplink } from './uplink.ts';

/** Every check, group by group. docs/doctor.md has them all. */
export const CHECKS: readonly Check<Facts>[] = [
  kernel,
  uplink,
  forwarding,
  rpFilter,
  bridgeNetfilter,
  clock,
  forwardDrop,
  tunnelFirewall,
  tunnelPort,
  tunnelMac,
  mtu,
  checksum,
  peers,
  udev,
  networkManagers,
  otherOverlays,
  overlap,
  etcd,
  certificates,
  networkConfig,
  ownLease,
  leases,
  duplicateIps,
  daemon,
  objects,
  subnetFile,
  cni,
  pods,
];
