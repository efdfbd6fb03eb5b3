#include "core/table.h"

#include <doctest/doctest.h>

#include <cstdlib>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace {

using loden::core::Address;
using loden::core::Peer;
using loden::core::Prefix;
using loden::core::Table;

struct PeerSpec {
  uint32_t slot;
  Address endpoint4, endpoint6;
};

// What the bytes say; written down without a check, so that wrong ones can be made.
struct Spec {
  std::string magic = "LodenFT1";
  uint16_t mtu = 1472, reserved = 0;
  Address tun4{4, {10, 0, 1}}, tun6{6, {0xfd, 0, 1}};
  Prefix own4{{4, {10, 0, 1}}, 24}, own6{{6, {0xfd, 0, 1}}, 64};
  std::vector<PeerSpec> peers;
  std::vector<std::pair<uint32_t, Prefix>> prefixes;
  int64_t peer_count = -1, prefix_count = -1;  // -1: as many as there are

  std::vector<uint8_t> Bytes() const {
    std::vector<uint8_t> out(magic.begin(), magic.end());
    const auto number = [&out](uint64_t value, int size) {
      for (int i = 0; i < size; i++) out.push_back(static_cast<uint8_t>(value >> (8 * i)));
    };
    const auto address = [&out](const Address& a) {
      out.push_back(a.family);
      out.insert(out.end(), a.bytes, a.bytes + 16);
    };
    const auto prefix = [&](const Prefix& p) {
      address(p.address);
      out.push_back(p.length);
    };
    number(mtu, 2);
    number(reserved, 2);
    number(peer_count < 0 ? peers.size() : static_cast<uint64_t>(peer_count), 4);
    number(prefix_count < 0 ? prefixes.size() : static_cast<uint64_t>(prefix_count), 4);
    address(tun4);
    address(tun6);
    prefix(own4);
    prefix(own6);
    for (const PeerSpec& p : peers) {
      number(p.slot, 4);
      address(p.endpoint4);
      address(p.endpoint6);
    }
    for (const auto& [peer, p] : prefixes) {
      number(peer, 4);
      prefix(p);
    }
    return out;
  }
};

Spec Sample() {
  Spec s;
  s.peers = {{7, {4, {192, 168, 0, 7}}, {6, {0x20, 1, 7}}}, {65535, {4, {192, 168, 0, 8}}, {}}, {0, {}, {}}};
  s.prefixes = {{0, {{4, {10, 0, 7}}, 24}},
                {0, {{6, {0xfd, 0, 7}}, 64}},
                {1, {{4, {10, 0, 8}}, 24}},
                {1, {{4, {10, 0, 7, 128}}, 25}},
                {2, {{4, {10, 0, 9, 1}}, 32}}};
  return s;
}

std::unique_ptr<const Table> Parse(const std::vector<uint8_t>& bytes, const char** why) {
  // A block of exactly this size: reading beyond it is seen by the sanitizer.
  const std::unique_ptr<uint8_t[]> exact(new uint8_t[bytes.size()]);
  std::copy(bytes.begin(), bytes.end(), exact.get());
  return Table::Parse({exact.get(), bytes.size()}, why);
}

std::string Refusal(const std::vector<uint8_t>& bytes) {
  const char* why = "?";
  const auto table = Parse(bytes, &why);
  if (table == nullptr) return why == nullptr ? "no reason" : why;
  CHECK(why == nullptr);
  return "";
}

std::string Refusal(const std::function<void(Spec&)>& change) {
  Spec s = Sample();
  change(s);
  return Refusal(s.Bytes());
}

}  // namespace

TEST_CASE("table: says who has what") {
  const char* why = "?";
  const auto table = Parse(Sample().Bytes(), &why);
  REQUIRE(table != nullptr);
  CHECK(why == nullptr);
  CHECK(table->mtu() == 1472);
  CHECK(table->tun_address(4) == Address{4, {10, 0, 1}});
  CHECK(table->tun_address(6) == Address{6, {0xfd, 0, 1}});
  REQUIRE(table->peers().size() == 3);
  const auto& peers = table->peers();
  const auto peer_of = [&](const Address& a) { return table->PeerOf(a.family, a.bytes); };
  CHECK(peer_of({4, {10, 0, 7, 127}}) == &peers[0]);
  CHECK(peer_of({4, {10, 0, 7, 128}}) == &peers[1]);
  CHECK(peer_of({4, {10, 0, 8, 1}}) == &peers[1]);
  CHECK(peer_of({4, {10, 0, 9, 1}}) == &peers[2]);
  CHECK(peer_of({4, {10, 0, 9, 2}}) == nullptr);
  CHECK(peer_of({6, {0xfd, 0, 7, 0, 0, 0, 0, 0, 1}}) == &peers[0]);
  CHECK(peer_of({6, {0xfd, 0, 7, 0, 0, 0, 0, 1}}) == nullptr);
  CHECK(peers[0].slot == 7);
  CHECK(peers[1].slot == 65535);
}

TEST_CASE("table: knows endpoints, and which peer may have sent") {
  const char* why = nullptr;
  Spec s = Sample();
  s.peers.push_back({9, s.peers[0].endpoint4, {}});  // behind one address with another
  const auto table = Parse(s.Bytes(), &why);
  REQUIRE(table != nullptr);
  const Address four = s.peers[0].endpoint4, six = s.peers[0].endpoint6, other = s.peers[1].endpoint4;
  CHECK(table->KnowsEndpoint(four));
  CHECK(table->KnowsEndpoint(six));
  CHECK(table->KnowsEndpoint(other));
  CHECK(!table->KnowsEndpoint({4, {192, 168, 0, 9}}));
  CHECK(!table->KnowsEndpoint({6, {0x20, 1, 8}}));
  CHECK(!table->KnowsEndpoint({6, {192, 168, 0, 7}}));
  CHECK(!table->KnowsEndpoint({}));
  CHECK(table->peers()[0].IsFrom(four));
  CHECK(table->peers()[0].IsFrom(six));
  CHECK(!table->peers()[0].IsFrom(other));
  CHECK(!table->peers()[1].IsFrom(six));
  CHECK(table->peers()[3].IsFrom(four));
  CHECK(!table->peers()[2].IsFrom({4, {}}));  // has no endpoint
}

TEST_CASE("table: our own subnets, of every length") {
  std::mt19937_64 random(11);
  for (const uint8_t family : {4, 6}) {
    const int width = family == 4 ? 32 : 128;
    for (int length = 0; length <= width; length++) {
      Spec s = Sample();
      Prefix own{{family, {}}, static_cast<uint8_t>(length)};
      for (int i = 0; i < length; i++) {
        if (random() % 2) own.address.bytes[i / 8] = static_cast<uint8_t>(own.address.bytes[i / 8] | 0x80 >> i % 8);
      }
      (family == 4 ? s.own4 : s.own6) = own;
      const char* why = nullptr;
      const auto table = Parse(s.Bytes(), &why);
      REQUIRE(table != nullptr);
      for (int n = 0; n < 40; n++) {
        Address a = own.address;
        for (int i = length; i < width; i++) {
          if (random() % 2) a.bytes[i / 8] = static_cast<uint8_t>(a.bytes[i / 8] ^ 0x80 >> i % 8);
        }
        if (n % 2 == 1) {
          const int bit = static_cast<int>(random() % static_cast<unsigned>(width));
          a.bytes[bit / 8] = static_cast<uint8_t>(a.bytes[bit / 8] ^ 0x80 >> bit % 8);
        }
        if (table->IsOwn(family, a.bytes) != Contains(own, a)) FAIL_CHECK("family ", family, " length ", length);
      }
    }
  }
}

TEST_CASE("table: nothing is ours or the device's where there is no family") {
  Spec s = Sample();
  s.own4 = s.own6 = {};
  s.tun4 = s.tun6 = {};
  const char* why = nullptr;
  const auto parsed = Parse(s.Bytes(), &why), empty = Table::Empty();
  REQUIRE(parsed != nullptr);
  for (const Table* t : {parsed.get(), empty.get()}) {
    for (const uint8_t version : {4, 6}) {
      for (const uint8_t fill : {0, 1, 10, 255}) {
        const std::vector<uint8_t> address(16, fill);
        CHECK(!t->IsOwn(version, address.data()));
        CHECK(t->PeerOf(version, address.data()) == nullptr);
      }
      CHECK(!t->tun_address(version));
    }
  }
  CHECK(empty->peers().empty());
  CHECK(empty->mtu() == 0);
}

TEST_CASE("table: what is no table is refused with its reason") {
  CHECK(Refusal([](Spec&) {}) == "");
  CHECK(Refusal([](Spec& s) { s.magic = "LodenFT2"; }) == "no forwarding table, or of another version");
  CHECK(Refusal([](Spec& s) { s.mtu = 67; }) == "an MTU below 68");
  CHECK(Refusal([](Spec& s) { s.mtu = 68; }) == "");
  CHECK(Refusal([](Spec& s) { s.reserved = 256; }) == "a reserved field that is not 0");
  CHECK(Refusal([](Spec& s) { s.peer_count = 65537; }) == "too many peers");
  CHECK(Refusal([](Spec& s) { s.peer_count = UINT32_MAX; }) == "too many peers");
  CHECK(Refusal([](Spec& s) { s.prefix_count = 262145; }) == "too many prefixes");
  CHECK(Refusal([](Spec& s) { s.peer_count = 65536; }) == "shorter than its counts say");
  CHECK(Refusal([](Spec& s) { s.prefix_count = 262144; }) == "shorter than its counts say");
  CHECK(Refusal([](Spec& s) { s.prefix_count = 6; }) == "shorter than its counts say");
  CHECK(Refusal([](Spec& s) { s.prefix_count = 4; }) == "longer than its counts say");
  CHECK(Refusal([](Spec& s) { s.peer_count = 2; }) == "longer than its counts say");
  CHECK(Refusal([](Spec& s) { s.tun4 = {6, {1}}; }) == "the device's IPv4 address is of another family");
  CHECK(Refusal([](Spec& s) { s.tun6 = {4, {1}}; }) == "the device's IPv6 address is of another family");
  CHECK(Refusal([](Spec& s) { s.own4 = {{6, {}}, 8}; }) == "our IPv4 subnet is of another family");
  CHECK(Refusal([](Spec& s) { s.own6 = {{4, {}}, 8}; }) == "our IPv6 subnet is of another family");
  CHECK(Refusal([](Spec& s) { s.own4 = {{0, {}}, 1}; }) == "a prefix longer than its address");
  CHECK(Refusal([](Spec& s) { s.own4.length = 33; }) == "a prefix longer than its address");
  CHECK(Refusal([](Spec& s) { s.own4.length = 23; }) == "a prefix with bits beyond its length");
  CHECK(Refusal([](Spec& s) { s.tun4.family = 5; }) == "an address of an unknown family");
  CHECK(Refusal([](Spec& s) { s.tun4.bytes[4] = 1; }) == "an address that is not padded by 0");
  CHECK(Refusal([](Spec& s) { s.tun6 = {0, {1}}; }) == "an address that is not padded by 0");
  CHECK(Refusal([](Spec& s) { s.peers[2].slot = 7; }) == "a slot that two peers have");
  CHECK(Refusal([](Spec& s) { s.peers[2].slot = 65536; }) == "a slot out of range");
  CHECK(Refusal([](Spec& s) { s.peers[2].slot = UINT32_MAX; }) == "a slot out of range");
  CHECK(Refusal([](Spec& s) { s.peers[2].endpoint4 = {6, {1}}; }) == "an IPv4 endpoint of another family");
  CHECK(Refusal([](Spec& s) { s.peers[2].endpoint6 = {4, {1}}; }) == "an IPv6 endpoint of another family");
  CHECK(Refusal([](Spec& s) { s.peers[1].endpoint4.family = 255; }) == "an address of an unknown family");
  CHECK(Refusal([](Spec& s) { s.peers[1].endpoint4.bytes[15] = 1; }) == "an address that is not padded by 0");
  CHECK(Refusal([](Spec& s) { s.prefixes[4].first = 3; }) == "a prefix of a peer that is not there");
  CHECK(Refusal([](Spec& s) { s.prefixes[4].first = UINT32_MAX; }) == "a prefix of a peer that is not there");
  CHECK(Refusal([](Spec& s) { s.prefixes[4].second = {}; }) == "a prefix without a family");
  CHECK(Refusal([](Spec& s) { s.prefixes[4].second.length = 33; }) == "a prefix longer than its address");
  CHECK(Refusal([](Spec& s) { s.prefixes[1].second.length = 129; }) == "a prefix longer than its address");
  CHECK(Refusal([](Spec& s) { s.prefixes[4].second.length = 31; }) == "a prefix with bits beyond its length");
  CHECK(Refusal([](Spec& s) { s.prefixes[1].second.length = 23; }) == "a prefix with bits beyond its length");
  CHECK(Refusal([](Spec& s) { s.prefixes[2].second = s.prefixes[0].second; }) == "a prefix that is there twice");
}

TEST_CASE("table: bytes that end early or go on are refused") {
  const std::vector<uint8_t> whole = Sample().Bytes();
  for (size_t n = 0; n < whole.size(); n++) {
    const std::string reason = Refusal(std::vector<uint8_t>(whole.begin(), whole.begin() + static_cast<long>(n)));
    CHECK(reason == (n < 90 ? "shorter than its header" : "shorter than its counts say"));
  }
  std::vector<uint8_t> more = whole;
  more.push_back(0);
  CHECK(Refusal(more) == "longer than its counts say");
}

TEST_CASE("table: no bytes are read beyond, and what is accepted can be asked") {
  std::mt19937_64 random(17);
  const std::vector<uint8_t> whole = Sample().Bytes();
  int accepted = 0;
  for (int i = 0; i < 30'000; i++) {
    std::vector<uint8_t> bytes = whole;
    for (size_t n = 1 + random() % 3; n > 0; n--) {
      bytes[random() % bytes.size()] = static_cast<uint8_t>(random() % 3 ? random() % 8 : random());
    }
    const char* why = nullptr;
    const auto table = Parse(bytes, &why);
    if ((table == nullptr) != (why != nullptr)) FAIL_CHECK("a reason without a refusal, or the other way round");
    if (table == nullptr) continue;
    accepted++;
    for (const uint8_t version : {4, 6}) {
      const uint8_t* at = bytes.data() + random() % (bytes.size() - 16);
      const Peer* peer = table->PeerOf(version, at);
      if (peer != nullptr && (peer < &table->peers().front() || peer > &table->peers().back())) FAIL_CHECK("no such peer");
      table->IsOwn(version, at);
    }
  }
  CHECK(accepted > 100);
  CHECK(accepted < 30'000);
}

TEST_CASE("table: the most there may be") {
  Spec s = Sample();
  s.peers.clear();
  s.prefixes.clear();
  for (uint32_t i = 0; i < 65536; i++) {
    const auto high = static_cast<uint8_t>(i >> 8), low = static_cast<uint8_t>(i);
    s.peers.push_back({65535 - i, {4, {172, 16, high, low}}, {6, {0x20, 1, high, low}}});
    for (uint8_t n = 0; n < 4; n++) s.prefixes.push_back({i, {{4, {10, high, low, static_cast<uint8_t>(n * 64)}}, 26}});
  }
  const char* why = nullptr;
  const auto table = Parse(s.Bytes(), &why);
  REQUIRE(table != nullptr);
  int wrong = 0;
  for (uint32_t i = 0; i < 65536; i++) {
    const uint8_t address[4] = {10, static_cast<uint8_t>(i >> 8), static_cast<uint8_t>(i), 200};
    const Peer* peer = table->PeerOf(4, address);
    if (peer == nullptr || peer->slot != 65535 - i || !table->KnowsEndpoint(peer->endpoint6)) wrong++;
  }
  CHECK(wrong == 0);
}
