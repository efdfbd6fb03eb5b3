// What must be known of an inner IP packet before it is let through: RFC 791, RFC 8200.
#pragma once

#include <cstddef>
#include <cstdint>

#include "drop.h"

namespace loden::core {

// A packet whose version, header length, total length and fragment fields make sense. Offsets in bytes from its start.
struct Inner {
  uint8_t version;       // 4 or 6
  uint8_t protocol;      // IPPROTO_* of what follows the IP header (IPv6: the first Next Header)
  bool fragment;         // a part of a datagram; for IPv6 an extension header says so
  uint8_t hop_limit;     // TTL
  uint16_t ip_length;    // IPv4 header with options; 40 for IPv6
  uint32_t length;       // whole packet
};

// Reads `length` bytes at `data` (any alignment). Drop::kNone and *out filled in, or the reason.
// Everything read is within `length`. The packet must be exactly as long as its own total length says
// (kTruncated, kOversized). A TTL of 0 is kTtl. Upper layers are not looked at.
// Fragments (kBadFragment): the reserved bit; DF with an offset or MF; a last byte beyond 65,535; a non-final fragment
// whose length is no multiple of 8 or 0; offset 1 (RFC 1858, 3128: a TCP header torn apart). For IPv6 the same through
// the extension headers (at most 8 of them), with the hop-by-hop, routing and destination headers skipped; a chain that runs out of the
// packet is kBadHeader.
Drop ParseInner(const uint8_t* data, size_t length, Inner* out);

// TTL or hop limit one down in place, with the IPv4 header checksum updated as RFC 1624 says. The caller has seen that it is above 1.
void DecrementTtl(uint8_t* packet, uint8_t version);

}  // namespace loden::core
