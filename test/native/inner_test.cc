#include "core/inner.h"

#include <doctest/doctest.h>

#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "core/checksum.h"

using namespace loden::core;

namespace {

using Bytes = std::vector<uint8_t>;

// From a copy on the heap of exactly these bytes, so that AddressSanitizer sees a read beyond them.
Drop Parse(const Bytes& packet, Inner* out) {
  auto copy = std::make_unique<uint8_t[]>(packet.size());
  if (!packet.empty()) memcpy(copy.get(), packet.data(), packet.size());
  return ParseInner(copy.get(), packet.size(), out);
}

Drop Parse(const Bytes& packet) {
  Inner inner;
  return Parse(packet, &inner);
}

// `words`: of the header; `field`: flags and fragment offset.
Bytes Ipv4(uint32_t words, uint32_t payload, uint16_t field = 0) {
  Bytes packet(words * 4 + payload);
  packet[0] = static_cast<uint8_t>(0x40 | words);
  Store16(&packet[2], static_cast<uint16_t>(packet.size()));
  Store16(&packet[6], field);
  packet[8] = 64;
  packet[9] = 17;
  return packet;
}

struct Extension {
  uint8_t type;
  uint16_t field = 0;  // fragment header: offset and M
  uint8_t words = 0;   // others: length in 8 bytes, besides the first 8
};

Bytes Ipv6(const std::vector<Extension>& chain, uint32_t payload, uint8_t upper = 17) {
  Bytes packet(40);
  packet[0] = 0x60;
  packet[7] = 64;
  size_t next_at = 6;
  for (const Extension& extension : chain) {
    packet[next_at] = extension.type;
    next_at = packet.size();
    packet.resize(packet.size() + 8 + extension.words * 8u);
    if (extension.type == 44) {
      Store16(&packet[next_at + 2], extension.field);
    } else {
      packet[next_at + 1] = extension.words;
    }
  }
  packet[next_at] = upper;
  packet.resize(packet.size() + payload);
  Store16(&packet[4], static_cast<uint16_t>(packet.size() - 40));
  return packet;
}

bool HeaderSumHolds(const Bytes& packet) { return Fold(SumOf(packet.data(), (packet[0] & 15) * 4u)) == 0xffff; }

}  // namespace

TEST_CASE("an IPv4 packet is read") {
  Bytes packet = Ipv4(7, 9);
  packet[8] = 3;
  Inner inner{};
  REQUIRE(Parse(packet, &inner) == Drop::kNone);
  CHECK(inner.version == 4);
  CHECK(inner.protocol == 17);
  CHECK(!inner.fragment);
  CHECK(inner.hop_limit == 3);
  CHECK(inner.ip_length == 28);
  CHECK(inner.length == 37);
  CHECK(inner.upper_protocol == 17);
  CHECK(inner.upper_offset == 28);
  CHECK(inner.fragment_offset == 0);
}

TEST_CASE("an IPv6 packet is read") {
  Inner inner{};
  REQUIRE(Parse(Ipv6({}, 9), &inner) == Drop::kNone);
  CHECK(inner.version == 6);
  CHECK(inner.protocol == 17);
  CHECK(!inner.fragment);
  CHECK(inner.hop_limit == 64);
  CHECK(inner.ip_length == 40);
  CHECK(inner.length == 49);
  CHECK(inner.upper_protocol == 17);
  CHECK(inner.upper_offset == 40);

  REQUIRE(Parse(Ipv6({{0}, {60, 0, 2}, {43}}, 9, 6), &inner) == Drop::kNone);
  CHECK(inner.protocol == 0);
  CHECK(!inner.fragment);
  CHECK(inner.upper_protocol == 6);
  CHECK(inner.upper_offset == 40 + 8 + 24 + 8);
}

TEST_CASE("versions other than 4 and 6, and nothing at all") {
  CHECK(Parse({}) == Drop::kTruncated);
  for (int version = 0; version < 16; version++) {
    Bytes packet = Ipv4(5, 20);
    packet[0] = static_cast<uint8_t>(version << 4 | 5);
    if (version != 4 && version != 6) CHECK(Parse(packet) == Drop::kBadVersion);
    packet.resize(1);
    CHECK(Parse(packet) == (version == 4 || version == 6 ? Drop::kTruncated : Drop::kBadVersion));
  }
}

TEST_CASE("every packet cut short is refused, and one byte more too") {
  const Bytes later = Ipv6({{0}, {44, 8 << 3}}, 5);
  for (const Bytes& whole : {Ipv4(5, 30), Ipv4(15, 8), Ipv4(5, 0), Ipv6({}, 30), Ipv6({}, 0), later}) {
    CHECK(Parse(whole) == Drop::kNone);
    for (size_t length = 0; length < whole.size(); length++) {
      CHECK(Parse(Bytes(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(length))) == Drop::kTruncated);
    }
    Bytes longer = whole;
    longer.push_back(0);
    CHECK(Parse(longer) == Drop::kOversized);
  }
}

TEST_CASE("IPv4 header lengths") {
  for (uint32_t words = 0; words < 16; words++) {
    Bytes packet = Ipv4(5, 40);
    packet[0] = static_cast<uint8_t>(0x40 | words);
    CHECK(Parse(packet) == (words < 5 ? Drop::kBadHeader : Drop::kNone));
  }
  // The header beyond the total length, by one byte.
  Bytes packet = Ipv4(8, 0);
  CHECK(Parse(packet) == Drop::kNone);
  Store16(&packet[2], 31);
  CHECK(Parse(packet) == Drop::kBadHeader);
  packet.resize(31);
  CHECK(Parse(packet) == Drop::kBadHeader);
}

TEST_CASE("a TTL or hop limit of 0") {
  Bytes four = Ipv4(5, 8), six = Ipv6({}, 8);
  four[8] = six[7] = 1;
  CHECK(Parse(four) == Drop::kNone);
  CHECK(Parse(six) == Drop::kNone);
  four[8] = six[7] = 0;
  CHECK(Parse(four) == Drop::kTtl);
  CHECK(Parse(six) == Drop::kTtl);
}

TEST_CASE("IPv4 fragment fields") {
  constexpr uint16_t kReserved = 0x8000, kDf = 0x4000, kMore = 0x2000;
  CHECK(Parse(Ipv4(5, 8, kDf)) == Drop::kNone);
  CHECK(Parse(Ipv4(5, 8, kReserved)) == Drop::kBadFragment);
  CHECK(Parse(Ipv4(5, 8, kMore)) == Drop::kNone);
  CHECK(Parse(Ipv4(5, 8, kDf | kMore)) == Drop::kBadFragment);
  CHECK(Parse(Ipv4(5, 8, 2)) == Drop::kNone);
  CHECK(Parse(Ipv4(5, 8, kDf | 2)) == Drop::kBadFragment);

  CHECK(Parse(Ipv4(5, 0, 0)) == Drop::kNone);
  CHECK(Parse(Ipv4(5, 0, kMore)) == Drop::kBadFragment);
  CHECK(Parse(Ipv4(5, 0, 2)) == Drop::kBadFragment);
  for (const uint32_t payload : {7u, 9u, 12u, 15u}) {
    CHECK(Parse(Ipv4(5, payload, kMore)) == Drop::kBadFragment);
    CHECK(Parse(Ipv4(5, payload, kMore | 2)) == Drop::kBadFragment);
    CHECK(Parse(Ipv4(5, payload, 2)) == Drop::kNone);
  }
  CHECK(Parse(Ipv4(5, 16, kMore | 2)) == Drop::kNone);
  CHECK(Parse(Ipv4(5, 16, 1)) == Drop::kBadFragment);
  CHECK(Parse(Ipv4(5, 16, kMore | 1)) == Drop::kBadFragment);

  // The last byte of the datagram is its 65,535th: with a header of 20, and with one of 24.
  CHECK(Parse(Ipv4(5, 65535 - 20 - 65504, 65504 / 8)) == Drop::kNone);
  CHECK(Parse(Ipv4(5, 65535 - 20 - 65504 + 1, 65504 / 8)) == Drop::kBadFragment);
  CHECK(Parse(Ipv4(6, 65535 - 24 - 65504, 65504 / 8)) == Drop::kNone);
  CHECK(Parse(Ipv4(6, 65535 - 24 - 65504 + 1, 65504 / 8)) == Drop::kBadFragment);
  CHECK(Parse(Ipv4(5, 8, 0x1fff)) == Drop::kBadFragment);
}

TEST_CASE("what is told of an IPv4 fragment") {
  Inner inner{};
  REQUIRE(Parse(Ipv4(5, 8, 0x2000), &inner) == Drop::kNone);
  CHECK(inner.fragment);
  CHECK(inner.fragment_offset == 0);
  REQUIRE(Parse(Ipv4(5, 7, 185), &inner) == Drop::kNone);
  CHECK(inner.fragment);
  CHECK(inner.fragment_offset == 1480);
}

TEST_CASE("IPv6 fragment fields") {
  constexpr uint16_t kMore = 1;
  CHECK(Parse(Ipv6({{44, kMore}}, 8)) == Drop::kNone);
  CHECK(Parse(Ipv6({{44, kMore}}, 0)) == Drop::kBadFragment);
  CHECK(Parse(Ipv6({{44, 2 << 3}}, 0)) == Drop::kBadFragment);
  for (const uint32_t payload : {7u, 9u, 12u, 15u}) {
    CHECK(Parse(Ipv6({{44, kMore}}, payload)) == Drop::kBadFragment);
    CHECK(Parse(Ipv6({{44, 2 << 3 | kMore}}, payload)) == Drop::kBadFragment);
    CHECK(Parse(Ipv6({{44, 2 << 3}}, payload)) == Drop::kNone);
  }
  CHECK(Parse(Ipv6({{44, 1 << 3}}, 16)) == Drop::kBadFragment);
  CHECK(Parse(Ipv6({{44, 1 << 3 | kMore}}, 16)) == Drop::kBadFragment);
  CHECK(Parse(Ipv6({{44}, {44}}, 8)) == Drop::kBadFragment);
  CHECK(Parse(Ipv6({{44}, {60}, {44, 2 << 3}}, 8)) == Drop::kBadFragment);

  // 65,535 bytes behind the IPv6 header, the headers before the fragment header among them.
  CHECK(Parse(Ipv6({{44, 65528}}, 7)) == Drop::kNone);
  CHECK(Parse(Ipv6({{44, 65528}}, 8)) == Drop::kBadFragment);
  CHECK(Parse(Ipv6({{0}, {44, 65520}}, 7)) == Drop::kNone);
  CHECK(Parse(Ipv6({{0}, {44, 65520}}, 8)) == Drop::kBadFragment);
}

TEST_CASE("what is told of an IPv6 fragment") {
  Inner inner{};
  REQUIRE(Parse(Ipv6({{0}, {44, 1}, {60}}, 8), &inner) == Drop::kNone);
  CHECK(inner.fragment);
  CHECK(inner.fragment_offset == 0);
  CHECK(inner.upper_protocol == 17);
  CHECK(inner.upper_offset == 64);
  // What follows the header of a later fragment is data, though it be called a destination header.
  REQUIRE(Parse(Ipv6({{44, 185 << 3}}, 5, 60), &inner) == Drop::kNone);
  CHECK(inner.fragment);
  CHECK(inner.fragment_offset == 1480);
  CHECK(inner.upper_protocol == 60);
  CHECK(inner.upper_offset == 48);
  // Alone in its datagram; the reserved byte and bits are ignored.
  Bytes alone = Ipv6({{44, 6}}, 5);
  alone[41] = 0xff;
  REQUIRE(Parse(alone, &inner) == Drop::kNone);
  CHECK(!inner.fragment);
  CHECK(inner.protocol == 44);
  CHECK(inner.upper_protocol == 17);
}

TEST_CASE("IPv6 extension headers that run out of the packet, and too many") {
  for (const uint8_t type : {uint8_t{0}, uint8_t{43}, uint8_t{60}, uint8_t{44}}) {
    for (uint32_t payload = 0; payload < 8; payload++) CHECK(Parse(Ipv6({}, payload, type)) == Drop::kBadHeader);
    CHECK(Parse(Ipv6({{type}}, 0)) == Drop::kNone);
  }
  Bytes packet = Ipv6({{60, 0, 1}}, 8);
  packet[41] = 2;
  CHECK(Parse(packet) == Drop::kNone);
  packet[41] = 3;
  CHECK(Parse(packet) == Drop::kBadHeader);
  packet[41] = 255;
  CHECK(Parse(packet) == Drop::kBadHeader);
  CHECK(Parse(Ipv6(std::vector<Extension>(8, {60}), 4)) == Drop::kNone);
  CHECK(Parse(Ipv6(std::vector<Extension>(9, {60}), 4)) == Drop::kBadHeader);
  // The largest chain there can be still has an offset that fits.
  Inner inner{};
  REQUIRE(Parse(Ipv6(std::vector<Extension>(8, {60, 0, 255}), 4), &inner) == Drop::kNone);
  CHECK(inner.upper_offset == 40 + 8 * 2048);
}

TEST_CASE("random bytes are read without a read beyond them, and what is accepted is consistent") {
  std::mt19937 random(1);
  uint32_t accepted = 0;
  for (int round = 0; round < 100000; round++) {
    Bytes packet(random() % 120);
    for (auto& byte : packet) byte = static_cast<uint8_t>(random());
    if (packet.size() >= 40) {
      const bool six = random() % 2;
      packet[0] = six ? 0x60 : static_cast<uint8_t>(0x40 | random() % 8);
      Store16(&packet[six ? 4 : 2], static_cast<uint16_t>(packet.size() - (six ? 40 : 0)));
      if (six) {
        const uint8_t types[] = {0, 43, 44, 60, 17};
        packet[6] = types[random() % 5];
        for (size_t at = 40; at + 1 < packet.size(); at += 8) {
          packet[at] = types[random() % 5];
          packet[at + 1] = random() % 2;
        }
      } else if (random() % 2) {
        Store16(&packet[6], random() % 4 * 0x2000);
      }
    }
    Inner inner{};
    if (Parse(packet, &inner) != Drop::kNone) continue;
    accepted++;
    REQUIRE(inner.length == packet.size());
    REQUIRE(inner.ip_length <= inner.upper_offset);
    REQUIRE(inner.upper_offset <= inner.length);
    REQUIRE(inner.hop_limit > 0);
  }
  CHECK(accepted > 5000);
}

TEST_CASE("a hop limit one down changes nothing else") {
  Bytes packet = Ipv6({}, 20);
  Bytes expected = packet;
  expected[7] = 63;
  DecrementTtl(packet.data(), 6);
  CHECK(packet == expected);
}

TEST_CASE("the header checksum after a TTL one down, for every checksum there is") {
  // The identification runs through all values, so the checksum does.
  for (const uint8_t ttl : {uint8_t{2}, uint8_t{64}, uint8_t{255}}) {
    for (uint32_t id = 0; id < 65536; id++) {
      Bytes packet = Ipv4(5, 0);
      packet[8] = ttl;
      Store16(&packet[4], static_cast<uint16_t>(id));
      Store16(&packet[10], Finish(SumOf(packet.data(), 20)));
      DecrementTtl(packet.data(), 4);
      REQUIRE(packet[8] == ttl - 1);
      REQUIRE(HeaderSumHolds(packet));
      // As if computed anew: 0xffff, the other 0, is never stored.
      Bytes anew = packet;
      Store16(&anew[10], 0);
      Store16(&anew[10], Finish(SumOf(anew.data(), 20)));
      REQUIRE(packet == anew);
    }
  }
}

TEST_CASE("a wrong header checksum stays wrong, and 0xffff for 0 is understood") {
  Bytes packet = Ipv4(5, 0);
  Store16(&packet[10], static_cast<uint16_t>(Finish(SumOf(packet.data(), 20)) ^ 0x0100));
  DecrementTtl(packet.data(), 4);
  CHECK(!HeaderSumHolds(packet));

  packet = Ipv4(5, 0);
  Store16(&packet[4], Finish(SumOf(packet.data(), 20)));  // the sum of the rest is 0xffff: the checksum is 0, or 0xffff
  Store16(&packet[10], 0xffff);
  REQUIRE(HeaderSumHolds(packet));
  DecrementTtl(packet.data(), 4);
  CHECK(HeaderSumHolds(packet));
}
