// Puts packets of one flow together to super-packets for the TUN device: the inverse of Cut (compare net/core/gro.c,
// tcp_gro_receive, udp_gro_receive). What goes in comes out: cut again, every packet is the same, byte for byte. One
// exception: where IPv4 packets with DF all carry the same identification it comes out counted up (RFC 6864, 4.1:
// nobody may look at it; virtio has no way to tell the kernel's GSO).
#pragma once

#include <sys/uio.h>

#include <cstdint>

#include "inner.h"
#include "virtio.h"

namespace loden::core {

// A packet for the device: `parts[0]` is the virtio_net_hdr, the rest the packet. Valid during the call only. One that
// was not put together has a virtio header of zeroes (the device ignores DATA_VALID) and its bytes as they came.
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

// Flows that are open at a time; the oldest is closed for a 17th.
inline constexpr uint32_t kMaxOpenFlows = 16;
// Packets in a super-packet. TCP: 128 of 512 bytes fill the 64 KB an IP packet has; a flow of smaller ones gains little
// by more, and its array of parts stays near 2 KB (far below UIO_MAXIOV). UDP: virtio_net_hdr_to_skb refuses more than
// UDP_MAX_SEGMENTS, 64 in older kernels.
inline constexpr uint32_t kMaxTcpPackets = 128;
inline constexpr uint32_t kMaxUdpPackets = 64;

// TCP: same flow (addresses, ports), next sequence number, same acknowledgement, window, options, TTL, TOS, flow label,
// DF, flags; IPv4 identification one up each, or with DF the same in each; all payloads of one size but the last, which
// may be shorter; PSH ends it; no SYN, FIN, RST, URG, no CWR (GSO keeps it on the first only), no payload of 0. UDP:
// same flow, equal size but the last, checksum present; only where the device takes USO. IPv4 with options, IPv6 with
// extension headers, fragments and everything else pass alone. Order within a flow is kept: what cannot be put to its
// flow's open super-packet closes that first; what has no ports to tell its flow by closes all from its source to its
// destination. The checksums (IPv4 header, TCP, UDP) of every packet that is put together are verified first
// (NEEDS_CSUM would launder corruption); a packet with a wrong one passes alone, as it came. What stays alone is not
// summed up: the kernel does that.
class Coalescer {
 public:
  // `uso`: the device takes UDP super-packets (TUN_F_USO4 | 6).
  Coalescer(SuperPacketSink& sink, bool uso) : sink_(sink), uso_(uso) {}
  Coalescer(const Coalescer&) = delete;
  Coalescer& operator=(const Coalescer&) = delete;

  // A packet accepted by ParseInner with its TTL decremented. It stays in place, unchanged by others, until Flush; its
  // headers may be written to.
  void Add(uint8_t* packet, const Inner& inner);
  // Gives everything that is open to the sink, oldest first.
  void Flush();

 private:
  // A packet of TCP or UDP behind a plain IP header.
  struct Packet {
    uint8_t* data;
    uint32_t length;
    uint32_t ip_length;
    uint32_t header_length;  // of IP and TCP or UDP
    uint8_t version;
    uint8_t protocol;
    bool mergeable;  // as far as can be told without another
    bool push;       // TCP: the last of its super-packet

    uint8_t* upper() const { return data + ip_length; }
    uint32_t payload_length() const { return length - header_length; }
  };

  // An open super-packet.
  struct Flow {
    Packet first;
    uint32_t count;
    uint32_t bytes;          // of the IP packet so far
    uint32_t next_sequence;  // TCP
    uint16_t id_step;        // IPv4: by which the identification grows; known from the second packet on
    bool verified;           // the first packet's checksums are right
    bool push;
  };

  enum class Fit { kFits, kDiffers, kFirstCorrupt };

  static bool Read(uint8_t* data, const Inner& inner, Packet* out);
  static uint8_t Tag(const Packet& packet);
  static bool SameFlow(const Packet& a, const Packet& b);
  static bool ChecksumsHold(const Packet& packet);
  int Find(const Packet& packet, uint8_t tag) const;
  Fit Match(Flow& flow, const Packet& packet) const;
  void Begin(const Packet& packet, uint8_t tag, bool verified);
  void Close(int slot);
  void CloseBetween(const uint8_t* packet, uint8_t version);
  void Pass(uint8_t* packet, uint32_t length);
  void SetTag(int slot, uint8_t tag);
  static void Complete(const Flow& flow, virtio_net_hdr* offload);

  SuperPacketSink& sink_;
  const bool uso_;
  uint32_t open_ = 0;             // how many flows are open
  uint64_t tags_[2] = {};         // a byte for each slot, from the lowest up; 0: free
  uint8_t order_[kMaxOpenFlows];  // slots, oldest first
  Flow flows_[kMaxOpenFlows];
  iovec parts_[kMaxOpenFlows][1 + kMaxTcpPackets];
};

}  // namespace loden::core
