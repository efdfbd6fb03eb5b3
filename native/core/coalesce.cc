#include "coalesce.h"

#include <netinet/in.h>

#include <array>
#include <bit>
#include <cstring>

#include "checksum.h"

namespace loden::core {
namespace {

constexpr uint32_t kMaxIpPacket = 65535;
constexpr uint32_t kTcpChecksum = 16;
constexpr uint32_t kUdpChecksum = 6;
constexpr uint32_t kUdpHeader = 8;
constexpr uint8_t kPush = 0x08;
constexpr uint8_t kAck = 0x10;
constexpr uint8_t kEcnEcho = 0x40;

// Loads in the machine's byte order: for comparing only.
uint64_t Raw64(const uint8_t* p) {
  uint64_t v;
  memcpy(&v, p, sizeof v);
  return v;
}
uint32_t Raw32(const uint8_t* p) {
  uint32_t v;
  memcpy(&v, p, sizeof v);
  return v;
}

constexpr uint64_t Mask(std::array<uint8_t, 8> bytes) { return std::bit_cast<uint64_t>(bytes); }

// What must be equal besides the addresses and ports, eight bytes at a time.
constexpr uint64_t kIpv4From0 = Mask({0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff});        // version, TOS, fragment fields
constexpr uint64_t kIpv4From8 = Mask({0xff, 0xff, 0, 0, 0, 0, 0, 0});              // TTL, protocol
constexpr uint64_t kIpv6From0 = Mask({0xff, 0xff, 0xff, 0xff, 0, 0, 0xff, 0xff});  // all but the length
// Acknowledgement, header length, flags, window.
constexpr uint64_t kTcpFrom8 = Mask({0xff, 0xff, 0xff, 0xff, 0xff, 0xff ^ kPush, 0xff, 0xff});
constexpr uint64_t kTcpFrom12 = Mask({0, 0, 0, 0, 0, 0, 0xff, 0xff});  // urgent pointer

uint64_t Differ64(const uint8_t* a, const uint8_t* b, uint64_t mask = ~0ull) { return (Raw64(a) ^ Raw64(b)) & mask; }

bool SameTcpHeader(const uint8_t* a, const uint8_t* b, uint32_t length) {
  uint64_t differ = Differ64(a + 8, b + 8, kTcpFrom8) | Differ64(a + 12, b + 12, kTcpFrom12);
  for (uint32_t at = 20; at < length; at += 4) differ |= Raw32(a + at) ^ Raw32(b + at);
  return differ == 0;
}

bool SameIpHeader(const uint8_t* a, const uint8_t* b, uint8_t version) {
  if (version == 6) return Differ64(a, b, kIpv6From0) == 0;
  return (Differ64(a, b, kIpv4From0) | Differ64(a + 8, b + 8, kIpv4From8)) == 0;
}

bool SameAddresses(const uint8_t* a, const uint8_t* b, uint8_t version) {
  if (version == 4) return Differ64(a + 12, b + 12) == 0;
  return (Differ64(a + 8, b + 8) | Differ64(a + 16, b + 16) | Differ64(a + 24, b + 24) | Differ64(a + 32, b + 32)) == 0;
}

// Whether a sum over data with its checksum in it, not all 0, folds to 0xffff.
bool IsRight(Sum sum) { return sum % 0xffff == 0; }

// Of a header without options. Added up in the machine's byte order: what is right in one is right in the other.
bool Ipv4SumHolds(const uint8_t* ip) {
  const uint64_t sum = uint64_t{Raw32(ip)} + Raw32(ip + 4) + Raw32(ip + 8) + Raw32(ip + 12) + Raw32(ip + 16);
  return IsRight(sum) && Load16(ip + 10) != 0xffff;  // a sender writes 0 instead
}

// The high bit of each byte of `word` that is 0, and of no other.
uint64_t ZeroBytes(uint64_t word) {
  constexpr uint64_t kLow = 0x7f7f7f7f7f7f7f7f;
  return ~(((word & kLow) + kLow) | word | kLow);
}

}  // namespace

// False: a packet without ports, or with headers that make no sense.
inline bool Coalescer::Read(uint8_t* data, const Inner& inner, Packet* out) {
  const uint32_t ip_length = inner.version == 4 ? 20 : 40;
  if (inner.fragment || inner.ip_length != ip_length) return false;
  const uint32_t upper_length = inner.length - ip_length;
  const uint8_t* upper = data + ip_length;
  uint32_t header;
  if (inner.protocol == IPPROTO_TCP) {
    if (upper_length < 20) return false;
    header = upper[12] >> 4 << 2;
    if (header < 20 || header > upper_length) return false;
    out->push = upper[13] & kPush;
    // A right checksum is never 0xffff: GSO would write 0 instead.
    out->mergeable = (upper[13] & ~(kPush | kEcnEcho)) == kAck && upper_length > header &&
                     Load16(upper + kTcpChecksum) != 0xffff;
  } else if (inner.protocol == IPPROTO_UDP) {
    if (upper_length < kUdpHeader) return false;
    header = kUdpHeader;
    out->push = false;
    out->mergeable = Load16(upper + 4) == upper_length && upper_length > header && Load16(upper + kUdpChecksum) != 0;
  } else {
    return false;
  }
  out->data = data;
  out->length = inner.length;
  out->ip_length = ip_length;
  out->header_length = ip_length + header;
  out->version = inner.version;
  out->protocol = inner.protocol;
  return true;
}

// A byte that is most likely another for another flow; never 0.
inline uint8_t Coalescer::Tag(const Packet& packet) {
  uint64_t mix = Raw32(packet.upper()) * 0x9e3779b97f4a7c15;
  if (packet.version == 4) {
    mix ^= Raw64(packet.data + 12);
  } else {
    mix ^= Raw64(packet.data + 8) ^ Raw64(packet.data + 24);
    mix += Raw64(packet.data + 16) ^ std::rotl(Raw64(packet.data + 32), 32);
  }
  const uint8_t tag = static_cast<uint8_t>((mix * 0xd6e8feb86659fd93) >> 56);
  return tag == 0 ? 1 : tag;
}

inline bool Coalescer::SameFlow(const Packet& a, const Packet& b) {
  return a.version == b.version && a.protocol == b.protocol && Raw32(a.upper()) == Raw32(b.upper()) &&
         SameAddresses(a.data, b.data, a.version);
}

inline int Coalescer::Find(const Packet& packet, uint8_t tag) const {
  const uint64_t pattern = tag * uint64_t{0x0101010101010101};
  for (int half = 0; half < 2; ++half) {
    for (uint64_t hits = ZeroBytes(tags_[half] ^ pattern); hits != 0; hits &= hits - 1) {
      const int slot = half * 8 + std::countr_zero(hits) / 8;
      if (SameFlow(flows_[slot].first, packet)) return slot;
    }
  }
  return -1;
}

inline bool Coalescer::ChecksumsHold(const Packet& packet) {
  if (packet.version == 4 && !Ipv4SumHolds(packet.data)) return false;
  // In both versions the addresses, which are summed up too, stand right before the upper layer.
  const uint32_t from = packet.version == 4 ? 12 : 8;
  const uint32_t upper_length = packet.length - packet.ip_length;
  return IsRight(SumOf(packet.data + from, packet.length - from) + packet.protocol + upper_length);
}

// Of a packet of the same flow: cheap comparisons first, sums last. One with a wrong sum fits nothing.
inline Coalescer::Fit Coalescer::Match(Flow& flow, const Packet& packet) const {
  const Packet& first = flow.first;
  if (!packet.mergeable || packet.header_length != first.header_length || packet.length > first.length ||
      !SameIpHeader(first.data, packet.data, first.version)) {
    return Fit::kDiffers;
  }
  const bool tcp = first.protocol == IPPROTO_TCP;
  if (tcp && (!SameTcpHeader(first.upper(), packet.upper(), first.header_length - first.ip_length) ||
              Load32(packet.upper() + 4) != flow.next_sequence)) {
    return Fit::kDiffers;
  }
  if (flow.bytes + packet.payload_length() > kMaxIpPacket || flow.count == (tcp ? kMaxTcpPackets : kMaxUdpPackets)) {
    return Fit::kDiffers;
  }
  uint16_t id_step = flow.id_step;
  if (first.version == 4) {
    const uint16_t grown = static_cast<uint16_t>(Load16(packet.data + 4) - Load16(first.data + 4));
    if (flow.count == 1) id_step = grown == 0 && (first.data[6] & 0x40) ? 0 : 1;
    if (grown != static_cast<uint16_t>(id_step * flow.count)) return Fit::kDiffers;
  }
  if (!ChecksumsHold(packet)) return Fit::kDiffers;
  if (!flow.verified) {
    if (!ChecksumsHold(first)) return Fit::kFirstCorrupt;
    flow.verified = true;
  }
  flow.id_step = id_step;
  return Fit::kFits;
}

void Coalescer::Add(uint8_t* data, const Inner& inner) {
  Packet packet;
  if (!Read(data, inner, &packet)) {
    CloseBetween(data, inner.version);
    Pass(data, inner.length);
    return;
  }
  if (packet.protocol == IPPROTO_UDP && !uso_) {
    Pass(data, inner.length);
    return;
  }
  const uint8_t tag = Tag(packet);
  bool verified = false;
  if (const int slot = Find(packet, tag); slot >= 0) {
    Flow& flow = flows_[slot];
    const Fit fit = Match(flow, packet);
    if (fit == Fit::kFits) {
      parts_[slot][1 + flow.count] = {data + packet.header_length, packet.payload_length()};
      ++flow.count;
      flow.bytes += packet.payload_length();
      flow.next_sequence += packet.payload_length();
      flow.push = packet.push;
      if (packet.push || packet.length < flow.first.length) Close(slot);
      return;
    }
    Close(slot);
    verified = fit == Fit::kFirstCorrupt;
  }
  if (packet.mergeable && !packet.push) {
    Begin(packet, tag, verified);
  } else {
    Pass(data, inner.length);
  }
}

inline void Coalescer::Begin(const Packet& packet, uint8_t tag, bool verified) {
  if (open_ == kMaxOpenFlows) Close(order_[0]);
  const uint64_t low = ZeroBytes(tags_[0]);
  const int slot = low != 0 ? std::countr_zero(low) / 8 : 8 + std::countr_zero(ZeroBytes(tags_[1])) / 8;
  SetTag(slot, tag);
  order_[open_++] = static_cast<uint8_t>(slot);
  Flow& flow = flows_[slot];
  flow.first = packet;
  flow.count = 1;
  flow.bytes = packet.length;
  flow.next_sequence = packet.protocol == IPPROTO_TCP ? Load32(packet.upper() + 4) + packet.payload_length() : 0;
  flow.id_step = 0;
  flow.verified = verified;
  flow.push = false;
  parts_[slot][1] = {packet.data, packet.length};
}

inline void Coalescer::SetTag(int slot, uint8_t tag) {
  uint64_t& word = tags_[slot / 8];
  const int shift = slot % 8 * 8;
  word = (word & ~(uint64_t{0xff} << shift)) | uint64_t{tag} << shift;
}

void Coalescer::Close(int slot) {
  SetTag(slot, 0);
  uint32_t at = 0;
  while (order_[at] != slot) ++at;
  --open_;
  memmove(order_ + at, order_ + at + 1, open_ - at);

  const Flow& flow = flows_[slot];
  virtio_net_hdr offload{};
  if (flow.count > 1) Complete(flow, &offload);
  parts_[slot][0] = {&offload, sizeof offload};
  sink_.Take({parts_[slot], static_cast<int>(1 + flow.count), flow.count, flow.bytes});
}

// The headers of a super-packet, in those of its first packet.
void Coalescer::Complete(const Flow& flow, virtio_net_hdr* offload) {
  const Packet& first = flow.first;
  uint8_t* ip = first.data;
  uint8_t* upper = first.upper();
  const uint32_t upper_length = flow.bytes - first.ip_length;
  const bool tcp = first.protocol == IPPROTO_TCP;
  if (first.version == 4) {
    Store16(ip + 2, static_cast<uint16_t>(flow.bytes));
    Store16(ip + 10, 0);
    Store16(ip + 10, Finish(SumOf(ip, 20)));
  } else {
    Store16(ip + 4, static_cast<uint16_t>(upper_length));
  }
  if (flow.push) upper[13] |= kPush;
  if (!tcp) Store16(upper + 4, static_cast<uint16_t>(upper_length));
  const uint32_t checksum = tcp ? kTcpChecksum : kUdpChecksum;
  // What the device finds here it adds to the sum of the rest.
  Store16(upper + checksum, Fold(PseudoHeaderSum(ip, first.version, first.protocol, upper_length)));

  offload->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
  offload->gso_type = !tcp                ? VIRTIO_NET_HDR_GSO_UDP_L4
                      : first.version == 4 ? VIRTIO_NET_HDR_GSO_TCPV4
                                           : VIRTIO_NET_HDR_GSO_TCPV6;
  offload->hdr_len = static_cast<uint16_t>(first.header_length);
  offload->gso_size = static_cast<uint16_t>(first.payload_length());
  offload->csum_start = static_cast<uint16_t>(first.ip_length);
  offload->csum_offset = static_cast<uint16_t>(checksum);
}

// Everything open from the packet's source to its destination.
void Coalescer::CloseBetween(const uint8_t* packet, uint8_t version) {
  for (uint32_t at = 0; at < open_;) {
    const Packet& first = flows_[order_[at]].first;
    if (first.version == version && SameAddresses(first.data, packet, version)) {
      Close(order_[at]);  // the next one moves up to `at`
    } else {
      ++at;
    }
  }
}

void Coalescer::Pass(uint8_t* packet, uint32_t length) {
  virtio_net_hdr none{};
  const iovec parts[] = {{&none, sizeof none}, {packet, length}};
  sink_.Take({parts, 2, 1, length});
}

void Coalescer::Flush() {
  while (open_ > 0) Close(order_[0]);
}

}  // namespace loden::core
