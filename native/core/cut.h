// Cuts what the TUN device gives (a packet, or a TCP or UDP super-packet) into packets for the wire, with checksums and
// lengths complete: what the kernel's own segmentation would make of it (net/ipv4/tcp_offload.c, udp_offload.c).
#pragma once

#include <cstddef>
#include <cstdint>

#include "drop.h"
#include "inner.h"
#include "virtio.h"

namespace loden::core {

// IPv4 with options 60 or IPv6 40 and extension headers, TCP with options 60.
inline constexpr uint32_t kMaxHeaders = 256;

// One packet for the wire: its headers apart from its payload, which stays where it was read.
struct Segment {
  const uint8_t* payload;
  uint32_t payload_length;
};

// One packet of the device. Use: Open, then for each of count() packets WriteHeader; the packet must stay in place
// until the segments have been sent.
class Cut {
 public:
  // `packet` (of `length` bytes) begins with the IP header and has been accepted by ParseInner; its TTL has been
  // decremented already. `offload` is the header that came with it, as the kernel wrote it (host byte order). With
  // NEEDS_CSUM and one packet to send the checksum is completed in place. What the checksum field holds is believed to
  // be the pseudo header's sum, of the whole length, as the kernel believes it (with a routing header it is not that of
  // the IP header). Drop::kBadOffload when the two contradict each other: csum_start, csum_offset or hdr_len out of the
  // packet; NEEDS_CSUM of a fragment or within the IP header; a super-packet without NEEDS_CSUM, without payload or of
  // a gso_size of 0, whose GSO type is not its protocol, whose checksum is not its protocol's, whose UDP length is not
  // its own, with headers beyond kMaxHeaders. Nothing can be sent then.
  Drop Open(const virtio_net_hdr& offload, uint8_t* packet, const Inner& inner);

  // Packets to send: 1 when the packet is no super-packet, or one of a single segment; at most 65,527.
  uint32_t count() const { return count_; }
  // Bytes of IP and TCP or UDP headers of each packet; 0 when there is one packet, which is all payload.
  uint32_t header_length() const { return header_length_; }
  // Bytes of the packets but the last, and of the last.
  uint32_t size() const { return header_length_ + gso_size_; }
  uint32_t last_size() const { return header_length_ + payload_length_ - (count_ - 1) * gso_size_; }

  // The headers of packet `index` into `out` (header_length() bytes); its payload in place. TCP: sequence number, FIN
  // and PSH on the last only, CWR on the first only; IPv4: identification one up each, with DF too.
  Segment WriteHeader(uint32_t index, uint8_t* out) const;

 private:
  Drop OpenSuper(const virtio_net_hdr& offload, const Inner& inner);
  Drop CompleteChecksum(const virtio_net_hdr& offload, const Inner& inner);

  uint8_t* packet_ = nullptr;
  uint32_t count_ = 0;
  uint32_t header_length_ = 0;
  uint32_t gso_size_ = 0;
  uint32_t payload_length_ = 0;
  uint32_t upper_offset_ = 0;  // of the TCP or UDP header
  bool ipv4_ = false;
  bool tcp_ = false;
  uint16_t id_ = 0;         // IPv4 identification of the first
  uint16_t flags_ = 0;      // TCP's data offset and flags, of the whole
  uint32_t sequence_ = 0;   // of the first
  uint64_t ip_sum_ = 0;     // of the IPv4 header without total length, identification and checksum
  uint64_t upper_sum_ = 0;  // of pseudo header and TCP or UDP header without the lengths, sequence_ and flags_
};

}  // namespace loden::core
