#include "core/prefix_table.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdio>
#include <initializer_list>
#include <random>
#include <string>
#include <vector>

namespace {

using loden::core::Address;
using loden::core::Contains;
using loden::core::Prefix;
using loden::core::PrefixTable;
using loden::core::WidthOf;
using Entry = PrefixTable::Entry;
using Random = std::mt19937_64;

Prefix P4(uint8_t a, uint8_t b, uint8_t c, uint8_t d, uint8_t length) { return {{4, {a, b, c, d}}, length}; }

Prefix P6(std::initializer_list<uint16_t> groups, uint8_t length) {
  Prefix prefix{{6, {}}, length};
  int i = 0;
  for (const uint16_t g : groups) {
    prefix.address.bytes[i++] = static_cast<uint8_t>(g >> 8);
    prefix.address.bytes[i++] = static_cast<uint8_t>(g);
  }
  return prefix;
}

// Shares nothing with what is tested.
bool Holds(const Prefix& p, const Address& a) {
  if (p.address.family != a.family) return false;
  int i = 0;
  for (; i + 8 <= p.length; i += 8) {
    if (p.address.bytes[i / 8] != a.bytes[i / 8]) return false;
  }
  for (; i < p.length; i++) {
    if ((p.address.bytes[i / 8] ^ a.bytes[i / 8]) >> (7 - i % 8) & 1) return false;
  }
  return true;
}

uint32_t Scan(const std::vector<Entry>& entries, const Address& address) {
  const Entry* best = nullptr;
  for (const Entry& e : entries) {
    if (Holds(e.prefix, address) && (best == nullptr || e.prefix.length > best->prefix.length)) best = &e;
  }
  return best == nullptr ? PrefixTable::kNone : best->value;
}

void SetBit(Address& a, int bit, bool to) {
  const uint8_t mask = static_cast<uint8_t>(0x80 >> bit % 8);
  a.bytes[bit / 8] = static_cast<uint8_t>(to ? a.bytes[bit / 8] | mask : a.bytes[bit / 8] & ~mask);
}

Address First(const Prefix& p) {
  Address a = p.address;
  for (int i = p.length; i < static_cast<int>(WidthOf(a.family)); i++) SetBit(a, i, false);
  return a;
}

Address Last(const Prefix& p) {
  Address a = p.address;
  for (int i = p.length; i < static_cast<int>(WidthOf(a.family)); i++) SetBit(a, i, true);
  return a;
}

// One up or down, around at the ends.
Address Stepped(Address a, int by) {
  for (int i = static_cast<int>(WidthOf(a.family)) / 8 - 1; i >= 0; i--) {
    const int sum = a.bytes[i] + by;
    a.bytes[i] = static_cast<uint8_t>(sum);
    if (sum >= 0 && sum <= 255) break;
  }
  return a;
}

Address RandomAddress(Random& random, uint8_t family) {
  Address a{family, {}};
  for (unsigned i = 0; i < WidthOf(family) / 8; i++) a.bytes[i] = static_cast<uint8_t>(random());
  return a;
}

// Prefixes that share bits, nest and double: each begins as one before it, or as one address all have, up to a random bit.
std::vector<Entry> RandomEntries(Random& random) {
  std::vector<Entry> entries;
  const size_t count = random() % 4 == 0 ? random() % 4 : random() % 300;
  for (const uint8_t family : {4, 6}) {
    const unsigned width = WidthOf(family);
    const Address base = RandomAddress(random, family);
    const unsigned shared = random() % (width + 1);
    const unsigned shortest = random() % 3 == 0 ? 0 : random() % (width + 1);
    const size_t from = entries.size();
    for (size_t n = 0; n < count; n++) {
      Prefix p{RandomAddress(random, family), static_cast<uint8_t>(shortest + random() % (width - shortest + 1))};
      const bool relative = entries.size() > from && random() % 3 != 0;
      const Address& model = relative ? entries[from + random() % (entries.size() - from)].prefix.address : base;
      const unsigned same = relative ? random() % (width + 1) : shared;
      for (unsigned i = 0; i < same; i++) SetBit(p.address, static_cast<int>(i), model.bytes[i / 8] >> (7 - i % 8) & 1);
      if (random() % 100 == 0) p.length = 0;
      if (random() % 100 == 0) p.length = static_cast<uint8_t>(width);
      p.address = First(p);
      entries.push_back({p, static_cast<uint32_t>(random() % 3 == 0 ? random() % 4 : entries.size())});
      if (random() % 20 == 0) entries.push_back({p, static_cast<uint32_t>(random() % 1000)});
    }
  }
  std::shuffle(entries.begin(), entries.end(), random);
  return entries;
}

uint32_t Find(const PrefixTable& table, const Address& a) { return table.Find(a.family, a.bytes); }

int Lines(const PrefixTable& table, const Address& a) {
  int lines = -1;
  if (table.FindCounting(a.family, a.bytes, &lines) != Find(table, a)) FAIL_CHECK("counting finds another value");
  return lines;
}

std::string Text(const Address& a) {
  std::string text;
  for (unsigned i = 0; i < WidthOf(a.family) / 8; i++) {
    char part[4];
    snprintf(part, sizeof part, "%02x", a.bytes[i]);
    text += part;
  }
  return text;
}

}  // namespace

TEST_CASE("prefix table: an empty one has nothing") {
  const PrefixTable unbuilt;
  const PrefixTable empty{std::span<const Entry>{}};
  Random random(1);
  for (int i = 0; i < 100; i++) {
    for (const uint8_t family : {4, 6}) {
      CHECK(Find(unbuilt, RandomAddress(random, family)) == PrefixTable::kNone);
      CHECK(Find(empty, RandomAddress(random, family)) == PrefixTable::kNone);
    }
  }
  CHECK(empty.size() == 0);
}

TEST_CASE("prefix table: a default route alone and below others") {
  const Entry alone[] = {{P4(0, 0, 0, 0, 0), 7}};
  CHECK(Find(PrefixTable(alone), {4, {1, 2, 3, 4}}) == 7);
  CHECK(Find(PrefixTable(alone), P6({0x2001}, 16).address) == PrefixTable::kNone);

  const Entry nested[] = {{P4(10, 1, 2, 3, 32), 4}, {P4(0, 0, 0, 0, 0), 1}, {P4(10, 0, 0, 0, 8), 2},
                          {P4(10, 1, 2, 0, 24), 3}, {P6({}, 0), 11},       {P6({0xfd00, 1, 2, 3, 0, 0, 0, 1}, 128), 12}};
  const PrefixTable table(nested);
  CHECK(Find(table, {4, {9, 255, 255, 255}}) == 1);
  CHECK(Find(table, {4, {10, 0, 0, 0}}) == 2);
  CHECK(Find(table, {4, {10, 1, 2, 2}}) == 3);
  CHECK(Find(table, {4, {10, 1, 2, 3}}) == 4);
  CHECK(Find(table, {4, {10, 1, 2, 4}}) == 3);
  CHECK(Find(table, {4, {10, 1, 3, 0}}) == 2);
  CHECK(Find(table, {4, {11, 0, 0, 0}}) == 1);
  CHECK(Find(table, P6({0xfd00, 1, 2, 3, 0, 0, 0, 1}, 128).address) == 12);
  CHECK(Find(table, P6({0xfd00, 1, 2, 3, 0, 0, 0, 0}, 128).address) == 11);
  CHECK(table.size() == 6);
}

TEST_CASE("prefix table: one host route, at both ends of the address space") {
  for (const uint8_t family : {4, 6}) {
    for (const uint8_t fill : {0, 255}) {
      Prefix p{{family, {}}, static_cast<uint8_t>(WidthOf(family))};
      std::fill_n(p.address.bytes, WidthOf(family) / 8, fill);
      const Entry one[] = {{p, 5}};
      const PrefixTable table(one);
      CHECK(Find(table, p.address) == 5);
      CHECK(Find(table, Stepped(p.address, 1)) == PrefixTable::kNone);
      CHECK(Find(table, Stepped(p.address, -1)) == PrefixTable::kNone);
    }
  }
}

TEST_CASE("prefix table: of two entries with one prefix the first counts") {
  const Entry twice[] = {{P4(10, 0, 0, 0, 24), 1}, {P4(10, 0, 1, 0, 24), 2}, {P4(10, 0, 0, 0, 24), 3}};
  const PrefixTable table(twice);
  CHECK(Find(table, {4, {10, 0, 0, 9}}) == 1);
  CHECK(table.size() == 2);
}

TEST_CASE("prefix table: what is no prefix does not count; bits beyond the length neither") {
  const Entry odd[] = {{P4(10, 0, 0, 0, 33), 1}, {{{0, {}}, 0}, 2},  {{{5, {}}, 0}, 3}, {P6({1}, 129), 4},
                       {P4(0, 0, 0, 0, 0), PrefixTable::kMaxValue + 1}, {P4(10, 0, 0, 77, 24), PrefixTable::kMaxValue},
                       {P4(10, 0, 4, 0, 30), 5}, {P4(10, 0, 4, 3, 30), 6}, {P6({1, 2, 3, 0, 9}, 64), 7}, {P6({1, 2, 3, 1}, 64), 8}};
  const PrefixTable table(odd);
  CHECK(table.size() == 4);
  CHECK(Find(table, {4, {10, 0, 4, 1}}) == 5);
  CHECK(Find(table, P6({1, 2, 3, 0, 8}, 128).address) == 7);
  CHECK(Find(table, {4, {10, 0, 0, 1}}) == PrefixTable::kMaxValue);
  CHECK(Find(table, {4, {10, 0, 1, 77}}) == PrefixTable::kNone);
}

TEST_CASE("prefix table: equal to a linear scan") {
  for (uint64_t seed = 0; seed < 150; seed++) {
    Random random(seed);
    const std::vector<Entry> entries = RandomEntries(random);
    const PrefixTable table(entries);
    std::vector<Address> asked;
    for (const Entry& e : entries) {
      asked.insert(asked.end(), {First(e.prefix), Last(e.prefix), Stepped(First(e.prefix), -1), Stepped(Last(e.prefix), 1)});
      Address near = First(e.prefix);  // the same but for one bit
      const int bit = static_cast<int>(random() % WidthOf(near.family));
      SetBit(near, bit, !(near.bytes[bit / 8] >> (7 - bit % 8) & 1));
      asked.push_back(near);
      Address inside = RandomAddress(random, near.family);
      for (int i = 0; i < e.prefix.length; i++) SetBit(inside, i, e.prefix.address.bytes[i / 8] >> (7 - i % 8) & 1);
      asked.push_back(inside);
    }
    for (int i = 0; i < 20; i++) asked.push_back(RandomAddress(random, random() % 2 ? 4 : 6));
    int wrong = 0;
    for (const Address& a : asked) {
      const uint32_t found = Find(table, a), wanted = Scan(entries, a);
      if (found == wanted) continue;
      if (wrong++ == 0) MESSAGE("seed ", seed, " address ", Text(a), ": ", found, ", the scan says ", wanted);
    }
    CHECK(wrong == 0);
  }
}

TEST_CASE("prefix table: 10,000 subnets are a few cache lines") {
  const auto most_lines = [](const std::vector<Entry>& entries) {
    const PrefixTable table(entries);
    int most = 0;
    for (const Entry& e : entries) {
      const Address inside = Last(e.prefix);
      if (Find(table, inside) != e.value) FAIL_CHECK("not found: ", Text(inside));
      most = std::max(most, Lines(table, inside));
    }
    return most;
  };
  Random random(3);
  std::vector<Entry> consecutive, spread, wide, sparse;
  for (uint32_t i = 0; i < 10'000; i++) {
    consecutive.push_back({P4(10, static_cast<uint8_t>(i >> 8), static_cast<uint8_t>(i), 0, 24), i});
    // Each sixth of 10.0.0.0/8, and of fd00::/48.
    const uint32_t far = i * 6;
    spread.push_back({P4(10, static_cast<uint8_t>(far >> 8), static_cast<uint8_t>(far), 0, 24), i});
    wide.push_back({P6({0xfd00, 0, 0, static_cast<uint16_t>(far)}, 64), i});
    sparse.push_back({P6({0xfd00, 0, static_cast<uint16_t>(random()), static_cast<uint16_t>(i)}, 64), i});
  }
  CHECK(most_lines(consecutive) == 1);
  CHECK(most_lines(spread) <= 3);
  CHECK(most_lines(wide) <= 3);
  // 32 bits of subnet number, the middle ones random.
  CHECK(most_lines(sparse) <= 5);
  // A default route does not push the entry up.
  std::vector<Entry> with_default = consecutive;
  with_default.push_back({P4(0, 0, 0, 0, 0), 10'000});
  const PrefixTable table(with_default);
  CHECK(Lines(table, {4, {10, 1, 2, 3}}) == 1);
  CHECK(Lines(table, {4, {192, 168, 0, 1}}) == 0);
  CHECK(Find(table, {4, {192, 168, 0, 1}}) == 10'000);
}

TEST_CASE("address: Contains is what the bits say") {
  Random random(5);
  for (int i = 0; i < 20'000; i++) {
    const uint8_t family = random() % 2 ? 4 : 6;
    Prefix p{RandomAddress(random, family), static_cast<uint8_t>(random() % (WidthOf(family) + 1))};
    p.address = First(p);
    for (Address a : {First(p), Last(p), Stepped(First(p), -1), Stepped(Last(p), 1), RandomAddress(random, family)}) {
      if (Contains(p, a) != Holds(p, a)) FAIL_CHECK("prefix ", Text(p.address), "/", p.length, " address ", Text(a));
      a.family = family == 4 ? 6 : 4;
      if (Contains(p, a)) FAIL_CHECK("another family is contained");
    }
  }
  CHECK(!Contains({{0, {}}, 0}, {0, {}}));
  CHECK(!Contains({{4, {}}, 33}, {4, {}}));
  CHECK(!Contains({{6, {}}, 129}, {6, {}}));
  CHECK(!Contains({{9, {}}, 0}, {9, {}}));
}
