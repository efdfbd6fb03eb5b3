// The Internet checksum: RFC 1071, RFC 1624.
#pragma once

#include <cstddef>
#include <cstdint>

namespace loden::core {

// A one's complement sum that is not folded yet. Sums of pieces add up when every piece but the last has an even
// length.
using Sum = uint64_t;

// Of `length` bytes at `data`, any alignment, as big-endian 16-bit words; an odd last byte is padded by 0.
Sum SumOf(const uint8_t* data, size_t length);
// Source, destination, protocol of the IP header at `ip` (version 4 or 6), and the length of what follows it.
Sum PseudoHeaderSum(const uint8_t* ip, uint8_t version, uint8_t protocol, uint32_t upper_length);
// 16 bits, not inverted.
uint16_t Fold(Sum sum);
// The value to be stored: inverted.
inline uint16_t Finish(Sum sum) { return static_cast<uint16_t>(~Fold(sum)); }

inline uint16_t Load16(const uint8_t* p) { return static_cast<uint16_t>(p[0] << 8 | p[1]); }
inline uint32_t Load32(const uint8_t* p) {
  return static_cast<uint32_t>(Load16(p)) << 16 | Load16(p + 2);
}
inline void Store16(uint8_t* p, uint16_t v) {
  p[0] = static_cast<uint8_t>(v >> 8);
  p[1] = static_cast<uint8_t>(v);
}
inline void Store32(uint8_t* p, uint32_t v) {
  Store16(p, static_cast<uint16_t>(v >> 16));
  Store16(p + 2, static_cast<uint16_t>(v));
}

}  // namespace loden::core
