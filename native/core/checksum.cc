#include "checksum.h"

#include <bit>
#include <cstring>

namespace loden::core {

namespace {

// The compiler makes the machine's vectors of it: SSE2, NEON, or plain registers.
typedef uint64_t Pair __attribute__((vector_size(16)));

template <typename T>
T Load(const uint8_t* p) {
  T v;
  memcpy(&v, p, sizeof v);
  return v;
}

// 32-bit words added up without carries to look after. `all` wraps at 2^64 and `high` does not, so the lower halves'
// own sum is what `all` holds besides `high`.
inline uint64_t Halves(uint64_t all, uint64_t high) { return (all - (high << 32)) + high; }

// In the machine's byte order; sums below 2^49 for lengths below 2^32.
uint64_t NativeSum(const uint8_t* data, size_t length) {
  uint64_t sum = 0;
  if (length >= 64) {
    Pair all0{}, all1{}, all2{}, all3{}, high0{}, high1{}, high2{}, high3{};
    do {
      const Pair a = Load<Pair>(data), b = Load<Pair>(data + 16), c = Load<Pair>(data + 32), d = Load<Pair>(data + 48);
      all0 += a;
      high0 += a >> 32;
      all1 += b;
      high1 += b >> 32;
      all2 += c;
      high2 += c >> 32;
      all3 += d;
      high3 += d >> 32;
      data += 64;
      length -= 64;
    } while (length >= 64);
    const Pair all = (all0 + all1) + (all2 + all3), high = (high0 + high1) + (high2 + high3);
    sum = Halves(all[0] + all[1], high[0] + high[1]);
  }
  uint64_t all = 0, high = 0;
  for (; length >= 8; data += 8, length -= 8) {
    const auto v = Load<uint64_t>(data);
    all += v;
    high += v >> 32;
  }
  sum += Halves(all, high);
  if (length & 4) {
    sum += Load<uint32_t>(data);
    data += 4;
  }
  if (length & 2) {
    sum += Load<uint16_t>(data);
    data += 2;
  }
  if (length & 1) sum += std::endian::native == std::endian::little ? *data : uint64_t{*data} << 8;
  return sum;
}

}  // namespace

Sum SumOf(const uint8_t* data, size_t length) {
  const uint64_t sum = NativeSum(data, length);
  if constexpr (std::endian::native == std::endian::big) return sum;
  // Bytes swapped in every 16-bit word (RFC 1071 2 B): times 256, as 2^16 is 1.
  return ((sum >> 32) + (sum & 0xffffffff)) << 8;
}

Sum PseudoHeaderSum(const uint8_t* ip, uint8_t version, uint8_t protocol, uint32_t upper_length) {
  const Sum addresses = version == 4 ? SumOf(ip + 12, 8) : SumOf(ip + 8, 32);
  return addresses + protocol + upper_length;
}

uint16_t Fold(Sum sum) {
  sum = (sum >> 32) + (sum & 0xffffffff);
  sum = (sum >> 32) + (sum & 0xffffffff);
  sum = (sum >> 16) + (sum & 0xffff);
  sum = (sum >> 16) + (sum & 0xffff);
  return static_cast<uint16_t>(sum);
}

}  // namespace loden::core
