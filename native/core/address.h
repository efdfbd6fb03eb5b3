// An IP address that carries its family.
#pragma once

#include <cstdint>
#include <cstring>

namespace loden::core {

// Network byte order; an IPv4 address is in the first 4 bytes, the rest is 0.
struct Address {
  uint8_t family = 0;  // 4, 6; 0: none
  uint8_t bytes[16] = {};

  bool operator==(const Address& o) const { return family == o.family && memcmp(bytes, o.bytes, 16) == 0; }
  explicit operator bool() const { return family != 0; }
};

// An address with the number of its leading bits that count. Bits beyond are 0.
struct Prefix {
  Address address;
  uint8_t length = 0;
};

// Bits of an address; 0 for a family that is none.
constexpr unsigned WidthOf(uint8_t family) { return family == 4 ? 32 : family == 6 ? 128 : 0; }

// False for another family, none, or a length beyond the width.
bool Contains(const Prefix& prefix, const Address& address);

}  // namespace loden::core
