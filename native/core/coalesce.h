// Puts packets of one flow together to super-packets for the TUN device: the inverse of Cut (compare net/core/gro.c,
// tcp_gro_receive, udp_gro_receive). What goes in comes out: cut again, every packet is the same, byte for byte.
#pragma once

#include <sys/uio.h>

#include <cstdint>

#include "inner.h"
#include "virtio.h"

namespace loden::core {

// A packet for the device: `parts[0]` is the virtio_net_hdr, the rest the packet. Valid during the call only.
struct SuperPacket {
  const iovec* parts;
  int part_count;
  uint32_t packets;  // how many were put together
  uint32_t bytes;    // of the packet, without the virtio header
};

class SuperPacketSink {
 public:
  virtual void Take(const SuperPacket& packet) = 0;

 protected:
  ~SuperPacketSink() = default;
};

// TCP: same flow (addresses, ports), next sequence number, same acknowledgement, window, options, TTL, TOS, DF, flags;
// IPv4 identification one up each unless DF; all payloads of one size but the last, which may be shorter; PSH ends it; no
// SYN, FIN, RST, URG, no payload of 0. UDP: same flow, equal size but the last, checksum present; only where the device takes USO.
// IPv4 with options, IPv6 with extension headers, fragments and everything else pass alone. Order within a flow is kept: what
// cannot be put to its flow's open super-packet closes that first.
// The checksum of every packet that is put together is verified first (kernel: NEEDS_CSUM launders corruption); a packet with
// a wrong one passes alone, as it came. At most 16 flows are open; the oldest is closed for a 17th.
class Coalescer {
 public:
  // `uso`: the device takes UDP super-packets (TUN_F_USO4 | 6).
  Coalescer(SuperPacketSink& sink, bool uso);
  Coalescer(const Coalescer&) = delete;
  Coalescer& operator=(const Coalescer&) = delete;

  // A packet accepted by ParseInner with its TTL decremented. It stays in place, unchanged by others, until Flush; its headers may be
  // written to.
  void Add(uint8_t* packet, const Inner& inner);
  // Gives everything that is open to the sink, oldest first.
  void Flush();

 private:
  // The implementer's choice.
};

}  // namespace loden::core
