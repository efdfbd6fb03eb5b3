// The forwarding table that packets of the fuzz targets meet, and who may send what, by going through all peers.
#pragma once

#include <memory>

#include "core/table.h"
#include "input.h"

namespace loden::fuzz {

// The bytes of a table (core/table.h), piece by piece.
class TableBytes {
 public:
  void Little(uint32_t value, int size) {
    for (int i = 0; i < size; ++i) bytes_.push_back(static_cast<uint8_t>(value >> 8 * i));
  }
  void Put(const core::Address& address) {
    bytes_.push_back(address.family);
    bytes_.insert(bytes_.end(), address.bytes, address.bytes + 16);
  }
  void Put(const core::Prefix& prefix) {
    Put(prefix.address);
    bytes_.push_back(prefix.length);
  }
  void Text(const char* text) { bytes_.insert(bytes_.end(), text, text + strlen(text)); }
  const Bytes& bytes() const { return bytes_; }

 private:
  Bytes bytes_;
};

core::Address Ip4(uint8_t a, uint8_t b, uint8_t c, uint8_t d);
// fd00:0:0:<net>::<host>
core::Address Ip6(uint8_t net, uint8_t host);
core::Address AddressAt(const uint8_t* bytes, uint8_t version);
inline core::Address SourceOf(const uint8_t* packet) {
  return AddressAt(packet + (packet[0] >> 4 == 4 ? 12 : 8), packet[0] >> 4);
}
inline core::Address DestinationOf(const uint8_t* packet) {
  return AddressAt(packet + (packet[0] >> 4 == 4 ? 16 : 24), packet[0] >> 4);
}

// Bit by bit.
bool Holds(const core::Prefix& prefix, const core::Address& address);

// We have 10.1.0.0/24 and fd00:0:0:1::/64. Peers (n from 2 on) have 10.1.<n>.0/24 and fd00:0:0:<n>::/64 at 192.0.2.<n>
// and fd00:0:0:99::<n>; 2 has both endpoints, 3 IPv4 alone, 4 IPv6 alone, 5 none, 6 also 10.1.2.128/25 amid peer 2's.
class World {
 public:
  static constexpr uint16_t kMtu = 1472;
  struct Node {
    core::Peer peer;
    std::vector<core::Prefix> prefixes;
  };

  static const World& Get();
  const core::Table& table() const { return *table_; }
  // The peer that has the address, or nullptr.
  const core::Peer* PeerOf(const core::Address& address) const;
  bool IsOwn(const core::Address& address) const { return Holds(own_[0], address) || Holds(own_[1], address); }
  // For datagrams: one of the peers' endpoints, or nobody's.
  core::Address Outer(uint8_t choice) const;

 private:
  World();

  core::Prefix own_[2];
  std::vector<Node> nodes_;
  std::unique_ptr<const core::Table> table_;
};

}  // namespace loden::fuzz
