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

bool Contains(const Prefix& prefix, const Address& address);

}  // namespace loden::core
