#include "core/probe_packet.h"

#include <doctest/doctest.h>

#include <cstring>
#include <vector>

#include "core/checksum.h"

using namespace loden::core;

namespace {

const ProbeMark kMark{0x12345678, 77, 0xfeedface12345678};

Address Of(uint8_t family, uint8_t last) {
  Address address;
  address.family = family;
  address.bytes[0] = family == 4 ? 10 : 0xfd;
  address.bytes[family == 4 ? 3 : 15] = last;
  return address;
}

// What a host that nothing listens on answers to this packet: type 3 code 3, IPv6: 1, 4. As a raw socket gets it.
std::vector<uint8_t> Unreachable(uint8_t family, const std::vector<uint8_t>& packet, uint8_t type, uint8_t code) {
  std::vector<uint8_t> out(family == 4 ? 20 : 0);
  if (family == 4) {
    out[0] = 0x45;
    out[9] = 1;
  }
  const size_t icmp = out.size();
  out.insert(out.end(), {type, code, 0, 0, 0, 0, 0x05, 0x14});
  out.insert(out.end(), packet.begin(), packet.end());
  if (family == 4) Store16(&out[icmp + 2], Finish(SumOf(&out[icmp], out.size() - icmp)));
  return out;
}

bool Read(uint8_t family, const std::vector<uint8_t>& data, ProbeAnswer* out) {
  return family == 4 ? ReadAnswer4(data.data(), data.size(), out) : ReadAnswer6(data.data(), data.size(), out);
}

}  // namespace

TEST_CASE("probe datagrams have right checksums, whatever their size") {
  for (const uint8_t family : {4, 6}) {
    for (size_t size = LeastProbe(family); size < 200; size++) {
      std::vector<uint8_t> packet(size, 0xaa);
      PutDatagram(packet.data(), size, Of(family, 1), Of(family, 2), 40000, 61000, kMark);
      const uint8_t* udp = packet.data() + IpHeader(family);
      const size_t length = size - IpHeader(family);
      if (family == 4) CHECK(Fold(SumOf(packet.data(), 20)) == 0xffff);
      CHECK(Load16(udp + 4) == length);
      CHECK(Load16(udp + 6) != 0);
      CHECK(Fold(PseudoHeaderSum(packet.data(), family, 17, static_cast<uint32_t>(length)) + SumOf(udp, length)) == 0xffff);
    }
  }
}

TEST_CASE("probe answers are read, whole ones only") {
  for (const uint8_t family : {4, 6}) {
    CAPTURE(family);
    std::vector<uint8_t> packet(LeastProbe(family) + 12);
    PutDatagram(packet.data(), packet.size(), Of(family, 1), Of(family, 2), 40000, 61000, kMark);
    const auto data = Unreachable(family, packet, family == 4 ? 3 : 1, family == 4 ? 3 : 4);
    ProbeAnswer answer;
    REQUIRE(Read(family, data, &answer));
    CHECK(answer.what == ProbeAnswer::What::kUnreachable);
    CHECK(answer.of_udp);
    CHECK(answer.identifier == 40000);
    CHECK(answer.destination == Of(family, 2));
    CHECK(answer.mark.nonce == kMark.nonce);
    CHECK(answer.mark.token == 77);
    CHECK(answer.mark.magic == kMark.magic);
    // The magic is where the kernel's filter looks for it.
    CHECK(Load32(&data[family == 4 ? 20 + 20 + kMagicInQuote4 : kMagicInQuote6]) == kMark.magic);
    // Too short for the mark, however much there is of it: nothing beyond the end is read (ASan).
    const size_t mark_ends = (family == 4 ? 20 : 0) + 8 + LeastProbe(family);
    for (size_t size = 0; size < mark_ends; size++) {
      const std::vector<uint8_t> cut(data.begin(), data.begin() + static_cast<ptrdiff_t>(size));
      ProbeAnswer none;
      CHECK_FALSE(Read(family, cut, &none));
    }
  }
}

TEST_CASE("probe answers say which MTU would do") {
  for (const uint8_t family : {4, 6}) {
    std::vector<uint8_t> packet(LeastProbe(family));
    PutDatagram(packet.data(), packet.size(), Of(family, 1), Of(family, 2), 1, 61000, kMark);
    ProbeAnswer answer;
    REQUIRE(Read(family, Unreachable(family, packet, family == 4 ? 3 : 2, family == 4 ? 4 : 0), &answer));
    CHECK(answer.what == ProbeAnswer::What::kTooBig);
    CHECK(answer.mtu == 1300);
  }
}

TEST_CASE("probe answers that are damaged, or about something else, are none") {
  std::vector<uint8_t> packet(LeastProbe(4));
  PutDatagram(packet.data(), packet.size(), Of(4, 1), Of(4, 2), 40000, 61000, kMark);
  const auto data = Unreachable(4, packet, 3, 3);
  ProbeAnswer answer;
  for (size_t at = 20; at < data.size(); at++) {
    auto damaged = data;
    damaged[at] ^= 0x10;
    CAPTURE(at);
    CHECK_FALSE(Read(4, damaged, &answer));
  }
  packet[9] = 6;  // TCP
  CHECK_FALSE(Read(4, Unreachable(4, packet, 3, 3), &answer));
  packet[9] = 17;
  packet[0] = 0x4f;  // options that are not there
  CHECK_FALSE(Read(4, Unreachable(4, packet, 3, 3), &answer));
  CHECK_FALSE(Read(4, Unreachable(4, packet, 5, 1), &answer));
}

TEST_CASE("probe echoes: an IPv4 request has a right checksum, and its reply is read") {
  std::vector<uint8_t> data(20 + 8 + 56);
  data[0] = 0x45;
  data[9] = 1;
  PutEcho(&data[20], data.size() - 20, 4, 4711, kMark);
  CHECK(Fold(SumOf(&data[20], data.size() - 20)) == 0xffff);
  ProbeAnswer answer;
  // A request is no reply.
  CHECK_FALSE(Read(4, data, &answer));
  data[20] = 0;
  Store16(&data[22], 0);
  Store16(&data[22], Finish(SumOf(&data[20], data.size() - 20)));
  REQUIRE(Read(4, data, &answer));
  CHECK(answer.what == ProbeAnswer::What::kEchoReply);
  CHECK(answer.identifier == 4711);
  CHECK(answer.mark.nonce == kMark.nonce);
  CHECK(Load32(&data[20 + kMagicInEcho]) == kMark.magic);
}
