// Tables of hostile bytes: accepted exactly when they are what core/table.h says, and then equal to a search through
// all of it.
//
// Input: flags (1: the rest is a table's bytes; else a table is made of it: number of peers, of prefixes, our prefixes'
// lengths, then 4 bytes of choices for each peer and 6 for each prefix), then addresses to look up.
#include <algorithm>
#include <optional>
#include <set>

#include "check.h"
#include "core/prefix_table.h"
#include "packets.h"
#include "world.h"

namespace loden::fuzz {
namespace {

using core::Address;
using core::Prefix;
using core::PrefixTable;
using core::Table;

struct Plain {
  uint32_t mtu = 0;
  Address tun[2];
  Prefix own[2];
  std::vector<core::Peer> peers;
  std::vector<PrefixTable::Entry> routes;
};

uint32_t Little(Input& in, int size) {
  uint32_t value = 0;
  for (int i = 0; i < size; ++i) value |= static_cast<uint32_t>(in.U8()) << 8 * i;
  return value;
}

uint32_t Width(uint8_t family) { return family == 4 ? 32 : family == 6 ? 128 : 0; }

// What core/table.h describes, field by field; nothing for what it does not.
class Decoder {
 public:
  explicit Decoder(const Bytes& bytes) : in_(bytes.data(), bytes.size()) {}

  std::optional<Plain> Decode() {
    constexpr size_t kHeader = 8 + 2 + 2 + 4 + 4 + 2 * 17 + 2 * 18;
    if (in_.left() < kHeader) return {};
    Plain out;
    for (const char c : {'L', 'o', 'd', 'e', 'n', 'F', 'T', '1'}) good_ &= in_.U8() == c;
    out.mtu = Little(in_, 2);
    good_ &= out.mtu >= 68 && Little(in_, 2) == 0;
    const uint32_t peers = Little(in_, 4), routes = Little(in_, 4);
    if (!good_ || peers > 65536 || routes > 262144) return {};
    if (in_.left() != size_t{70} + size_t{38} * peers + size_t{22} * routes) return {};
    for (int i : {0, 1}) out.tun[i] = ReadAddress(i == 0 ? 4 : 6);
    for (int i : {0, 1}) out.own[i] = ReadPrefix(i == 0 ? 4 : 6);
    std::set<uint32_t> slots;
    for (uint32_t i = 0; i < peers; ++i) {
      core::Peer peer;
      peer.slot = Little(in_, 4);
      good_ &= peer.slot < 65536 && slots.insert(peer.slot).second;
      peer.endpoint4 = ReadAddress(4);
      peer.endpoint6 = ReadAddress(6);
      out.peers.push_back(peer);
    }
    std::set<Bytes> prefixes;
    for (uint32_t i = 0; i < routes; ++i) {
      PrefixTable::Entry route;
      route.value = Little(in_, 4);
      route.prefix = ReadPrefix(0);
      const Address& a = route.prefix.address;
      Bytes key(a.bytes, a.bytes + 16);
      key.push_back(a.family);
      key.push_back(route.prefix.length);
      good_ &= route.value < peers && a.family != 0 && prefixes.insert(key).second;
      out.routes.push_back(route);
    }
    return good_ ? std::optional(out) : std::nullopt;
  }

 private:
  // `family`: besides none; 0: any.
  Address ReadAddress(uint8_t family) {
    Address out;
    out.family = in_.U8();
    for (uint8_t& byte : out.bytes) byte = in_.U8();
    good_ &= out.family == 0 || Width(out.family) != 0;
    good_ &= family == 0 || out.family == 0 || out.family == family;
    for (uint32_t i = Width(out.family) / 8; i < 16; ++i) good_ &= out.bytes[i] == 0;
    return out;
  }
  Prefix ReadPrefix(uint8_t family) {
    Prefix out{ReadAddress(family), in_.U8()};
    good_ &= out.length <= Width(out.address.family);
    for (uint32_t bit = out.length; bit < 128; ++bit) good_ &= (out.address.bytes[bit / 8] & 0x80 >> bit % 8) == 0;
    return out;
  }

  Input in_;
  bool good_ = true;
};

// An address of few choices, so that prefixes meet.
Address Choose(Input& in) {
  const uint8_t kind = in.U8(), a = in.U8(), b = in.U8(), c = in.U8();
  if (kind % 2 == 0) return Ip4(kind & 2 ? 10 : a, kind & 4 ? 1 : b, kind & 8 ? a : c, kind & 16 ? c : 0);
  Address out = Ip6(kind & 2 ? a : 1, kind & 4 ? b : 0);
  out.bytes[1] = kind & 8 ? c : 0;
  return out;
}

Prefix Masked(Prefix prefix) {
  prefix.length = static_cast<uint8_t>(prefix.length % (Width(prefix.address.family) + 1));
  for (uint32_t bit = prefix.length; bit < 128; ++bit) {
    prefix.address.bytes[bit / 8] &= static_cast<uint8_t>(~(0x80 >> bit % 8));
  }
  return prefix;
}

Bytes Make(Input& in, std::vector<PrefixTable::Entry>* raw) {
  const uint32_t peers = in.U8() % 32, routes = in.U8() % 64;
  TableBytes out;
  out.Text("LodenFT1");
  out.Little(1472, 2);
  out.Little(0, 2);
  out.Little(peers, 4);
  out.Little(routes, 4);
  out.Put(Ip4(10, 1, 0, 0));
  out.Put(Ip6(1, 0));
  const uint8_t own = in.U8();
  out.Put(own & 1 ? Masked({Ip4(10, 1, 0, 0), own}) : Prefix{});
  out.Put(own & 2 ? Masked({Ip6(1, 0), own}) : Prefix{});
  for (uint32_t i = 0; i < peers; ++i) {
    const uint8_t choice = in.U8(), a = in.U8(), b = in.U8(), c = in.U8();
    out.Little(choice & 1 ? i : a, 4);
    out.Put(choice & 2 ? Ip4(192, 0, 2, b) : Address{});
    out.Put(choice & 4 ? Ip6(99, c) : Address{});
  }
  for (uint32_t i = 0; i < routes; ++i) {
    const uint8_t peer = in.U8();
    const Address address = Choose(in);
    const uint8_t length = in.U8();
    raw->push_back({{address, length}, i});
    out.Little(peers == 0 ? 0 : peer % peers, 4);
    out.Put(Masked({address, length}));
  }
  return out.bytes();
}

// The addresses at and beside both ends of a prefix.
void Probe(Prefix prefix, std::vector<Address>* out) {
  const uint32_t width = Width(prefix.address.family);
  if (prefix.length > width || width == 0) return;
  Address low = Masked(prefix).address, high = low;
  if (prefix.length == width) low = high = prefix.address;
  for (uint32_t bit = prefix.length; bit < width; ++bit) high.bytes[bit / 8] |= static_cast<uint8_t>(0x80 >> bit % 8);
  out->push_back(low);
  out->push_back(high);
  for (uint32_t i = width / 8; i-- > 0 && low.bytes[i]-- == 0;) {
  }
  for (uint32_t i = width / 8; i-- > 0 && ++high.bytes[i] == 0;) {
  }
  out->push_back(low);
  out->push_back(high);
}

// The first of the longest that hold it.
uint32_t Scan(const std::vector<PrefixTable::Entry>& entries, const Address& address) {
  uint32_t value = PrefixTable::kNone;
  int longest = -1;
  for (const PrefixTable::Entry& entry : entries) {
    const Prefix& prefix = entry.prefix;
    if (prefix.length <= Width(prefix.address.family) && prefix.length > longest && Holds(prefix, address)) {
      longest = prefix.length;
      value = entry.value;
    }
  }
  return value;
}

void CheckTable(const Table& table, const Plain& plain, const std::vector<Address>& addresses) {
  FUZZ_CHECK(table.mtu() == plain.mtu && table.tun_address(4) == plain.tun[0] && table.tun_address(6) == plain.tun[1]);
  FUZZ_CHECK(table.peers().size() == plain.peers.size());
  for (size_t i = 0; i < plain.peers.size(); ++i) {
    const core::Peer &a = table.peers()[i], &b = plain.peers[i];
    FUZZ_CHECK(a.slot == b.slot && a.endpoint4 == b.endpoint4 && a.endpoint6 == b.endpoint6);
  }
  const auto knows = [&](const Address& address) {
    return std::any_of(plain.peers.begin(), plain.peers.end(),
                       [&](const core::Peer& p) { return p.endpoint4 == address || p.endpoint6 == address; });
  };
  for (const Address& address : addresses) {
    const core::Peer* peer = table.PeerOf(address.family, address.bytes);
    const uint32_t index = Scan(plain.routes, address);
    FUZZ_CHECK(peer == (index == PrefixTable::kNone ? nullptr : &table.peers()[index]));
    const bool own = Holds(plain.own[0], address) || Holds(plain.own[1], address);
    FUZZ_CHECK(table.IsOwn(address.family, address.bytes) == own);
    FUZZ_CHECK(table.KnowsEndpoint(address) == knows(address));
    for (const core::Peer& each : table.peers()) {
      FUZZ_CHECK(each.IsFrom(address) == (each.endpoint4 == address || each.endpoint6 == address));
    }
  }
  for (const core::Peer& peer : plain.peers) {
    if (peer.endpoint4) FUZZ_CHECK(table.KnowsEndpoint(peer.endpoint4));
    if (peer.endpoint6) FUZZ_CHECK(table.KnowsEndpoint(peer.endpoint6));
  }
}

int Run(Input in) {
  std::vector<PrefixTable::Entry> raw;
  std::vector<Address> addresses;
  const bool bytes_follow = in.U8() & 1;
  const Bytes bytes = bytes_follow ? in.Take(in.left()) : Make(in, &raw);

  const char* why = nullptr;
  const std::unique_ptr<const Table> table = Table::Parse(bytes, &why);
  FUZZ_CHECK((table == nullptr) == (why != nullptr));
  const std::optional<Plain> plain = Decoder(bytes).Decode();
  FUZZ_CHECK(plain.has_value() == (table != nullptr));

  while (in.left() >= 4 && addresses.size() < 64) addresses.push_back(Choose(in));
  if (plain) {
    for (size_t i = 0; i < plain->routes.size() && i < 64; ++i) Probe(plain->routes[i].prefix, &addresses);
    for (const Prefix& own : plain->own) Probe(own, &addresses);
    CheckTable(*table, *plain, addresses);
  }

  // As they are: with lengths too large, bits beyond the length, and the same ones again.
  const PrefixTable prefixes(raw);
  for (const PrefixTable::Entry& entry : raw) Probe(entry.prefix, &addresses);
  for (const Address& address : addresses) {
    const uint32_t found = prefixes.Find(address.family, address.bytes);
    FUZZ_CHECK(found == Scan(raw, address));
    int lines = 0;
    FUZZ_CHECK(prefixes.FindCounting(address.family, address.bytes, &lines) == found && lines >= 0);
  }
  return 0;
}

}  // namespace
}  // namespace loden::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) { return loden::fuzz::Run({data, size}); }
