#include "cut.h"

#include <netinet/in.h>

#include <cstring>

#include "checksum.h"

namespace loden::core {

namespace {

constexpr uint32_t kTcpHeader = 20, kUdpHeader = 8;
constexpr uint16_t kTcpChecksumAt = 16, kUdpChecksumAt = 6;
constexpr uint16_t kFin = 0x01, kPsh = 0x08, kCwr = 0x80;

// Takes a 16-bit word out of a sum in which it is.
constexpr Sum Without(uint16_t word) { return 0xffffu - word; }

// RFC 768: 0 stands for none.
uint16_t UdpChecksum(Sum sum) {
  const uint16_t checksum = Finish(sum);
  return checksum ? checksum : 0xffff;
}

}  // namespace

Drop Cut::Open(const virtio_net_hdr& offload, uint8_t* packet, const Inner& inner) {
  packet_ = packet;
  count_ = 1;
  header_length_ = 0;
  gso_size_ = payload_length_ = inner.length;
  Drop drop = Drop::kNone;
  if (offload.gso_type != VIRTIO_NET_HDR_GSO_NONE) drop = OpenSuper(offload, inner);
  if (drop == Drop::kNone && count_ == 1 && (offload.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)) {
    drop = CompleteChecksum(offload, inner);
  }
  if (drop != Drop::kNone) count_ = 0;
  return drop;
}

Drop Cut::CompleteChecksum(const virtio_net_hdr& offload, const Inner& inner) {
  const uint32_t start = offload.csum_start, at = start + offload.csum_offset;
  // Not necessarily where the upper layer begins: it may be that of a packet in a tunnel.
  if (inner.fragment || start < inner.ip_length || at + 2 > inner.length) return Drop::kBadOffload;
  const Sum sum = SumOf(packet_ + start, inner.length - start);
  Store16(packet_ + at, offload.csum_offset == kUdpChecksumAt ? UdpChecksum(sum) : Finish(sum));
  return Drop::kNone;
}

Drop Cut::OpenSuper(const virtio_net_hdr& offload, const Inner& inner) {
  uint8_t version = 4, type = offload.gso_type;
  switch (type & ~VIRTIO_NET_HDR_GSO_ECN) {
    case VIRTIO_NET_HDR_GSO_TCPV6:
      version = 6;
      [[fallthrough]];
    case VIRTIO_NET_HDR_GSO_TCPV4:
      tcp_ = true;
      break;
    case VIRTIO_NET_HDR_GSO_UDP_L4:
      if (type & VIRTIO_NET_HDR_GSO_ECN) return Drop::kBadOffload;
      version = inner.version;
      tcp_ = false;
      break;
    default:
      return Drop::kBadOffload;
  }
  // hdr_len is only a hint (the kernel gives what lies in one piece): the packet says how long its headers are.
  const uint32_t upper = inner.upper_offset, least = tcp_ ? kTcpHeader : kUdpHeader;
  if (inner.version != version || inner.fragment || inner.upper_protocol != (tcp_ ? IPPROTO_TCP : IPPROTO_UDP) ||
      !(offload.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) || offload.csum_start != upper ||
      offload.csum_offset != (tcp_ ? kTcpChecksumAt : kUdpChecksumAt) || offload.hdr_len > inner.length ||
      offload.gso_size == 0 || upper + least > inner.length) {
    return Drop::kBadOffload;
  }
  const uint8_t* header = packet_ + upper;
  const uint32_t upper_header = tcp_ ? (header[12] >> 4) * 4u : kUdpHeader;
  if (upper_header < least || upper + upper_header > kMaxHeaders || upper + upper_header >= inner.length) {
    return Drop::kBadOffload;
  }
  const auto upper_length = static_cast<uint16_t>(inner.length - upper);
  if (!tcp_ && Load16(header + 4) != upper_length) return Drop::kBadOffload;
  const uint32_t payload = inner.length - upper - upper_header;
  if (payload <= offload.gso_size) return Drop::kNone;  // one packet, sent whole

  gso_size_ = offload.gso_size;
  payload_length_ = payload;
  count_ = (payload + gso_size_ - 1) / gso_size_;
  header_length_ = upper + upper_header;
  upper_offset_ = upper;
  ipv4_ = version == 4;
  if (ipv4_) {
    id_ = Load16(packet_ + 4);
    ip_sum_ = SumOf(packet_, inner.ip_length);
    ip_sum_ += Without(Load16(packet_ + 2)) + Without(id_) + Without(Load16(packet_ + 10));
  }
  upper_sum_ = SumOf(header, upper_header) + Without(upper_length);
  if (tcp_) {
    sequence_ = Load32(header + 4);
    flags_ = Load16(header + 12);
    upper_sum_ += Without(Load16(header + 4)) + Without(Load16(header + 6)) + Without(flags_);
  } else {
    upper_sum_ += Without(upper_length);
  }
  return Drop::kNone;
}

Segment Cut::WriteHeader(uint32_t index, uint8_t* out) const {
  if (header_length_ == 0) return {packet_, payload_length_};
  const uint32_t at = index * gso_size_;
  const bool last = index + 1 == count_;
  const uint32_t length = last ? payload_length_ - at : gso_size_;
  const uint32_t upper_length = header_length_ - upper_offset_ + length;
  const uint8_t* payload = packet_ + header_length_ + at;

  memcpy(out, packet_, header_length_);
  if (ipv4_) {
    const auto total = static_cast<uint16_t>(header_length_ + length);
    const auto id = static_cast<uint16_t>(id_ + index);
    Store16(out + 2, total);
    Store16(out + 4, id);
    Store16(out + 10, Finish(ip_sum_ + total + id));
  } else {
    Store16(out + 4, static_cast<uint16_t>(header_length_ + length - 40));
  }

  uint8_t* header = out + upper_offset_;
  const Sum sum = upper_sum_ + upper_length + SumOf(payload, length);
  if (tcp_) {
    const uint32_t sequence = sequence_ + at;
    uint16_t flags = flags_;
    if (!last) flags &= static_cast<uint16_t>(~(kFin | kPsh));
    if (index != 0) flags &= static_cast<uint16_t>(~kCwr);
    Store32(header + 4, sequence);
    header[13] = static_cast<uint8_t>(flags);
    Store16(header + kTcpChecksumAt, Finish(sum + sequence + flags));
  } else {
    Store16(header + 4, static_cast<uint16_t>(upper_length));
    Store16(header + kUdpChecksumAt, UdpChecksum(sum + upper_length));
  }
  return {payload, length};
}

}  // namespace loden::core
