// Packets as the RFCs describe them, byte by byte and slowly: what the core's results are compared with. Shares no code
// with it.
#pragma once

#include <cstdint>
#include <optional>

#include "core/virtio.h"
#include "input.h"

namespace loden::fuzz {

// A TCP or UDP packet with all its headers there. Offsets from its start.
struct Ports {
  uint8_t version;
  uint8_t protocol;
  uint32_t upper;    // of the TCP or UDP header
  uint32_t payload;  // behind it
  uint32_t checksum() const { return upper + (protocol == 6 ? 16 : 6); }
};
// Of a packet whose IP header makes sense; nothing for fragments and others. IPv6 extension headers are skipped.
std::optional<Ports> PortsOf(const Bytes& packet);

uint32_t Get(const Bytes& packet, uint32_t at, uint32_t size);
void Put(Bytes* packet, uint32_t at, uint32_t size, uint32_t value);

// Sum of 16-bit words, folded, not inverted.
uint16_t SumOfWords(const Bytes& packet, uint32_t from, uint32_t to, uint32_t start = 0);
// The same of the pseudo header alone.
uint16_t PseudoSum(const Bytes& packet, const Ports& ports);
bool IpChecksumHolds(const Bytes& packet);
bool UpperChecksumHolds(const Bytes& packet, const Ports& ports);

// Makes lengths and the IPv4 checksum right, as far as there is a header.
void MendIp(Bytes* packet);
// UDP length and the checksum.
void MendUpper(Bytes* packet);

// What a device's header and packet stand for, if this is a super-packet whose headers agree (as the kernel's would).
std::optional<std::vector<Bytes>> Segments(const core::virtio_net_hdr& offload, const Bytes& packet);

}  // namespace loden::fuzz
