#include "core/table_swap.h"

#include <doctest/doctest.h>

#include <atomic>
#include <memory>
#include <random>
#include <thread>
#include <vector>

namespace {

using loden::core::Peer;
using loden::core::Table;
using loden::core::TableSwap;

// A table with `peers` peers, of which number i has 10.0.i.0/24 and slot (first_slot + i): every part of it says which it is.
std::unique_ptr<const Table> MakeTable(uint8_t peers, uint16_t first_slot) {
  std::vector<uint8_t> bytes = {'L', 'o', 'd', 'e', 'n', 'F', 'T', '1', 0xc0, 5, 0, 0, peers, 0, 0, 0, peers, 0, 0, 0};
  bytes.resize(90);
  for (uint8_t i = 0; i < peers; i++) {
    const auto slot = static_cast<uint16_t>(first_slot + i);
    bytes.insert(bytes.end(), {static_cast<uint8_t>(slot), static_cast<uint8_t>(slot >> 8), 0, 0});
    bytes.resize(bytes.size() + 34);
  }
  for (uint8_t i = 0; i < peers; i++) {
    bytes.insert(bytes.end(), {i, 0, 0, 0, 4, 10, 0, i});
    bytes.resize(bytes.size() + 13);
    bytes.push_back(24);
  }
  const char* why = nullptr;
  auto table = Table::Parse(bytes, &why);
  REQUIRE_MESSAGE(table != nullptr, why);
  return table;
}

// Does every part of it say the same?
bool Whole(const Table& table) {
  const auto peers = table.peers();
  for (size_t i = 0; i < peers.size(); i++) {
    const uint8_t address[4] = {10, 0, static_cast<uint8_t>(i), 1};
    const Peer* peer = table.PeerOf(4, address);
    if (peer != &peers[i] || peer->slot != peers[0].slot + i) return false;
  }
  return true;
}

}  // namespace

TEST_CASE("table swap: an empty table is in force at first") {
  TableSwap swap(2);
  const Table* table = swap.Enter(1);
  REQUIRE(table != nullptr);
  CHECK(table->peers().empty());
  swap.Leave(1);
}

TEST_CASE("table swap: a table is kept as long as a reader may see it, and no longer") {
  TableSwap swap(3);
  swap.Publish(MakeTable(1, 1));
  CHECK(swap.retired() == 0);  // nobody is inside

  const Table* seen = swap.Enter(0);
  CHECK(seen->peers()[0].slot == 1);
  swap.Publish(MakeTable(1, 2));
  CHECK(swap.retired() == 1);
  CHECK(seen->peers()[0].slot == 1);
  const Table* later = swap.Enter(2);
  CHECK(later->peers()[0].slot == 2);
  swap.Publish(MakeTable(1, 3));
  CHECK(swap.retired() == 2);
  CHECK(seen->peers()[0].slot == 1);
  CHECK(later->peers()[0].slot == 2);

  swap.Leave(0);
  CHECK(swap.retired() == 2);  // only the writer frees
  swap.Reclaim();
  CHECK(swap.retired() == 1);
  CHECK(later->peers()[0].slot == 2);
  CHECK(swap.Enter(0)->peers()[0].slot == 3);
  swap.Reclaim();
  CHECK(swap.retired() == 1);
  swap.Leave(2);
  swap.Publish(MakeTable(1, 4));
  CHECK(swap.retired() == 1);  // the third, which reader 0 sees
  swap.Leave(0);
  swap.Reclaim();
  CHECK(swap.retired() == 0);
}

TEST_CASE("table swap: a reader that sleeps outside holds nothing back") {
  TableSwap swap(4);
  for (int reader = 0; reader < 4; reader++) {
    swap.Enter(reader);
    swap.Leave(reader);
  }
  for (uint16_t i = 0; i < 100; i++) {
    swap.Publish(MakeTable(1, i));
    CHECK(swap.retired() == 0);
  }
}

TEST_CASE("table swap: what is kept is freed in the end") {
  // The sanitizer counts.
  TableSwap swap(1);
  swap.Enter(0);
  for (uint16_t i = 0; i < 10; i++) swap.Publish(MakeTable(3, i));
  CHECK(swap.retired() == 10);
  swap.Leave(0);
}

TEST_CASE("table swap: readers see whole, living, ever newer tables while they are replaced") {
  constexpr int kReaders = 3, kSwaps = 20'000;
  TableSwap swap(kReaders);
  std::atomic<bool> done{false};
  std::atomic<int> torn{0}, older{0}, inside{0};
  std::vector<std::thread> threads;
  for (int reader = 0; reader < kReaders; reader++) {
    threads.emplace_back([&, reader] {
      std::mt19937 random(static_cast<unsigned>(reader));
      uint32_t newest = 0;
      while (!done.load(std::memory_order_relaxed)) {
        const Table* table = swap.Enter(reader);
        if (!table->peers().empty()) {
          const uint32_t slot = table->peers()[0].slot;
          if (slot < newest) older++;
          newest = slot;
        }
        for (unsigned looks = 1 + random() % 4; looks > 0; looks--) {
          if (!Whole(*table)) torn++;
          if (random() % 8 == 0) std::this_thread::yield();
        }
        swap.Leave(reader);
        inside++;
        if (random() % 16 == 0) std::this_thread::yield();
      }
    });
  }
  std::mt19937 random(99);
  for (int i = 0; i < kSwaps; i++) {
    swap.Publish(MakeTable(static_cast<uint8_t>(1 + random() % 5), static_cast<uint16_t>(i)));
    if (random() % 4 == 0) std::this_thread::yield();
    if (random() % 8 == 0) swap.Reclaim();
  }
  // The readers have had their share, however slow the machine is.
  while (inside.load() < 20'000) std::this_thread::yield();
  done = true;
  for (std::thread& t : threads) t.join();
  swap.Reclaim();
  CHECK(swap.retired() == 0);
  CHECK(torn == 0);
  CHECK(older == 0);
}

TEST_CASE("table swap: a reader's mark is seen before it reads which table is in force") {
  // The order of a store and a later load, which processors swap: it shows only where both threads do nothing else.
  TableSwap swap(1);
  std::atomic<bool> done{false}, started{false};
  int wrong = 0;
  std::thread reader([&] {
    while (!done.load(std::memory_order_relaxed)) {
      const Table* table = swap.Enter(0);
      for (int looks = 0; looks < 20; looks++) {
        const volatile Table* again = table;  // read each time
        if (!const_cast<const Table*>(again)->peers().empty() || table->mtu() != 0) wrong++;
      }
      swap.Leave(0);
      started = true;
    }
  });
  while (!started) std::this_thread::yield();
  for (int i = 0; i < 300'000; i++) swap.Publish(Table::Empty());
  done = true;
  reader.join();
  CHECK(wrong == 0);
}
