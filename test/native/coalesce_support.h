// Packets by their fields, a sink that remembers, and a segmenter that shares nothing with the core's.
#pragma once

#include <doctest/doctest.h>
#include <netinet/in.h>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "core/coalesce.h"

namespace coalescing {

using Bytes = std::vector<uint8_t>;

inline void Put16(Bytes& b, size_t at, uint32_t v) {
  b[at] = static_cast<uint8_t>(v >> 8);
  b[at + 1] = static_cast<uint8_t>(v);
}
inline void Put32(Bytes& b, size_t at, uint32_t v) {
  Put16(b, at, v >> 16);
  Put16(b, at + 2, v & 0xffff);
}
inline uint32_t Get16(const Bytes& b, size_t at) { return static_cast<uint32_t>(b[at] << 8 | b[at + 1]); }
inline uint32_t Get32(const Bytes& b, size_t at) { return Get16(b, at) << 16 | Get16(b, at + 2); }

// RFC 1071, a byte at a time; not inverted.
inline uint32_t SlowSum(const Bytes& b, size_t from, size_t to, uint32_t start = 0) {
  uint32_t sum = start;
  for (size_t i = from; i < to; ++i) {
    sum += (i - from) % 2 ? b[i] : b[i] << 8;
    sum = (sum & 0xffff) + (sum >> 16);
  }
  return (sum & 0xffff) + (sum >> 16);
}

inline bool IsV4(const Bytes& b) { return b[0] >> 4 == 4; }
inline uint8_t ProtocolOf(const Bytes& b) { return IsV4(b) ? b[9] : b[6]; }

// Of addresses, protocol and the length of what follows a plain IP header.
inline uint32_t SlowPseudoSum(const Bytes& b) {
  const size_t ip = IsV4(b) ? 20 : 40;
  const uint32_t upper = static_cast<uint32_t>(b.size() - ip);
  return SlowSum(b, IsV4(b) ? 12 : 8, ip, ProtocolOf(b) + (upper & 0xffff) + (upper >> 16));
}

inline void FixIpChecksum(Bytes& b) {
  if (!IsV4(b)) return;
  Put16(b, 10, 0);
  Put16(b, 10, ~SlowSum(b, 0, (b[0] & 15) * 4) & 0xffff);
}

// Lengths and checksums of a plain IP header with TCP or UDP behind it.
inline void FixLengthsAndChecksums(Bytes& b) {
  const size_t ip = IsV4(b) ? 20 : 40;
  if (IsV4(b)) {
    Put16(b, 2, static_cast<uint32_t>(b.size()));
  } else {
    Put16(b, 4, static_cast<uint32_t>(b.size() - 40));
  }
  FixIpChecksum(b);
  const bool tcp = ProtocolOf(b) == IPPROTO_TCP;
  if (!tcp) Put16(b, ip + 4, static_cast<uint32_t>(b.size() - ip));
  const size_t at = ip + (tcp ? 16 : 6);
  Put16(b, at, 0);
  uint32_t sum = ~SlowSum(b, ip, b.size(), SlowPseudoSum(b)) & 0xffff;
  if (!tcp && sum == 0) sum = 0xffff;
  Put16(b, at, sum);
}

constexpr uint8_t kFin = 1, kSyn = 2, kRst = 4, kPsh = 8, kAck = 16, kUrg = 32, kEce = 64, kCwr = 128;

// The option that nearly every segment carries.
inline Bytes Timestamps() {
  Bytes b(12, 1);
  b[2] = 8;
  b[3] = 10;
  return b;
}

// A packet behind a plain IP header.
struct Spec {
  uint8_t version = 4;
  uint8_t protocol = IPPROTO_TCP;
  uint8_t source = 1, destination = 2;  // the addresses' last bytes
  uint16_t from = 1000, to = 2000;
  uint8_t tos = 0, ttl = 63;
  bool df = true;
  uint16_t id = 100;
  uint32_t label = 7;
  uint32_t sequence = 5000, acknowledged = 77;
  uint8_t reserved = 0;  // the four bits beside the header length
  uint8_t flags = kAck;
  uint16_t window = 500, urgent = 0;
  Bytes options = Timestamps();
  Bytes payload = Bytes(100, 'x');

  // The next one of its flow.
  Spec Next() const {
    Spec next = *this;
    ++next.id;
    next.sequence += static_cast<uint32_t>(payload.size());
    return next;
  }
  Spec With(auto change) const {
    Spec other = *this;
    change(other);
    return other;
  }
};

inline Bytes Build(const Spec& s) {
  const bool tcp = s.protocol == IPPROTO_TCP, v4 = s.version == 4;
  const size_t ip = v4 ? 20 : 40, upper = tcp ? 20 + s.options.size() : 8;
  Bytes b(ip + upper);
  if (v4) {
    b[0] = 0x45;
    b[1] = s.tos;
    Put16(b, 4, s.id);
    b[6] = s.df ? 0x40 : 0;
    b[8] = s.ttl;
    b[9] = s.protocol;
    Put32(b, 12, 0x0a000000u | s.source);
    Put32(b, 16, 0x0a010000u | s.destination);
  } else {
    Put32(b, 0, 0x60000000u | static_cast<uint32_t>(s.tos) << 20 | s.label);
    b[6] = s.protocol;
    b[7] = s.ttl;
    b[8] = b[24] = 0xfd;
    b[23] = s.source;
    b[39] = s.destination;
  }
  Put16(b, ip, s.from);
  Put16(b, ip + 2, s.to);
  if (tcp) {
    Put32(b, ip + 4, s.sequence);
    Put32(b, ip + 8, s.acknowledged);
    b[ip + 12] = static_cast<uint8_t>(upper / 4 << 4 | s.reserved);
    b[ip + 13] = s.flags;
    Put16(b, ip + 14, s.window);
    Put16(b, ip + 18, s.urgent);
    if (!s.options.empty()) memcpy(&b[ip + 20], s.options.data(), s.options.size());
  }
  b.insert(b.end(), s.payload.begin(), s.payload.end());
  FixLengthsAndChecksums(b);
  return b;
}

// What the sink was given.
struct Super {
  loden::core::virtio_net_hdr offload;
  Bytes bytes;
  uint32_t packets;
  std::vector<const void*> places;  // of the parts behind the virtio header
};

// A Coalescer whose packets lie in blocks of their exact size, so that a sanitizer sees each read beyond them.
class Rig : public loden::core::SuperPacketSink {
 public:
  explicit Rig(bool uso = true) : coalescer(std::make_unique<loden::core::Coalescer>(*this, uso)) {}

  uint8_t* Add(const Bytes& bytes) {
    kept_.push_back(std::make_unique<uint8_t[]>(bytes.size()));
    uint8_t* place = kept_.back().get();
    memcpy(place, bytes.data(), bytes.size());
    loden::core::Inner inner;
    REQUIRE(loden::core::ParseInner(place, bytes.size(), &inner) == loden::core::Drop::kNone);
    coalescer->Add(place, inner);
    return place;
  }
  uint8_t* Add(const Spec& spec) { return Add(Build(spec)); }

  void Flush() {
    coalescer->Flush();
    kept_.clear();
  }

  void Take(const loden::core::SuperPacket& packet) override {
    REQUIRE(packet.part_count >= 2);
    REQUIRE(packet.parts[0].iov_len == sizeof(loden::core::virtio_net_hdr));
    Super super{};
    memcpy(&super.offload, packet.parts[0].iov_base, sizeof super.offload);
    for (int i = 1; i < packet.part_count; ++i) {
      const auto* data = static_cast<const uint8_t*>(packet.parts[i].iov_base);
      super.places.push_back(data);
      super.bytes.insert(super.bytes.end(), data, data + packet.parts[i].iov_len);
    }
    super.packets = packet.packets;
    CHECK(packet.bytes == super.bytes.size());
    out.push_back(super);
  }

  // How many packets each of those given so far was made of: "3 1".
  std::string Counts() const {
    std::string text;
    for (const Super& super : out) text += (text.empty() ? "" : " ") + std::to_string(super.packets);
    return text;
  }

  std::unique_ptr<loden::core::Coalescer> coalescer;
  std::vector<Super> out;

 private:
  std::vector<std::unique_ptr<uint8_t[]>> kept_;
};

// What the kernel makes of a super-packet on its way to a wire, step by step; claims that it may rely on are checked.
inline std::vector<Bytes> NaiveCut(const Super& super) {
  const auto& offload = super.offload;
  const Bytes& whole = super.bytes;
  if (offload.gso_type == 0) {
    const loden::core::virtio_net_hdr none{};
    CHECK(memcmp(&offload, &none, sizeof none) == 0);
    CHECK(super.packets == 1);
    return {whole};
  }
  const bool v4 = IsV4(whole), tcp = ProtocolOf(whole) == IPPROTO_TCP;
  const size_t ip = v4 ? 20 : 40;
  const size_t headers = ip + (tcp ? static_cast<size_t>(whole[ip + 12] >> 4) * 4 : 8);
  CHECK(offload.flags == 1);
  CHECK(offload.gso_type == (!tcp ? 5 : v4 ? 1 : 4));
  CHECK(offload.hdr_len == headers);
  CHECK(offload.csum_start == ip);
  CHECK(offload.csum_offset == (tcp ? 16 : 6));
  CHECK(whole.size() <= 65535);
  REQUIRE(offload.gso_size > 0);
  REQUIRE(whole.size() > headers + offload.gso_size);
  CHECK(Get16(whole, v4 ? 2 : 4) == (v4 ? whole.size() : whole.size() - 40));
  if (v4) CHECK(SlowSum(whole, 0, 20) == 0xffff);
  if (!tcp) CHECK(Get16(whole, ip + 4) == whole.size() - ip);
  CHECK(Get16(whole, ip + (tcp ? 16 : 6)) == SlowPseudoSum(whole));

  std::vector<Bytes> cut;
  for (size_t at = headers; at < whole.size(); at += offload.gso_size) {
    const size_t to = std::min<size_t>(at + offload.gso_size, whole.size());
    Bytes one(whole.begin(), whole.begin() + static_cast<long>(headers));
    one.insert(one.end(), whole.begin() + static_cast<long>(at), whole.begin() + static_cast<long>(to));
    if (v4) Put16(one, 4, Get16(whole, 4) + static_cast<uint32_t>(cut.size()));
    if (tcp) {
      Put32(one, ip + 4, Get32(whole, ip + 4) + static_cast<uint32_t>(at - headers));
      if (to != whole.size()) one[ip + 13] &= static_cast<uint8_t>(~(kFin | kPsh));
      if (!cut.empty()) one[ip + 13] &= static_cast<uint8_t>(~kCwr);
    }
    FixLengthsAndChecksums(one);
    cut.push_back(one);
  }
  CHECK(cut.size() == super.packets);
  return cut;
}

inline std::vector<Bytes> NaiveCut(const std::vector<Super>& supers) {
  std::vector<Bytes> all;
  for (const Super& super : supers) {
    for (Bytes& one : NaiveCut(super)) all.push_back(std::move(one));
  }
  return all;
}

inline Spec Udp(uint8_t version = 4) {
  Spec spec;
  spec.version = version;
  spec.protocol = IPPROTO_UDP;
  return spec;
}

inline Spec Tcp(uint8_t version) {
  Spec spec;
  spec.version = version;
  return spec;
}

// `count` packets of a flow in a row.
inline std::vector<Spec> Train(Spec first, size_t count) {
  std::vector<Spec> train{std::move(first)};
  while (train.size() < count) train.push_back(train.back().Next());
  return train;
}

// Adds all, flushes, and sees that the same packets come out in the same order.
inline std::string Run(const std::vector<Bytes>& packets, bool uso = true) {
  Rig rig(uso);
  for (const Bytes& packet : packets) rig.Add(packet);
  rig.Flush();
  CHECK(NaiveCut(rig.out) == packets);
  return rig.Counts();
}

inline std::string Run(const std::vector<Spec>& specs, bool uso = true) {
  std::vector<Bytes> packets;
  for (const Spec& spec : specs) packets.push_back(Build(spec));
  return Run(packets, uso);
}

}  // namespace coalescing
