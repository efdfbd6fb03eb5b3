// Longest-prefix match over IPv4 and IPv6 prefixes, immutable once built.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "address.h"

namespace loden::core {

// A multibit trie whose nodes are bitmaps (Asai and Ohara, Poptrie, SIGCOMM 2015), entered below the bits that all prefixes of
// a family but its default route share, through an array of about as many slots as there are prefixes: a lookup among 10,000
// consecutive subnets of equal size touches one cache line, among 10,000 spread over their network two or three.
class PrefixTable {
 public:
  struct Entry {
    Prefix prefix;
    uint32_t value;  // at most kMaxValue
  };
  static constexpr uint32_t kNone = UINT32_MAX;
  static constexpr uint32_t kMaxValue = INT32_MAX - 1;

  PrefixTable() = default;
  // Any order; of two entries with one prefix the first counts. An entry of no family, with a length beyond its family's width,
  // or with a value beyond kMaxValue does not count.
  explicit PrefixTable(std::span<const Entry> entries);

  // `address`: 4 or 16 bytes in network order. The value of the longest prefix that holds it, or kNone.
  uint32_t Find4(const uint8_t* address) const;
  uint32_t Find6(const uint8_t* address) const;
  uint32_t Find(uint8_t version, const uint8_t* address) const { return version == 4 ? Find4(address) : Find6(address); }

  // Distinct prefixes.
  size_t size() const { return v4_.size + v6_.size; }
  // For tests: as Find, and how many cache lines besides this object itself it touched.
  uint32_t FindCounting(uint8_t version, const uint8_t* address, int* lines) const;

 private:
  // An address or prefix, its first bit the highest; an IPv4 address is the upper half of `high`.
  struct Key {
    uint64_t high = 0, low = 0;
  };
  struct Item {
    Key key;
    uint32_t length, value;
  };

  // Stands for 6 bits of the address: 64 slots, each of which leads to a child or holds a value. Slots next to each other that
  // hold the same value share one leaf. Aligned so that none lies across two cache lines.
  struct alignas(32) Node {
    uint64_t children = 0;  // bit i: slot i leads to a child
    uint64_t leaves = 0;    // bit i: slot i holds a value other than the slot with a value before it
    uint32_t first_child = 0, first_leaf = 0;
  };

  struct Trie {
    Key shared, shared_mask;      // the bits above the root; others have the default route
    uint32_t skip = 0;            // how many
    uint32_t root_bits = 1;       // bits that choose a slot of the root
    uint32_t outside = kNone;     // value of the default route
    uint32_t size = 0;            // prefixes with the default route
    std::vector<uint32_t> root;   // with kLeaf: a value, without: a node; empty where there is at most a default route
    std::vector<Node> nodes;
    std::vector<uint32_t> leaves;

    void Build(std::vector<Item>& items);
    void BuildNode(uint32_t index, std::span<const Item> items, uint32_t depth, uint32_t inherited);
    template <bool kWide, typename Touch>
    uint32_t Find(Key key, Touch touch) const;
  };

  static Key Shifted(Key key, uint32_t bits);
  static Key MaskOf(uint32_t bits);
  static Key KeyOf(uint8_t version, const uint8_t* address);
  static void Spread(std::span<const Item> items, uint32_t depth, uint32_t bits, uint32_t inherited,
                     std::span<uint32_t> slots, std::vector<std::pair<uint32_t, std::span<const Item>>>& below);

  Trie v4_, v6_;
};

}  // namespace loden::core
