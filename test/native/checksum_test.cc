#include "core/checksum.h"

#include <doctest/doctest.h>

#include <cstring>
#include <memory>
#include <random>
#include <vector>

using namespace loden::core;

namespace {

// RFC 1071 word by word.
uint16_t Naive(const uint8_t* data, size_t length) {
  uint32_t sum = 0;
  for (size_t i = 0; i < length; i++) {
    sum += i % 2 == 0 ? static_cast<uint32_t>(data[i]) << 8 : data[i];
    sum = (sum & 0xffff) + (sum >> 16);
  }
  return static_cast<uint16_t>(sum);
}

// Bytes on the heap, exactly as many, so that a read beyond them is seen under AddressSanitizer.
std::unique_ptr<uint8_t[]> Exactly(const std::vector<uint8_t>& bytes) {
  auto copy = std::make_unique<uint8_t[]>(bytes.size());
  if (!bytes.empty()) memcpy(copy.get(), bytes.data(), bytes.size());
  return copy;
}

}  // namespace

TEST_CASE("the sum of RFC 1071's example") {
  const uint8_t bytes[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
  CHECK(Fold(SumOf(bytes, 8)) == 0xddf2);
  CHECK(Finish(SumOf(bytes, 8)) == 0x220d);
}

TEST_CASE("every length and alignment equals the sum word by word") {
  std::mt19937 random(1);
  std::vector<uint8_t> bytes(700);
  for (auto& byte : bytes) byte = static_cast<uint8_t>(random());
  for (size_t at = 0; at < 17; at++) {
    for (size_t length = 0; length + at <= 600; length++) {
      REQUIRE(Fold(SumOf(bytes.data() + at, length)) == Naive(bytes.data() + at, length));
    }
  }
}

TEST_CASE("nothing is read beyond the bytes") {
  for (size_t length = 0; length < 300; length++) {
    const std::vector<uint8_t> bytes(length, 0xab);
    REQUIRE(Fold(SumOf(Exactly(bytes).get(), length)) == Naive(bytes.data(), length));
  }
}

TEST_CASE("no carry is lost in long rows of 0xff, and 0 stays 0") {
  for (const size_t length : {2, 8, 64, 65, 1448, 65534, 65535, 65536, 1 << 20}) {
    const std::vector<uint8_t> ones(length, 0xff), zeros(length, 0);
    CHECK(Fold(SumOf(ones.data(), length)) == Naive(ones.data(), length));
    CHECK(Fold(SumOf(zeros.data(), length)) == 0);
  }
}

TEST_CASE("random bytes with many zeros and ones equal the sum word by word") {
  std::mt19937 random(2);
  for (int round = 0; round < 2000; round++) {
    std::vector<uint8_t> bytes(random() % 4000);
    const uint32_t kind = random() % 3;
    for (auto& byte : bytes) {
      const uint32_t r = random();
      byte = kind == 0 ? static_cast<uint8_t>(r) : kind == 1 ? (r % 8 ? 0xff : 0xfe) : (r % 8 ? 0 : 1);
    }
    REQUIRE(Fold(SumOf(bytes.data(), bytes.size())) == Naive(bytes.data(), bytes.size()));
  }
}

TEST_CASE("sums of pieces add up when all but the last are even") {
  std::mt19937 random(3);
  std::vector<uint8_t> bytes(5001);
  for (auto& byte : bytes) byte = static_cast<uint8_t>(random());
  for (int round = 0; round < 500; round++) {
    const size_t cut = random() % 2500 * 2;
    REQUIRE(Fold(SumOf(bytes.data(), cut) + SumOf(bytes.data() + cut, bytes.size() - cut)) ==
            Naive(bytes.data(), bytes.size()));
  }
}

TEST_CASE("folding keeps the value modulo 65,535 and is 0 only of 0") {
  std::mt19937_64 random(4);
  CHECK(Fold(0) == 0);
  CHECK(Fold(0xffff) == 0xffff);
  CHECK(Fold(0x10000) == 1);
  CHECK(Fold(UINT64_MAX) == 0xffff);
  CHECK(Fold(0xffffffff00010000) == 1);  // a carry out of every step
  for (int round = 0; round < 10000; round++) {
    const uint64_t v = random() >> (random() % 64);
    REQUIRE(Fold(v) % 0xffff == v % 0xffff);
    REQUIRE((Fold(v) == 0) == (v == 0));
  }
}

TEST_CASE("the pseudo headers of RFC 793 and RFC 8200 8.1") {
  std::mt19937 random(5);
  uint8_t ip[40];
  for (auto& byte : ip) byte = static_cast<uint8_t>(random());
  for (const uint32_t length : {0u, 1u, 20u, 65535u, 65536u, 70000u}) {
    uint8_t pseudo[40] = {};
    memcpy(pseudo, ip + 12, 8);
    pseudo[9] = 17;
    Store16(pseudo + 10, static_cast<uint16_t>(length));
    if (length < 65536) CHECK(Fold(PseudoHeaderSum(ip, 4, 17, length)) == Naive(pseudo, 12));
    memset(pseudo, 0, sizeof pseudo);
    memcpy(pseudo, ip + 8, 32);
    Store32(pseudo + 32, length);
    pseudo[39] = 58;
    CHECK(Fold(PseudoHeaderSum(ip, 6, 58, length)) == Naive(pseudo, 40));
  }
}
