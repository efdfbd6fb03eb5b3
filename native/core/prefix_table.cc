#include "prefix_table.h"

#include <algorithm>
#include <bit>
#include <tuple>
#include <utility>

namespace loden::core {

namespace {

constexpr uint32_t kLeaf = 1u << 31;
constexpr uint32_t kNodeBits = 6;
// 256 KB. Prefixes beyond this many are found through nodes.
constexpr uint32_t kMaxRootBits = 16;

uint32_t ValueOf(uint32_t leaf) { return leaf == PrefixTable::kNone ? leaf : leaf & ~kLeaf; }

// g++ calls a function with a table in memory where it may not assume the instruction.
inline uint32_t Ones(uint64_t x) {
#if defined(__POPCNT__) || defined(__aarch64__)
  return static_cast<uint32_t>(std::popcount(x));
#else
  x -= x >> 1 & 0x5555555555555555;
  x = (x & 0x3333333333333333) + (x >> 2 & 0x3333333333333333);
  x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0f;
  return static_cast<uint32_t>(x * 0x0101010101010101 >> 56);
#endif
}

inline uint64_t Load(const uint8_t* bytes, int count) {
  uint64_t value = 0;
  for (int i = 0; i < count; i++) value = value << 8 | bytes[i];
  return value;
}

}  // namespace

// `bits` up to 128; zeros come in from below.
inline PrefixTable::Key PrefixTable::Shifted(Key key, uint32_t bits) {
  if (bits >= 64) {
    key = {key.low, 0};
    bits -= 64;
  }
  if (bits == 0) return key;
  if (bits >= 64) return {};
  return {key.high << bits | key.low >> (64 - bits), key.low << bits};
}

// The highest `bits` bits, up to 128.
inline PrefixTable::Key PrefixTable::MaskOf(uint32_t bits) {
  const auto half = [](uint32_t n) { return n == 0 ? 0 : UINT64_MAX << (64 - std::min(n, 64u)); };
  return {half(bits), half(bits <= 64 ? 0 : bits - 64)};
}

inline PrefixTable::Key PrefixTable::KeyOf(uint8_t version, const uint8_t* address) {
  if (version == 4) return {Load(address, 4) << 32, 0};
  return {Load(address, 8), Load(address + 8, 8)};
}

PrefixTable::PrefixTable(std::span<const Entry> entries) {
  for (const uint8_t family : {4, 6}) {
    std::vector<Item> items;
    const uint32_t width = WidthOf(family);
    for (const Entry& e : entries) {
      if (e.prefix.address.family != family || e.prefix.length > width || e.value > kMaxValue) continue;
      Item item{KeyOf(family, e.prefix.address.bytes), e.prefix.length, e.value};
      // Bits beyond the length would be taken for slots.
      const Key mask = MaskOf(item.length);
      item.key = {item.key.high & mask.high, item.key.low & mask.low};
      items.push_back(item);
    }
    (family == 4 ? v4_ : v6_).Build(items);
  }
}

void PrefixTable::Trie::Build(std::vector<Item>& items) {
  const auto rank = [](const Item& i) { return std::tie(i.key.high, i.key.low, i.length); };
  // What holds others comes before them; of equal ones the first stays.
  std::stable_sort(items.begin(), items.end(), [&](const Item& a, const Item& b) { return rank(a) < rank(b); });
  items.erase(std::unique(items.begin(), items.end(), [&](const Item& a, const Item& b) { return rank(a) == rank(b); }),
              items.end());
  size = static_cast<uint32_t>(items.size());
  std::span<const Item> rest = items;
  if (!rest.empty() && rest[0].length == 0) {
    outside = rest[0].value;
    rest = rest.subspan(1);
  }
  if (rest.empty()) return;

  // The first and the last in order differ in the highest bit in which any two do.
  const Key first = rest.front().key, last = rest.back().key;
  skip = first.high != last.high ? static_cast<uint32_t>(std::countl_zero(first.high ^ last.high))
                                 : 64 + static_cast<uint32_t>(std::countl_zero(first.low ^ last.low));
  uint32_t longest = 0;
  for (const Item& i : rest) {
    skip = std::min(skip, i.length);
    longest = std::max(longest, i.length);
  }
  shared = first;
  shared_mask = MaskOf(skip);

  const uint32_t useful = std::max(longest - skip, 1u);
  root_bits = std::clamp<uint32_t>(static_cast<uint32_t>(std::bit_width(rest.size() - 1)), 1, std::min(kMaxRootBits, useful));
  root.resize(size_t{1} << root_bits);
  std::vector<std::pair<uint32_t, std::span<const Item>>> below;
  Spread(rest, skip, root_bits, outside, root, below);
  nodes.resize(below.size());
  for (uint32_t i = 0; i < below.size(); i++) {
    const auto [slot, held] = below[i];
    BuildNode(i, held, skip + root_bits, ValueOf(std::exchange(root[slot], i)));
  }
  nodes.shrink_to_fit();
  leaves.shrink_to_fit();
}

// The node of the prefixes `items`, which share `depth` bits and are longer; `inherited` is what holds where none of them does.
void PrefixTable::Trie::BuildNode(uint32_t index, std::span<const Item> items, uint32_t depth, uint32_t inherited) {
  uint32_t slots[1 << kNodeBits];
  std::vector<std::pair<uint32_t, std::span<const Item>>> below;
  Spread(items, depth, kNodeBits, inherited, slots, below);

  Node node;
  node.first_child = static_cast<uint32_t>(nodes.size());
  node.first_leaf = static_cast<uint32_t>(leaves.size());
  for (const auto& [slot, held] : below) node.children |= uint64_t{1} << slot;
  bool any = false;
  for (uint32_t slot = 0; slot < std::size(slots); slot++) {
    if (node.children >> slot & 1) continue;
    const uint32_t value = ValueOf(slots[slot]);
    if (any && leaves.back() == value) continue;
    any = true;
    node.leaves |= uint64_t{1} << slot;
    leaves.push_back(value);
  }
  nodes.resize(nodes.size() + below.size());
  nodes[index] = node;
  for (uint32_t i = 0; i < below.size(); i++) {
    const auto [slot, held] = below[i];
    BuildNode(node.first_child + i, held, depth + kNodeBits, ValueOf(slots[slot]));
  }
}

// Writes what holds in each of the 2^bits slots below `depth`, as leaves, as far as prefixes say that end within them; gives
// the slots in which there are longer prefixes, with these, to `below`.
void PrefixTable::Spread(std::span<const Item> items, uint32_t depth, uint32_t bits, uint32_t inherited,
                         std::span<uint32_t> slots, std::vector<std::pair<uint32_t, std::span<const Item>>>& below) {
  std::fill(slots.begin(), slots.end(), inherited | kLeaf);
  for (size_t i = 0; i < items.size();) {
    const auto slot_of = [&](const Item& item) { return static_cast<uint32_t>(Shifted(item.key, depth).high >> (64 - bits)); };
    const uint32_t slot = slot_of(items[i]);
    if (items[i].length <= depth + bits) {
      std::fill_n(slots.begin() + slot, size_t{1} << (depth + bits - items[i].length), items[i].value | kLeaf);
      i++;
      continue;
    }
    size_t end = i + 1;
    while (end < items.size() && slot_of(items[end]) == slot) end++;
    below.emplace_back(slot, items.subspan(i, end - i));
    i = end;
  }
}

template <bool kWide, typename Touch>
inline uint32_t PrefixTable::Trie::Find(Key key, Touch touch) const {
  uint64_t differ = (key.high ^ shared.high) & shared_mask.high;
  if (kWide) differ |= (key.low ^ shared.low) & shared_mask.low;
  if (differ != 0 || root.empty()) return outside;
  const auto advance = [&key](uint32_t bits) {
    if (kWide) {
      key = Shifted(key, bits);
    } else {
      key.high <<= bits;
    }
  };
  advance(skip);
  const uint32_t* entry = &root[key.high >> (64 - root_bits)];
  touch(entry);
  uint32_t next = *entry;
  if (next & kLeaf) return ValueOf(next);
  advance(root_bits);
  for (;;) {
    const Node& node = nodes[next];
    touch(&node);
    const uint64_t bit = uint64_t{1} << (key.high >> (64 - kNodeBits));
    if (!(node.children & bit)) {
      const uint32_t* leaf = &leaves[node.first_leaf + Ones(node.leaves & (bit | (bit - 1))) - 1];
      touch(leaf);
      return *leaf;
    }
    next = node.first_child + Ones(node.children & (bit - 1));
    advance(kNodeBits);
  }
}

uint32_t PrefixTable::Find4(const uint8_t* address) const {
  return v4_.Find<false>(KeyOf(4, address), [](const void*) {});
}

uint32_t PrefixTable::Find6(const uint8_t* address) const {
  return v6_.Find<true>(KeyOf(6, address), [](const void*) {});
}

uint32_t PrefixTable::FindCounting(uint8_t version, const uint8_t* address, int* lines) const {
  std::vector<uintptr_t> seen;
  const auto touch = [&seen](const void* at) {
    const uintptr_t line = reinterpret_cast<uintptr_t>(at) / 64;
    if (std::find(seen.begin(), seen.end(), line) == seen.end()) seen.push_back(line);
  };
  const Key key = KeyOf(version, address);
  const uint32_t value = version == 4 ? v4_.Find<false>(key, touch) : v6_.Find<true>(key, touch);
  *lines = static_cast<int>(seen.size());
  return value;
}

}  // namespace loden::core
