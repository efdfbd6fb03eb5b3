#include "core/answers.h"

#include <doctest/doctest.h>

#include <cstring>
#include <memory>
#include <vector>

using namespace loden::core;

namespace {

// Nobody has anything; our device has 10.0.1.0.
std::unique_ptr<const Table> TableOfOne() {
  std::vector<uint8_t> bytes(8 + 12 + 2 * 17 + 2 * 18);
  memcpy(bytes.data(), "LodenFT1\xc0\x05", 10);  // an MTU of 1472
  const uint8_t tun4[] = {4, 10, 0, 1, 0};
  memcpy(bytes.data() + 20, tun4, sizeof tun4);
  const char* why = nullptr;
  return Table::Parse(bytes, &why);
}

}  // namespace

TEST_CASE("answers: a flood of one kind of error leaves the others") {
  WorkerCounters counters;
  Answers answers(counters);
  const auto table = TableOfOne();
  REQUIRE(table != nullptr);
  std::vector<uint8_t> packet(1000);
  const uint8_t header[] = {0x45, 0, 1000 >> 8, 1000 & 0xff, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 1, 2, 10, 0, 2, 2};
  memcpy(packet.data(), header, sizeof header);
  Inner inner;
  REQUIRE(ParseInner(packet.data(), packet.size(), &inner) == Drop::kNone);

  // As fast as we can, until one is withheld: more than 1,000 a second on any machine.
  for (int i = 0; i < 1'000'000 && counters.icmp_suppressed.Get() == 0; ++i) {
    (void)answers.Build(IcmpError::kNetUnreachable, *table, packet.data(), inner, 0);
  }
  CHECK(counters.icmp_suppressed.Get() == 1);
  CHECK(answers.Build(IcmpError::kTooBig, *table, packet.data(), inner, 900) == 576);
  CHECK(counters.icmp_suppressed.Get() == 1);
}
