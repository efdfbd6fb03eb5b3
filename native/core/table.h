// The forwarding table: who has which subnet, and at which address. Immutable; a new one replaces it as a whole.
//
// Its bytes, made by src/backends/udp/tableBytes.ts. Little-endian, no padding; every length is checked:
//   magic "LodenFT1" (8)
//   u16 mtu              of the TUN device, bytes of inner packet; at least 68 (RFC 791)
//   u16 reserved         0
//   u32 peer count       at most 65,536
//   u32 prefix count     at most 262,144
//   address tun4, tun6   what ICMP errors come from; family 0: none
//   prefix own4, own6    our subnets; family 0: none
//   peers:    u32 slot (its place in the statistics, < 65,536, distinct), address endpoint4, address endpoint6
//   prefixes: u32 index of the peer, prefix
// address = u8 family (0, 4, 6), 16 bytes (network order, padded by 0); prefix = address, u8 length, bits beyond it 0.
// Two peers may have one endpoint; no prefix may be there twice.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "address.h"
#include "prefix_table.h"

namespace loden::core {

inline constexpr uint32_t kMaxSlots = 65536;

// One cache line: it is read for each packet.
struct alignas(64) Peer {
  uint32_t slot = 0;
  Address endpoint4;
  Address endpoint6;

  // May a datagram from this outer address be of this peer? Its port does not matter.
  bool IsFrom(const Address& outer) const { return outer == (outer.family == 4 ? endpoint4 : endpoint6); }
};

class Table {
 public:
  // nullptr for bytes that are no table, with the reason in *why.
  static std::unique_ptr<const Table> Parse(std::span<const uint8_t> bytes, const char** why);
  // Nobody has anything, and nothing is ours; its mtu is 0.
  static std::unique_ptr<const Table> Empty();

  // The peer that has the address (network order), or nullptr.
  const Peer* PeerOf(uint8_t version, const uint8_t* address) const;
  // Is there a peer with this endpoint? Only asked to name the reason of a drop.
  bool KnowsEndpoint(const Address& outer) const;
  // Is the address in one of our own subnets?
  bool IsOwn(uint8_t version, const uint8_t* address) const;

  std::span<const Peer> peers() const { return peers_; }
  const Address& tun_address(uint8_t version) const { return version == 4 ? tun4_ : tun6_; }
  uint16_t mtu() const { return mtu_; }

 private:
  // Ready to compare with: four or eight bytes at a time, in the order they have in memory.
  struct Match {
    uint64_t bits[2] = {1, 1}, mask[2] = {};  // holds nothing
    void Set(const Prefix& prefix);
  };

  Table() = default;

  std::vector<Peer> peers_;
  PrefixTable routes_;  // value: index into peers_
  std::vector<Address> endpoints_;  // sorted, distinct
  Match own4_, own6_;
  Address tun4_, tun6_;
  uint16_t mtu_ = 0;
};

}  // namespace loden::core
