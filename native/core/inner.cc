#include "inner.h"

#include <netinet/in.h>

#include "checksum.h"

namespace loden::core {

namespace {

constexpr size_t kIpv4Header = 20, kIpv6Header = 40;
constexpr uint32_t kMaxDatagram = 65535;
constexpr int kMaxExtensionHeaders = 8;
constexpr uint16_t kReserved = 0x8000, kDontFragment = 0x4000, kMoreFragments = 0x2000, kOffset = 0x1fff;

// `before`: bytes that the whole datagram has before its fragments' data, as far as its length is limited; `data`:
// bytes of this one's.
Drop CheckFragment(uint32_t before, uint32_t offset, uint32_t data, bool more) {
  if (offset == 0 && !more) return Drop::kNone;
  if (data == 0 || (more && data % 8 != 0) || offset == 8) return Drop::kBadFragment;
  return before + offset + data > kMaxDatagram ? Drop::kBadFragment : Drop::kNone;
}

Drop ParseIpv4(const uint8_t* data, size_t length, Inner* out) {
  if (length < kIpv4Header) return Drop::kTruncated;
  const uint32_t header = (data[0] & 0x0fu) * 4, total = Load16(data + 2);
  if (header < kIpv4Header || total < header) return Drop::kBadHeader;
  if (total > length) return Drop::kTruncated;
  if (total < length) return Drop::kOversized;
  if (data[8] == 0) return Drop::kTtl;

  const uint16_t field = Load16(data + 6);
  const uint32_t offset = (field & kOffset) * 8u;
  const bool more = field & kMoreFragments;
  if (field & kReserved) return Drop::kBadFragment;
  if ((field & kDontFragment) && (more || offset)) return Drop::kBadFragment;
  if (const Drop drop = CheckFragment(header, offset, total - header, more); drop != Drop::kNone) return drop;

  *out = {.version = 4,
          .protocol = data[9],
          .fragment = more || offset != 0,
          .hop_limit = data[8],
          .ip_length = static_cast<uint16_t>(header),
          .length = total,
          .upper_protocol = data[9],
          .upper_offset = static_cast<uint16_t>(header),
          .fragment_offset = static_cast<uint16_t>(offset)};
  return Drop::kNone;
}

Drop ParseIpv6(const uint8_t* data, size_t length, Inner* out) {
  if (length < kIpv6Header) return Drop::kTruncated;
  const uint32_t total = kIpv6Header + Load16(data + 4);
  if (total > length) return Drop::kTruncated;
  if (total < length) return Drop::kOversized;
  if (data[7] == 0) return Drop::kTtl;

  uint8_t next = data[6];
  uint32_t at = kIpv6Header, offset = 0;
  bool more = false, fragment_header = false;
  // What follows the header of a later fragment is data, not a header.
  for (int headers = 0; offset == 0; headers++) {
    const bool fragment = next == IPPROTO_FRAGMENT;
    if (!fragment && next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS) break;
    if (headers == kMaxExtensionHeaders || total - at < 8) return Drop::kBadHeader;
    const uint8_t* header = data + at;
    const uint32_t size = fragment ? 8 : header[1] * 8u + 8;
    if (total - at < size) return Drop::kBadHeader;
    next = header[0];
    at += size;
    if (!fragment) continue;
    if (fragment_header) return Drop::kBadFragment;
    fragment_header = true;
    offset = Load16(header + 2) & 0xfff8u;
    more = header[3] & 1;
    const Drop drop = CheckFragment(at - size - kIpv6Header, offset, total - at, more);
    if (drop != Drop::kNone) return drop;
  }

  *out = {.version = 6,
          .protocol = data[6],
          .fragment = more || offset != 0,
          .hop_limit = data[7],
          .ip_length = kIpv6Header,
          .length = total,
          .upper_protocol = next,
          .upper_offset = static_cast<uint16_t>(at),
          .fragment_offset = static_cast<uint16_t>(offset)};
  return Drop::kNone;
}

}  // namespace

Drop ParseInner(const uint8_t* data, size_t length, Inner* out) {
  if (length == 0) return Drop::kTruncated;
  switch (data[0] >> 4) {
    case 4:
      return ParseIpv4(data, length, out);
    case 6:
      return ParseIpv6(data, length, out);
    default:
      return Drop::kBadVersion;
  }
}

void DecrementTtl(uint8_t* packet, uint8_t version) {
  if (version == 6) {
    packet[7]--;
    return;
  }
  packet[8]--;
  // RFC 1624, equation 3, with TTL as the upper half of its word: ~m + m' is the complement of 0x0100. The sum is not
  // 0, so the result is never 0xffff, which RFC 1141's way could yield.
  uint32_t sum = static_cast<uint16_t>(~Load16(packet + 10)) + 0xfeffu;
  sum = (sum & 0xffff) + (sum >> 16);
  Store16(packet + 10, static_cast<uint16_t>(~sum));
}

}  // namespace loden::core
