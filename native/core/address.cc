#include "address.h"

namespace loden::core {

bool Contains(const Prefix& prefix, const Address& address) {
  const uint8_t family = prefix.address.family;
  if (WidthOf(family) == 0 || family != address.family || prefix.length > WidthOf(family)) return false;
  const size_t whole = prefix.length / 8;
  if (memcmp(prefix.address.bytes, address.bytes, whole) != 0) return false;
  const unsigned rest = prefix.length % 8;
  if (rest == 0) return true;
  return ((prefix.address.bytes[whole] ^ address.bytes[whole]) >> (8 - rest)) == 0;
}

}  // namespace loden::core
