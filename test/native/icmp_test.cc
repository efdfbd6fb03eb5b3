#include "core/icmp.h"

#include <doctest/doctest.h>

#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

using namespace loden::core;

namespace {

using Bytes = std::vector<uint8_t>;

uint32_t Get16(const Bytes& bytes, size_t at) { return static_cast<uint32_t>(bytes[at]) << 8 | bytes[at + 1]; }
uint32_t Get32(const Bytes& bytes, size_t at) { return Get16(bytes, at) << 16 | Get16(bytes, at + 2); }

void Put16(Bytes* bytes, size_t at, uint32_t v) {
  (*bytes)[at] = static_cast<uint8_t>(v >> 8);
  (*bytes)[at + 1] = static_cast<uint8_t>(v);
}

uint32_t NaiveSum(const uint8_t* data, size_t length, uint32_t sum = 0) {
  for (size_t i = 0; i < length; i++) {
    sum += i % 2 == 0 ? static_cast<uint32_t>(data[i]) << 8 : data[i];
    sum = (sum & 0xffff) + (sum >> 16);
  }
  return sum;
}

Address Of(const Bytes& bytes) {
  Address address;
  address.family = bytes.size() == 4 ? 4 : 6;
  memcpy(address.bytes, bytes.data(), bytes.size());
  return address;
}

// 16 bytes: `first` and `last`, zeros between.
Bytes Six(std::initializer_list<uint8_t> first, uint8_t last) {
  Bytes address(first);
  address.resize(16);
  address[15] = last;
  return address;
}

const Bytes kSource4 = {10, 1, 0, 2}, kTo4 = {10, 2, 0, 3}, kOurs4 = {10, 1, 0, 0};
const Bytes kSource6 = Six({0xfd, 1}, 2), kTo6 = Six({0xfd, 2}, 3), kOurs6 = Six({0xfd, 1}, 0);

struct Offender {
  Bytes bytes;
  size_t upper;
};

Offender Packet(bool four, uint8_t protocol, uint32_t payload, uint32_t options = 0) {
  const size_t upper = (four ? 20 : 40) + options;
  Bytes p(upper + payload);
  for (size_t i = 0; i < p.size(); i++) p[i] = static_cast<uint8_t>(i * 7 + 1);
  if (four) {
    p[0] = static_cast<uint8_t>(0x40 | upper / 4);
    p[1] = 0;
    Put16(&p, 2, static_cast<uint32_t>(p.size()));
    Put16(&p, 6, 0x4000);
    p[8] = 1;
    p[9] = protocol;
    memcpy(&p[12], kSource4.data(), 4);
    memcpy(&p[16], kTo4.data(), 4);
  } else {
    p[0] = 0x60;
    Put16(&p, 4, static_cast<uint32_t>(p.size() - 40));
    p[6] = options ? 60 : protocol;
    p[7] = 1;
    if (options) {
      p[40] = protocol;
      p[41] = static_cast<uint8_t>(options / 8 - 1);
    }
    memcpy(&p[8], kSource6.data(), 16);
    memcpy(&p[24], kTo6.data(), 16);
  }
  return {p, upper};
}

// From copies of exactly the sizes agreed, so that AddressSanitizer sees a step beyond them.
Bytes Answer(IcmpError error, const Bytes& offender, const Address& source, uint32_t mtu = 0) {
  auto copy = std::make_unique<uint8_t[]>(offender.size());
  memcpy(copy.get(), offender.data(), offender.size());
  Inner inner{};
  REQUIRE(ParseInner(copy.get(), offender.size(), &inner) == Drop::kNone);
  auto out = std::make_unique<uint8_t[]>(kMaxIcmp);
  memset(out.get(), 0xee, kMaxIcmp);
  const size_t length = BuildIcmpError(error, source, copy.get(), inner, mtu, out.get());
  REQUIRE(length <= kMaxIcmp);
  return Bytes(out.get(), out.get() + length);
}

Bytes Answer(IcmpError error, const Bytes& offender, uint32_t mtu = 0) {
  return Answer(error, offender, Of(offender[0] >> 4 == 4 ? kOurs4 : kOurs6), mtu);
}

constexpr IcmpError kAll[] = {IcmpError::kNetUnreachable, IcmpError::kTimeExceeded, IcmpError::kTooBig};

// None of the errors is answered, or all are.
bool Answered(const Bytes& offender) {
  size_t given = 0;
  for (const IcmpError error : kAll) given += !Answer(error, offender).empty();
  REQUIRE((given == 0 || given == 3));
  return given == 3;
}

bool IsAddress(const Bytes& packet, size_t at, const Bytes& address) {
  return memcmp(&packet[at], address.data(), address.size()) == 0;
}

}  // namespace

TEST_CASE("an ICMP error of IPv4, byte by byte") {
  struct {
    IcmpError error;
    uint8_t type, code;
    uint32_t mtu, rest;
  } const cases[] = {{IcmpError::kNetUnreachable, 3, 0, 1400, 0},
                     {IcmpError::kTimeExceeded, 11, 0, 1400, 0},
                     {IcmpError::kTooBig, 3, 4, 1400, 1400},
                     {IcmpError::kTooBig, 3, 4, 65535, 65535},
                     {IcmpError::kTooBig, 3, 4, 65536 + 9, 65535}};
  for (const auto& c : cases) {
    Bytes offender = Packet(true, 17, 100).bytes;
    offender[1] = 0xff;
    const Bytes answer = Answer(c.error, offender, c.mtu);
    REQUIRE(answer.size() == 28 + offender.size());
    CHECK(answer[0] == 0x45);
    CHECK(answer[1] == 0xdc);  // the same TOS, precedence of internetwork control, no ECN
    CHECK(Get16(answer, 2) == answer.size());
    CHECK(Get16(answer, 4) == 0);
    CHECK(Get16(answer, 6) == 0x4000);
    CHECK(answer[8] == 64);
    CHECK(answer[9] == 1);
    CHECK(NaiveSum(answer.data(), 20) == 0xffff);
    CHECK(IsAddress(answer, 12, kOurs4));
    CHECK(IsAddress(answer, 16, kSource4));
    CHECK(answer[20] == c.type);
    CHECK(answer[21] == c.code);
    CHECK(NaiveSum(&answer[20], answer.size() - 20) == 0xffff);
    CHECK(Get32(answer, 24) == c.rest);
    CHECK(Bytes(answer.begin() + 28, answer.end()) == offender);
  }
}

TEST_CASE("an ICMPv6 error, byte by byte") {
  struct {
    IcmpError error;
    uint8_t type;
    uint32_t mtu, rest;
  } const cases[] = {{IcmpError::kNetUnreachable, 1, 1400, 0},
                     {IcmpError::kTimeExceeded, 3, 1400, 0},
                     {IcmpError::kTooBig, 2, 1400, 1400},
                     {IcmpError::kTooBig, 2, 70000, 70000}};
  for (const auto& c : cases) {
    const Bytes offender = Packet(false, 17, 101).bytes;
    const Bytes answer = Answer(c.error, offender, c.mtu);
    REQUIRE(answer.size() == 48 + offender.size());
    CHECK((answer[0] & 0xf0) == 0x60);
    CHECK((Get32(answer, 0) & 0xfffff) == 0);
    CHECK((answer[1] & 0x30) == 0);  // no ECN
    CHECK(Get16(answer, 4) == answer.size() - 40);
    CHECK(answer[6] == 58);
    CHECK(answer[7] == 64);
    CHECK(IsAddress(answer, 8, kOurs6));
    CHECK(IsAddress(answer, 24, kSource6));
    CHECK(answer[40] == c.type);
    CHECK(answer[41] == 0);
    uint32_t sum = NaiveSum(&answer[8], 32) + 58;
    sum = NaiveSum(&answer[40], answer.size() - 40, sum + static_cast<uint32_t>(answer.size()) - 40);
    CHECK(sum == 0xffff);
    CHECK(Get32(answer, 44) == c.rest);
    CHECK(Bytes(answer.begin() + 48, answer.end()) == offender);
  }
}

TEST_CASE("how much is quoted") {
  for (const bool four : {true, false}) {
    const uint32_t headers = four ? 28 : 48, most = four ? 576 : 1280, own = four ? 20 : 40;
    const uint32_t fits = most - headers;
    for (const uint32_t length : {own, own + 1, own + 8, fits - 1, fits, fits + 1, 65535u}) {
      const Bytes offender = Packet(four, 17, length - own).bytes;
      for (const IcmpError error : kAll) {
        const Bytes answer = Answer(error, offender);
        REQUIRE(answer.size() == std::min(headers + length, most));
        REQUIRE(memcmp(&answer[headers], offender.data(), answer.size() - headers) == 0);
      }
    }
  }
}

TEST_CASE("no answer from an address of another family, or none") {
  const Bytes four = Packet(true, 17, 20).bytes, six = Packet(false, 17, 20).bytes;
  for (const IcmpError error : kAll) {
    CHECK(!Answer(error, four, Of(kOurs4)).empty());
    CHECK(Answer(error, four, Of(kOurs6)).empty());
    CHECK(Answer(error, four, Address{}).empty());
    CHECK(!Answer(error, six, Of(kOurs6)).empty());
    CHECK(Answer(error, six, Of(kOurs4)).empty());
    CHECK(Answer(error, six, Address{}).empty());
  }
}

TEST_CASE("no answer to an ICMP error, whatever stands before it; one to every other message") {
  for (const uint32_t options : {0u, 8u, 24u}) {
    for (int type = 0; type < 256; type++) {
      for (const bool four : {true, false}) {
        Offender offender = Packet(four, four ? 1 : 58, 16, options);
        offender.bytes[offender.upper] = static_cast<uint8_t>(type);
        const bool error = four ? type == 3 || type == 4 || type == 5 || type == 11 || type == 12
                                : type < 128 || type == 137;
        REQUIRE(Answered(offender.bytes) == !error);
        // The other family's ICMP is not one.
        offender = Packet(four, four ? 58 : 1, 16, options);
        offender.bytes[offender.upper] = static_cast<uint8_t>(type);
        REQUIRE(Answered(offender.bytes));
      }
    }
  }
}

TEST_CASE("no answer to an ICMP message too short to tell whether it is an error") {
  for (const bool four : {true, false}) {
    const uint8_t icmp = four ? 1 : 58;
    CHECK(!Answered(Packet(four, icmp, 0).bytes));
    Offender offender = Packet(four, icmp, 1);
    offender.bytes[offender.upper] = four ? 8 : 128;
    CHECK(Answered(offender.bytes));
    CHECK(Answered(Packet(four, 17, 0).bytes));
  }
}

TEST_CASE("no answer to a fragment but the first") {
  for (const uint8_t protocol : {uint8_t{17}, uint8_t{1}}) {
    Offender offender = Packet(true, protocol, 16);
    offender.bytes[20] = 8;
    const auto with = [&](uint32_t field) {
      Put16(&offender.bytes, 6, field);
      return Answer(IcmpError::kTimeExceeded, offender.bytes).size();
    };
    CHECK(with(0) != 0);
    CHECK(with(0x2000) != 0);
    CHECK(with(0x2002) == 0);
    CHECK(with(2) == 0);
  }
  Offender offender = Packet(false, 17, 16, 8);
  offender.bytes[6] = 44;
  const auto with = [&](uint32_t field) {
    Put16(&offender.bytes, 42, field);
    return Answered(offender.bytes);
  };
  CHECK(with(0));
  CHECK(with(1));
  CHECK(!with(2 << 3));
  CHECK(!with(2 << 3 | 1));
}

TEST_CASE("no answer from or to an address that is not one host's") {
  struct {
    Bytes address;
    bool answered;
  } const cases[] = {
      {{0, 0, 0, 0}, false},
      {{0, 0, 0, 1}, true},
      {{126, 255, 255, 255}, true},
      {{127, 0, 0, 0}, false},
      {{127, 255, 255, 255}, false},
      {{128, 0, 0, 0}, true},
      {{223, 255, 255, 255}, true},
      {{224, 0, 0, 0}, false},
      {{239, 255, 255, 255}, false},
      {{240, 0, 0, 0}, true},  // used in clusters, though reserved
      {{255, 255, 255, 254}, true},
      {{255, 255, 255, 255}, false},
      {Six({}, 0), false},
      {Six({}, 1), false},
      {Six({}, 2), true},
      {Six({0, 1}, 1), true},
      {Six({0xfe, 0x80}, 0), true},
      {Six({0xfe, 0xff}, 1), true},
      {Six({0xff, 0x00}, 1), false},
      {Six({0xff, 0x02}, 1), false},
      {Six({0xff, 0xff}, 0xff), false},
  };
  for (const auto& c : cases) {
    const bool four = c.address.size() == 4;
    for (const size_t at : {four ? 12u : 8u, four ? 16u : 24u}) {
      Bytes offender = Packet(four, 17, 20).bytes;
      memcpy(&offender[at], c.address.data(), c.address.size());
      CHECK(Answered(offender) == c.answered);
    }
  }
}

TEST_CASE("an IPv4 packet without DF is never too big") {
  Bytes offender = Packet(true, 17, 20).bytes;
  CHECK(!Answer(IcmpError::kTooBig, offender, 1400).empty());
  Put16(&offender, 6, 0);
  CHECK(Answer(IcmpError::kTooBig, offender, 1400).empty());
  CHECK(!Answer(IcmpError::kTimeExceeded, offender, 1400).empty());
  CHECK(!Answer(IcmpError::kNetUnreachable, offender, 1400).empty());
}

TEST_CASE("random packets never lead beyond the offender or the answer, and what is answered has its sums right") {
  std::mt19937 random(1);
  uint32_t answered = 0;
  for (int round = 0; round < 30000; round++) {
    const bool four = random() % 2;
    Bytes p(40 + random() % (random() % 4 ? 100 : 2000));
    for (auto& byte : p) byte = static_cast<uint8_t>(random());
    p[0] = four ? static_cast<uint8_t>(0x45 + random() % 6) : 0x60;
    Put16(&p, four ? 2 : 4, static_cast<uint32_t>(p.size() - (four ? 0 : 40)));
    if (four) Put16(&p, 6, random() % 2 ? 0x4000 : 0);
    if (!four && random() % 2) p[6] = 60;
    Inner inner{};
    if (ParseInner(p.data(), p.size(), &inner) != Drop::kNone) continue;
    const Bytes answer = Answer(kAll[random() % 3], p, random());
    if (answer.empty()) continue;
    answered++;
    if (four) {
      REQUIRE(NaiveSum(answer.data(), 20) == 0xffff);
      REQUIRE(NaiveSum(&answer[20], answer.size() - 20) == 0xffff);
    } else {
      const uint32_t pseudo = NaiveSum(&answer[8], 32) + 58 + static_cast<uint32_t>(answer.size()) - 40;
      REQUIRE(NaiveSum(&answer[40], answer.size() - 40, pseudo) == 0xffff);
    }
  }
  CHECK(answered > 5000);
}

TEST_CASE("a bucket gives its burst at once and then its rate") {
  TokenBucket bucket(4, 3);
  const double start = 1e6;
  for (int i = 0; i < 3; i++) CHECK(bucket.Take(start));
  CHECK(!bucket.Take(start));
  CHECK(!bucket.Take(start + 0.125));
  CHECK(bucket.Take(start + 0.25));
  CHECK(!bucket.Take(start + 0.25));
  // Halves are kept.
  CHECK(!bucket.Take(start + 0.375));
  CHECK(bucket.Take(start + 0.5));
}

TEST_CASE("a bucket left alone holds its burst and no more") {
  TokenBucket bucket(1000, 2);
  for (int round = 1; round < 4; round++) {
    const double now = round * 1000.0;
    CHECK(bucket.Take(now));
    CHECK(bucket.Take(now));
    CHECK(!bucket.Take(now));
  }
}

TEST_CASE("a clock that goes back gives nothing, and nothing twice") {
  TokenBucket bucket(1, 1);
  CHECK(bucket.Take(100));
  CHECK(!bucket.Take(50));
  CHECK(!bucket.Take(100));
  CHECK(bucket.Take(101));

  TokenBucket held(1, 2);
  CHECK(held.Take(100));
  CHECK(held.Take(50));
  CHECK(!held.Take(50));
}

TEST_CASE("a bucket over a long time gives rate times time") {
  TokenBucket bucket(100, 10);
  uint32_t given = 0;
  for (uint32_t i = 0; i <= 64 * 64; i++) given += bucket.Take(1 + i / 64.0 / 4);
  CHECK(given >= 10 + 1600 - 1);
  CHECK(given <= 10 + 1600);
}

TEST_CASE("a bucket of nothing gives nothing") {
  TokenBucket none(0, 0), less(1000, 0.5);
  CHECK(!none.Take(1));
  CHECK(!none.Take(1e9));
  CHECK(!less.Take(1e9));
}
