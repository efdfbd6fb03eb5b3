#include "icmp.h"

#include <netinet/in.h>

#include <algorithm>
#include <cstring>

#include "checksum.h"

namespace loden::core {

namespace {

constexpr size_t kIpv4Header = 20, kIpv6Header = 40, kIcmpHeader = 8;
constexpr size_t kMaxIcmpv4 = 576;
constexpr uint8_t kHopLimit = 64;
constexpr uint16_t kDontFragment = 0x4000;
constexpr uint8_t kInternetControl = 0xc0;  // precedence 6, or DSCP CS6: RFC 1812 4.3.2.5
constexpr uint8_t kTosMask = 0x1c;          // without precedence and ECN

bool OneHostIpv4(const uint8_t* a) {
  const uint32_t address = Load32(a);
  return address != 0 && address != 0xffffffff && a[0] != 127 && a[0] >> 4 != 14;
}

bool OneHostIpv6(const uint8_t* a) {
  static constexpr uint8_t kZeros[15] = {};
  return a[0] != 0xff && !(memcmp(a, kZeros, sizeof kZeros) == 0 && a[15] <= 1);
}

// Of an ICMP message of `version` that begins with `type`. A redirect is answered no more than an error.
bool IsError(uint8_t version, uint8_t type) {
  if (version == 6) return type < 128 || type == 137;
  return type == 3 || type == 4 || type == 5 || type == 11 || type == 12;
}

bool MayAnswer(const uint8_t* offender, const Inner& inner) {
  if (inner.fragment_offset != 0) return false;
  const bool four = inner.version == 4;
  if (four ? !OneHostIpv4(offender + 12) || !OneHostIpv4(offender + 16)
           : !OneHostIpv6(offender + 8) || !OneHostIpv6(offender + 24)) {
    return false;
  }
  const uint8_t icmp = four ? uint8_t{IPPROTO_ICMP} : uint8_t{IPPROTO_ICMPV6};
  if (inner.upper_protocol != icmp) return true;
  // Without a type it could be an error.
  return inner.upper_offset < inner.length && !IsError(inner.version, offender[inner.upper_offset]);
}

// The ICMP header without its checksum.
void WriteHeader(uint8_t type, uint8_t code, uint32_t rest, uint8_t* out) {
  out[0] = type;
  out[1] = code;
  Store16(out + 2, 0);
  Store32(out + 4, rest);
}

size_t BuildIpv4(IcmpError error, const Address& source, const uint8_t* offender, const Inner& inner, uint32_t mtu,
                 uint8_t* out) {
  if (error == IcmpError::kTooBig && !(Load16(offender + 6) & kDontFragment)) return 0;
  const size_t quoted = std::min<size_t>(inner.length, kMaxIcmpv4 - kIpv4Header - kIcmpHeader);
  const size_t length = kIpv4Header + kIcmpHeader + quoted;

  out[0] = 0x45;
  out[1] = static_cast<uint8_t>((offender[1] & kTosMask) | kInternetControl);
  Store16(out + 2, static_cast<uint16_t>(length));
  // With DF the identification may be 0: RFC 6864.
  Store16(out + 4, 0);
  Store16(out + 6, kDontFragment);
  out[8] = kHopLimit;
  out[9] = IPPROTO_ICMP;
  Store16(out + 10, 0);
  memcpy(out + 12, source.bytes, 4);
  memcpy(out + 16, offender + 12, 4);
  Store16(out + 10, Finish(SumOf(out, kIpv4Header)));

  uint8_t* message = out + kIpv4Header;
  switch (error) {
    case IcmpError::kNetUnreachable:
      WriteHeader(3, 0, 0, message);
      break;
    case IcmpError::kTimeExceeded:
      WriteHeader(11, 0, 0, message);
      break;
    case IcmpError::kTooBig:
      WriteHeader(3, 4, std::min<uint32_t>(mtu, 65535), message);  // RFC 1191 4
      break;
  }
  memcpy(message + kIcmpHeader, offender, quoted);
  Store16(message + 2, Finish(SumOf(message, kIcmpHeader + quoted)));
  return length;
}

size_t BuildIpv6(IcmpError error, const Address& source, const uint8_t* offender, const Inner& inner, uint32_t mtu,
                 uint8_t* out) {
  const size_t quoted = std::min<size_t>(inner.length, kMaxIcmp - kIpv6Header - kIcmpHeader);
  const size_t upper = kIcmpHeader + quoted;

  Store32(out, 6u << 28 | static_cast<uint32_t>(kInternetControl) << 20);
  Store16(out + 4, static_cast<uint16_t>(upper));
  out[6] = IPPROTO_ICMPV6;
  out[7] = kHopLimit;
  memcpy(out + 8, source.bytes, 16);
  memcpy(out + 24, offender + 8, 16);

  uint8_t* message = out + kIpv6Header;
  switch (error) {
    case IcmpError::kNetUnreachable:
      WriteHeader(1, 0, 0, message);
      break;
    case IcmpError::kTimeExceeded:
      WriteHeader(3, 0, 0, message);
      break;
    case IcmpError::kTooBig:
      WriteHeader(2, 0, mtu, message);
      break;
  }
  memcpy(message + kIcmpHeader, offender, quoted);
  const Sum sum = PseudoHeaderSum(out, 6, IPPROTO_ICMPV6, static_cast<uint32_t>(upper)) + SumOf(message, upper);
  Store16(message + 2, Finish(sum));
  return kIpv6Header + upper;
}

}  // namespace

size_t BuildIcmpError(IcmpError error, const Address& source, const uint8_t* offender, const Inner& inner, uint32_t mtu,
                      uint8_t* out) {
  if (source.family != inner.version || !MayAnswer(offender, inner)) return 0;
  return inner.version == 4 ? BuildIpv4(error, source, offender, inner, mtu, out)
                            : BuildIpv6(error, source, offender, inner, mtu, out);
}

TokenBucket::TokenBucket(double rate, double burst) : rate_(rate), burst_(burst), tokens_(burst) {}

bool TokenBucket::Take(double now) {
  if (now > last_) {
    tokens_ = std::min(burst_, tokens_ + (now - last_) * rate_);
    last_ = now;
  }
  if (tokens_ < 1) return false;
  tokens_ -= 1;
  return true;
}

}  // namespace loden::core
