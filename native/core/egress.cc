#include "egress.h"

#include <errno.h>
#include <unistd.h>

#include <cstring>

#include "tun.h"

namespace loden::core {
namespace {

// What one batch reads, bytes. A batch ends when the room for a largest packet is gone. Four super-packets and the copies
// that are made of them stay in a second-level cache; of 64 KB to 4 MB this was the cheapest for each byte.
constexpr uint32_t kBufferBytes = 256 * 1024;
// The packet begins here, aligned, with the offload header right before it.
constexpr uint32_t kHeadroom = 16;
constexpr uint32_t kRoom = kHeadroom + kMaxTunPacket;
constexpr uint32_t kAlign = 64;

}  // namespace

Egress::Egress(WorkerCounters& counters, Sender& sender, Answers& answers)
    : counters_(counters), sender_(sender), answers_(answers), buffer_(new uint8_t[kBufferBytes]) {}

Progress Egress::Run(const Table& table) {
  trains_.set_max_packets(sender_.gso() ? kMaxTrainPackets : 1);
  Progress progress = Progress::kMore;
  uint32_t at = 0;
  while (kBufferBytes - at >= kRoom) {
    uint8_t* packet = buffer_.get() + at + kHeadroom;
    uint8_t* header = packet - sizeof(virtio_net_hdr);
    const ssize_t got = read(tun_, header, sizeof(virtio_net_hdr) + kMaxTunPacket);
    if (got < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) {
        progress = at == 0 ? Progress::kIdle : Progress::kDrained;
      } else if (errno == EINVAL) {
        // tun_put_user has no word for its GSO type ("unexpected GSO type" in the kernel's log): the packet is gone,
        // the device is not.
        counters_.out_drops[static_cast<int>(Drop::kBadOffload)].Add(1);
        progress = Progress::kDrained;
      } else {
        error_ = errno;
        progress = Progress::kLost;
      }
      break;
    }
    const auto bytes = static_cast<uint32_t>(got);
    if (bytes < sizeof(virtio_net_hdr)) continue;  // tun_put_user writes the whole header or fails
    virtio_net_hdr offload;
    memcpy(&offload, header, sizeof offload);
    counters_.out_supers.Add(1);
    Take(table, offload, packet, bytes - static_cast<uint32_t>(sizeof offload));
    at += (kHeadroom + bytes + kAlign - 1) / kAlign * kAlign;
  }
  Flush(table);
  return progress;
}

void Egress::Take(const Table& table, const virtio_net_hdr& offload, uint8_t* packet, uint32_t length) {
  Inner inner;
  if (const Drop bad = ParseInner(packet, length, &inner); bad != Drop::kNone) {
    counters_.out_drops[static_cast<int>(bad)].Add(1);
    return;
  }
  const Peer* peer = table.PeerOf(inner.version, packet + (inner.version == 4 ? 16 : 24));
  if (peer == nullptr) return Refuse(table, Drop::kNoRoute, IcmpError::kNetUnreachable, packet, inner);
  if (inner.hop_limit <= 1) return Refuse(table, Drop::kTtl, IcmpError::kTimeExceeded, packet, inner);
  if (sender_.FamilyTo(*peer) == 0) {
    return Refuse(table, Drop::kNoEndpoint, IcmpError::kNetUnreachable, packet, inner);
  }
  DecrementTtl(packet, inner.version);
  Cut cut;
  if (const Drop bad = cut.Open(offload, packet, inner); bad != Drop::kNone) {
    counters_.out_drops[static_cast<int>(bad)].Add(1);
    return;
  }
  if ((cut.count() == 1 ? inner.length : cut.size()) > sender_.LimitTo(*peer)) {
    return TooBig(*peer, cut, packet, inner, table);
  }
  if (cut.count() == 1) {
    if (trains_.Append(peer, nullptr, 0, packet, inner.length)) return;
    Flush(table);
    (void)trains_.Append(peer, nullptr, 0, packet, inner.length);
    return;
  }
  for (uint32_t i = 0; i < cut.count(); ++i) {
    if (AppendSegment(peer, cut, i)) continue;
    Flush(table);
    (void)AppendSegment(peer, cut, i);
  }
}

bool Egress::AppendSegment(const Peer* peer, const Cut& cut, uint32_t index) {
  uint8_t* headers = trains_.Headers(cut.header_length());
  if (headers == nullptr) return false;
  const Segment segment = cut.WriteHeader(index, headers);
  return trains_.Append(peer, headers, cut.header_length(), segment.payload, segment.payload_length);
}

void Egress::TooBig(const Peer& peer, const Cut& cut, uint8_t* packet, const Inner& inner, const Table& table) {
  // What came before leaves before.
  Flush(table);
  uint8_t headers[kMaxHeaders];
  for (uint32_t i = 0; i < cut.count(); ++i) {
    iovec parts[2] = {{packet, inner.length}, {nullptr, 0}};
    if (cut.count() > 1) {
      const Segment segment = cut.WriteHeader(i, headers);
      parts[0] = {headers, cut.header_length()};
      parts[1] = {const_cast<uint8_t*>(segment.payload), segment.payload_length};
    }
    if (sender_.TooBig(peer, parts, cut.count() > 1 ? 2 : 1, table)) {
      // One answer is enough for all packets of one.
      counters_.out_drops[static_cast<int>(Drop::kTooBig)].Add(cut.count() - i - 1);
      return;
    }
  }
}

void Egress::Refuse(const Table& table, Drop reason, IcmpError error, const uint8_t* packet, const Inner& inner) {
  counters_.out_drops[static_cast<int>(reason)].Add(1);
  answers_.ToDevice(tun_, error, table, packet, inner, 0);
}

void Egress::Flush(const Table& table) {
  if (trains_.empty()) return;
  sender_.Send(trains_, table);
  trains_.Clear();
}

}  // namespace loden::core
