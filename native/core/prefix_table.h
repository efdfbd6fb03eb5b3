// Longest-prefix match over IPv4 and IPv6 prefixes, immutable once built.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "address.h"

namespace loden::core {

// A multibit trie whose nodes are bitmaps, entered below the bits that all prefixes of a family share: a lookup among
// 10,000 equal-sized subnets of one network touches two or three cache lines.
class PrefixTable {
 public:
  struct Entry {
    Prefix prefix;
    uint32_t value;
  };
  static constexpr uint32_t kNone = UINT32_MAX;

  PrefixTable() = default;
  // Any order; of two entries with one prefix the first counts.
  explicit PrefixTable(std::span<const Entry> entries);

  // `address`: 4 or 16 bytes in network order. The value of the longest prefix that holds it, or kNone.
  uint32_t Find4(const uint8_t* address) const;
  uint32_t Find6(const uint8_t* address) const;
  uint32_t Find(uint8_t version, const uint8_t* address) const { return version == 4 ? Find4(address) : Find6(address); }

 private:
  // The implementer's choice.
};

}  // namespace loden::core
