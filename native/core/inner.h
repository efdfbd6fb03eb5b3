// What must be known of an inner IP packet before it is let through: RFC 791, RFC 8200.
#pragma once

#include <cstddef>
#include <cstdint>

#include "drop.h"

namespace loden::core {

// A packet whose version, header length, total length and fragment fields make sense. Offsets in bytes from its start.
struct Inner {
  uint8_t version;           // 4 or 6
  uint8_t protocol;          // IPPROTO_* of what follows the IP header (IPv6: the first Next Header)
  bool fragment;             // a part of a datagram; for IPv6 an extension header says so
  uint8_t hop_limit;         // TTL
  uint16_t ip_length;        // IPv4 header with options; 40 for IPv6
  uint32_t length;           // whole packet
  uint8_t upper_protocol;    // of what is at upper_offset: `protocol`, or what the last extension header names
  uint16_t upper_offset;     // ip_length, or behind IPv6's extension headers; at most `length`
  uint16_t fragment_offset;  // in bytes; but for 0, upper_offset is where the fragment's data begin
};

// Reads `length` bytes at `data` (any alignment). Drop::kNone and *out filled in, or the reason. Everything read is
// within `length`. The packet must be exactly as long as its own total length says (kTruncated, kOversized). A TTL of 0
// is kTtl. Upper layers are not looked at.
// Fragments (kBadFragment): the reserved bit (IPv4); DF with an offset or MF; a last byte beyond 65,535; a non-final
// fragment whose length is no multiple of 8; one without data; offset 1 (RFC 1858, 3128: a TCP header torn apart). For
// IPv6 the same through the extension headers (at most 8 of them), with the hop-by-hop, routing and destination headers
// skipped; a chain that runs out of the packet is kBadHeader, a second fragment header kBadFragment. A fragment header
// with neither an offset nor more to come (RFC 6946) makes no fragment.
Drop ParseInner(const uint8_t* data, size_t length, Inner* out);

// TTL or hop limit one down in place, with the IPv4 header checksum updated as RFC 1624 says. The caller has seen that
// it is above 1.
void DecrementTtl(uint8_t* packet, uint8_t version);

}  // namespace loden::core
