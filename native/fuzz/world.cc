#include "world.h"

#include "check.h"

namespace loden::fuzz {

using core::Address;
using core::Prefix;

Address Ip4(uint8_t a, uint8_t b, uint8_t c, uint8_t d) { return {4, {a, b, c, d}}; }

Address Ip6(uint8_t net, uint8_t host) {
  Address out{6, {0xfd}};
  out.bytes[7] = net;
  out.bytes[15] = host;
  return out;
}

Address AddressAt(const uint8_t* bytes, uint8_t version) {
  Address out;
  out.family = version;
  memcpy(out.bytes, bytes, version == 4 ? 4 : 16);
  return out;
}

bool Holds(const Prefix& prefix, const Address& address) {
  if (prefix.address.family == 0 || prefix.address.family != address.family) return false;
  for (int bit = 0; bit < prefix.length; ++bit) {
    const int mask = 0x80 >> bit % 8;
    if ((prefix.address.bytes[bit / 8] & mask) != (address.bytes[bit / 8] & mask)) return false;
  }
  return true;
}

const World& World::Get() {
  static const World world;
  return world;
}

World::World() : own_{{Ip4(10, 1, 0, 0), 24}, {Ip6(1, 0), 64}} {
  for (uint8_t n = 2; n <= 6; ++n) {
    Node node{{n, {}, {}}, {{Ip4(10, 1, n, 0), 24}, {Ip6(n, 0), 64}}};
    if (n != 4 && n != 5) node.peer.endpoint4 = Ip4(192, 0, 2, n);
    if (n != 3 && n != 5) node.peer.endpoint6 = Ip6(99, n);
    nodes_.push_back(node);
  }
  nodes_.back().prefixes.push_back({Ip4(10, 1, 2, 128), 25});

  TableBytes bytes;
  bytes.Text("LodenFT1");
  bytes.Little(kMtu, 2);
  bytes.Little(0, 2);
  bytes.Little(static_cast<uint32_t>(nodes_.size()), 4);
  size_t prefixes = 0;
  for (const Node& node : nodes_) prefixes += node.prefixes.size();
  bytes.Little(static_cast<uint32_t>(prefixes), 4);
  bytes.Put(own_[0].address);
  bytes.Put(own_[1].address);
  for (const Prefix& own : own_) bytes.Put(own);
  for (const Node& node : nodes_) {
    bytes.Little(node.peer.slot, 4);
    bytes.Put(node.peer.endpoint4);
    bytes.Put(node.peer.endpoint6);
  }
  for (uint32_t i = 0; i < nodes_.size(); ++i) {
    for (const Prefix& prefix : nodes_[i].prefixes) {
      bytes.Little(i, 4);
      bytes.Put(prefix);
    }
  }
  const char* why = nullptr;
  table_ = core::Table::Parse(bytes.bytes(), &why);
  FUZZ_CHECK(table_ != nullptr);
}

const core::Peer* World::PeerOf(const Address& address) const {
  const Node* best = nullptr;
  int longest = -1;
  for (const Node& node : nodes_) {
    for (const Prefix& prefix : node.prefixes) {
      if (prefix.length > longest && Holds(prefix, address)) {
        best = &node;
        longest = prefix.length;
      }
    }
  }
  return best == nullptr ? nullptr : &best->peer;
}

Address World::Outer(uint8_t choice) const {
  const uint8_t n = static_cast<uint8_t>(2 + choice / 2 % 6);
  return choice % 2 == 0 ? Ip4(192, 0, 2, n) : Ip6(99, n);
}

}  // namespace loden::fuzz
