#include "table.h"

#include <algorithm>

namespace loden::core {

namespace {

constexpr char kMagic[8] = {'L', 'o', 'd', 'e', 'n', 'F', 'T', '1'};
constexpr size_t kAddressSize = 1 + 16;
constexpr size_t kPrefixSize = kAddressSize + 1;
constexpr size_t kHeaderSize = sizeof kMagic + 2 + 2 + 4 + 4 + 2 * kAddressSize + 2 * kPrefixSize;
constexpr size_t kPeerSize = 4 + 2 * kAddressSize;
constexpr size_t kRouteSize = 4 + kPrefixSize;
constexpr uint32_t kMaxPeers = 65536;
constexpr uint32_t kMaxRoutes = 262'144;
constexpr uint16_t kLeastMtu = 68;

// Reads on from `at`. Whoever uses it has compared the length before; the first thing that is wrong stays in `why`.
struct Reader {
  const uint8_t* at;
  const char* why = nullptr;

  void Refuse(const char* reason) {
    if (why == nullptr) why = reason;
  }

  template <typename T>
  T Number() {
    T value = 0;
    for (size_t i = 0; i < sizeof(T); i++) value = static_cast<T>(value | static_cast<T>(T{at[i]} << (8 * i)));
    at += sizeof(T);
    return value;
  }

  Address ReadAddress() {
    Address a;
    a.family = at[0];
    if (a.family != 0 && WidthOf(a.family) == 0) Refuse("an address of an unknown family");
    memcpy(a.bytes, at + 1, sizeof a.bytes);
    for (size_t i = WidthOf(a.family) / 8; i < sizeof a.bytes; i++) {
      if (a.bytes[i] != 0) Refuse("an address that is not padded by 0");
    }
    at += kAddressSize;
    return a;
  }

  // Of this family, or none.
  Address ReadAddress(uint8_t family, const char* reason) {
    const Address a = ReadAddress();
    if (a.family != 0 && a.family != family) Refuse(reason);
    return a;
  }

  Prefix ReadPrefix() {
    Prefix p{ReadAddress(), 0};
    p.length = Number<uint8_t>();
    const unsigned width = WidthOf(p.address.family);
    if (p.length > width) {
      Refuse("a prefix longer than its address");
      return {};  // its length is used before the refusal is
    }
    for (unsigned i = p.length; i < width; i++) {
      if (p.address.bytes[i / 8] >> (7 - i % 8) & 1) Refuse("a prefix with bits beyond its length");
    }
    return p;
  }

  Prefix ReadPrefix(uint8_t family, const char* reason) {
    const Prefix p = ReadPrefix();
    if (p.address.family != 0 && p.address.family != family) Refuse(reason);
    return p;
  }
};

bool Before(const Address& a, const Address& b) {
  return a.family != b.family ? a.family < b.family : memcmp(a.bytes, b.bytes, sizeof a.bytes) < 0;
}

}  // namespace

void Table::Match::Set(const Prefix& prefix) {
  if (!prefix.address) return;
  uint8_t ones[16] = {};
  for (unsigned i = 0; i < prefix.length; i++) ones[i / 8] = static_cast<uint8_t>(ones[i / 8] | 0x80 >> i % 8);
  memcpy(bits, prefix.address.bytes, sizeof bits);
  memcpy(mask, ones, sizeof mask);
}

std::unique_ptr<const Table> Table::Empty() { return std::unique_ptr<const Table>(new Table); }

std::unique_ptr<const Table> Table::Parse(std::span<const uint8_t> bytes, const char** why) {
  const auto refuse = [why](const char* reason) {
    *why = reason;
    return nullptr;
  };
  if (bytes.size() < kHeaderSize) return refuse("shorter than its header");
  if (memcmp(bytes.data(), kMagic, sizeof kMagic) != 0) return refuse("no forwarding table, or of another version");
  Reader in{bytes.data() + sizeof kMagic};
  std::unique_ptr<Table> table(new Table);
  table->mtu_ = in.Number<uint16_t>();
  if (table->mtu_ < kLeastMtu) in.Refuse("an MTU below 68");
  if (in.Number<uint16_t>() != 0) in.Refuse("a reserved field that is not 0");
  const auto peers = in.Number<uint32_t>();
  const auto routes = in.Number<uint32_t>();
  if (peers > kMaxPeers) return refuse("too many peers");
  if (routes > kMaxRoutes) return refuse("too many prefixes");
  const size_t size = kHeaderSize + peers * kPeerSize + routes * kRouteSize;
  if (bytes.size() < size) return refuse("shorter than its counts say");
  if (bytes.size() > size) return refuse("longer than its counts say");
  table->tun4_ = in.ReadAddress(4, "the device's IPv4 address is of another family");
  table->tun6_ = in.ReadAddress(6, "the device's IPv6 address is of another family");
  table->own4_.Set(in.ReadPrefix(4, "our IPv4 subnet is of another family"));
  table->own6_.Set(in.ReadPrefix(6, "our IPv6 subnet is of another family"));

  table->peers_.resize(peers);
  std::vector<bool> taken(kMaxSlots);
  for (Peer& peer : table->peers_) {
    peer.slot = in.Number<uint32_t>();
    if (peer.slot >= kMaxSlots) return refuse("a slot out of range");
    if (taken[peer.slot]) return refuse("a slot that two peers have");
    taken[peer.slot] = true;
    peer.endpoint4 = in.ReadAddress(4, "an IPv4 endpoint of another family");
    peer.endpoint6 = in.ReadAddress(6, "an IPv6 endpoint of another family");
    for (const Address& a : {peer.endpoint4, peer.endpoint6}) {
      if (a) table->endpoints_.push_back(a);
    }
  }
  std::vector<PrefixTable::Entry> entries(routes);
  for (PrefixTable::Entry& entry : entries) {
    entry.value = in.Number<uint32_t>();
    if (entry.value >= peers) return refuse("a prefix of a peer that is not there");
    entry.prefix = in.ReadPrefix();
    if (!entry.prefix.address) in.Refuse("a prefix without a family");
  }
  if (in.why != nullptr) return refuse(in.why);

  table->routes_ = PrefixTable(entries);
  if (table->routes_.size() != entries.size()) return refuse("a prefix that is there twice");
  auto& endpoints = table->endpoints_;
  std::sort(endpoints.begin(), endpoints.end(), Before);
  endpoints.erase(std::unique(endpoints.begin(), endpoints.end()), endpoints.end());
  endpoints.shrink_to_fit();
  *why = nullptr;
  return table;
}

const Peer* Table::PeerOf(uint8_t version, const uint8_t* address) const {
  const uint32_t index = routes_.Find(version, address);
  return index == PrefixTable::kNone ? nullptr : &peers_[index];
}

bool Table::KnowsEndpoint(const Address& outer) const {
  return std::binary_search(endpoints_.begin(), endpoints_.end(), outer, Before);
}

bool Table::IsOwn(uint8_t version, const uint8_t* address) const {
  uint64_t words[2] = {};
  if (version == 4) {
    memcpy(words, address, 4);
    return (words[0] & own4_.mask[0]) == own4_.bits[0];
  }
  memcpy(words, address, 16);
  return (words[0] & own6_.mask[0]) == own6_.bits[0] && (words[1] & own6_.mask[1]) == own6_.bits[1];
}

}  // namespace loden::core
