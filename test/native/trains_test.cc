// Trains are what the kernel takes by one call.
#include "core/trains.h"

#include <doctest/doctest.h>

#include <vector>

using namespace loden::core;

namespace {

std::vector<std::vector<uint32_t>> Shapes(Trains& trains) {
  std::vector<std::vector<uint32_t>> out;
  for (const Train& train : trains) out.push_back({train.packets, train.bytes, train.size});
  return out;
}

const uint8_t kBytes[65536] = {};

}  // namespace

TEST_CASE("trains: a packet that no train can hold leaves alone, and takes none along") {
  const Peer peer{7, {}, {}};
  Trains trains;
  for (const uint32_t size : {65535u, 100u, 100u, 30u, 30u}) REQUIRE(trains.Append(&peer, nullptr, 0, kBytes, size));
  CHECK(Shapes(trains) == std::vector<std::vector<uint32_t>>{{1, 65535, 65535}, {3, 230, 100}, {1, 30, 30}});
}

TEST_CASE("trains: 65,507 bytes, 64 packets and a shorter packet end one") {
  const Peer peer{7, {}, {}}, other{7 + 64, {}, {}};
  Trains trains;
  for (int i = 0; i < 45; ++i) REQUIRE(trains.Append(&peer, nullptr, 0, kBytes, 1472));
  for (int i = 0; i < 65; ++i) REQUIRE(trains.Append(&other, kBytes, 20, kBytes, 8));
  REQUIRE(trains.Append(&peer, nullptr, 0, kBytes, 1472));
  CHECK(Shapes(trains) == std::vector<std::vector<uint32_t>>{
                              {44, 44 * 1472, 1472}, {1, 1472, 1472}, {64, 64 * 28, 28}, {1, 28, 28}, {1, 1472, 1472}});
  CHECK(trains.begin()[2].part_count == 128);
}

TEST_CASE("trains: full is told, and empty again after Clear") {
  const Peer peer{7, {}, {}};
  Trains trains;
  trains.set_max_packets(1);
  for (uint32_t i = 0; i < kMaxTrains; ++i) REQUIRE(trains.Append(&peer, nullptr, 0, kBytes, 28));
  CHECK(!trains.Append(&peer, nullptr, 0, kBytes, 28));
  uint32_t headers = 0;
  while (trains.Headers(60) != nullptr) ++headers;
  CHECK(headers > kMaxTrainPackets);
  trains.Clear();
  CHECK(trains.empty());
  CHECK(trains.Headers(60) != nullptr);
  CHECK(trains.Append(&peer, nullptr, 0, kBytes, 28));
}
