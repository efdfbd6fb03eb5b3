// Answers to packets that cannot be forwarded: RFC 792, RFC 1812 4.3.2, RFC 4443.
#pragma once

#include <cstddef>
#include <cstdint>

#include "address.h"
#include "inner.h"

namespace loden::core {

enum class IcmpError : uint8_t {
  kNetUnreachable,  // IPv4 3/0, IPv6 1/0
  kTimeExceeded,    // IPv4 11/0, IPv6 3/0
  kTooBig,          // IPv4 3/4, IPv6 2/0
};
inline constexpr int kIcmpErrors = 3;

// Longest answer: IPv6's least MTU.
inline constexpr size_t kMaxIcmp = 1280;

// Writes the whole answer to `offender` (accepted by ParseInner; its first bytes as they arrived) from `source` into
// `out` (kMaxIcmp bytes). `mtu`: of the next hop, for kTooBig. Returns its length, or 0 where there must be none:
// `source` of another family or none; the offender is an ICMP error or redirect itself, a fragment but the first, from
// or to a multicast, broadcast (255.255.255.255), unspecified or loopback address; IPv4's kTooBig without DF.
// IPv4 quotes as much as fits 576 bytes (RFC 1812), IPv6 1,280. Never reads beyond the offender.
size_t BuildIcmpError(IcmpError error, const Address& source, const uint8_t* offender, const Inner& inner, uint32_t mtu,
                      uint8_t* out);

// How many answers may be given: `rate` a second, `burst` at once. One thread.
class TokenBucket {
 public:
  TokenBucket(double rate, double burst);
  // `now`: seconds on a monotonic clock.
  bool Take(double now);

 private:
  double rate_, burst_, tokens_, last_ = 0;
};

}  // namespace loden::core
