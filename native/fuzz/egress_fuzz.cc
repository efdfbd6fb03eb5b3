// Hostile packets and offload headers from the device: what leaves is what segmentation by the book makes of them, to
// the right peer, in order, in trains the kernel takes; whatever errors the sockets give, each packet is sent once or
// counted, and no socket is waited for for long.
//
// Input: flags (1: trains, 2: an IPv4 socket, 4: an IPv6 socket, 8: a script of errors follows: its length, its
// bytes), then runs of packets: how (see How) and 4 times how many more, offload header (10 bytes), length (2), bytes,
// how many bytes of payload to add (2).
#include <algorithm>
#include <cstring>
#include <map>

#include "check.h"
#include "core/egress.h"
#include "kernel.h"
#include "packets.h"
#include "world.h"

namespace loden::fuzz {
namespace {

using core::Drop;
using core::virtio_net_hdr;

constexpr uint32_t kMaxPacket = 65535 + 40;
// Bounds on what one input may ask for: many packets in one batch, but not minutes.
constexpr size_t kMaxBytes = 1'200'000;
constexpr size_t kMaxPackets = 9000;

enum class How : uint8_t { kRaw, kMended, kSuper, kPartial };

// As a stack would have left it: the checksum field holds the pseudo header's sum.
void MakePartial(Bytes* packet, virtio_net_hdr* offload, const Ports& ports) {
  MendUpper(packet);
  Put(packet, ports.checksum(), 2, PseudoSum(*packet, ports));
  offload->flags = core::VIRTIO_NET_HDR_F_NEEDS_CSUM;
  offload->csum_start = static_cast<uint16_t>(ports.upper);
  offload->csum_offset = static_cast<uint16_t>(ports.checksum() - ports.upper);
  offload->hdr_len = static_cast<uint16_t>(ports.payload);
}

struct Offered {
  virtio_net_hdr offload;
  Bytes packet;
  bool good;  // made by the rules: must be taken
};

Offered ReadPacket(Input& in, How how) {
  Offered out{{in.U8(), in.U8(), in.U16(), in.U16(), in.U16(), in.U16()}, {}, false};
  out.packet = in.Take(in.U16());
  const uint32_t fill = in.U16();
  for (uint32_t i = 0; i < fill && out.packet.size() < kMaxPacket; ++i) {
    out.packet.push_back(static_cast<uint8_t>(i * 7));
  }
  if (how == How::kRaw) return out;
  if (out.packet.size() > 65535 && out.packet[0] >> 4 == 4) out.packet.resize(65535);
  MendIp(&out.packet);
  const auto ports = PortsOf(out.packet);
  if (how == How::kMended || !ports) {
    MendUpper(&out.packet);
    return out;
  }
  const uint8_t ecn = out.offload.gso_type & core::VIRTIO_NET_HDR_GSO_ECN;
  MakePartial(&out.packet, &out.offload, *ports);
  out.offload.gso_type = core::VIRTIO_NET_HDR_GSO_NONE;
  out.good = true;
  if (how == How::kPartial) return out;
  // UDP length and the header it does not fit into: no stack makes such a super-packet.
  out.good = out.packet.size() > ports->payload && ports->payload <= core::kMaxHeaders && out.offload.gso_size != 0;
  out.offload.gso_type = ports->protocol == 17  ? core::VIRTIO_NET_HDR_GSO_UDP_L4
                         : ports->version == 4 ? static_cast<uint8_t>(core::VIRTIO_NET_HDR_GSO_TCPV4 | ecn)
                                               : static_cast<uint8_t>(core::VIRTIO_NET_HDR_GSO_TCPV6 | ecn);
  return out;
}

// What is to leave for a packet that may be forwarded; empty if its headers contradict each other.
std::vector<Bytes> WirePackets(const Offered& offered, const core::Inner& inner) {
  Bytes packet = offered.packet;
  core::DecrementTtl(packet.data(), inner.version);
  const Bytes before = packet;
  core::Cut cut;
  const Drop bad = cut.Open(offered.offload, packet.data(), inner);
  FUZZ_CHECK(bad == Drop::kNone || bad == Drop::kBadOffload);
  FUZZ_CHECK(bad == Drop::kNone || !offered.good);
  std::vector<Bytes> out;
  if (bad != Drop::kNone) return out;
  FUZZ_CHECK(cut.count() > 0 && cut.count() <= 65515 && cut.header_length() <= core::kMaxHeaders);
  const auto headers = std::make_unique<uint8_t[]>(cut.header_length());
  for (uint32_t i = 0; i < cut.count(); ++i) {
    const core::Segment segment = cut.WriteHeader(i, headers.get());
    FUZZ_CHECK(segment.payload >= packet.data());
    FUZZ_CHECK(segment.payload + segment.payload_length <= packet.data() + packet.size());
    out.emplace_back(headers.get(), headers.get() + cut.header_length());
    out.back().insert(out.back().end(), segment.payload, segment.payload + segment.payload_length);
    FUZZ_CHECK(out.back().size() == (i + 1 == cut.count() ? cut.last_size() : cut.size()));
    core::Inner each;
    FUZZ_CHECK(core::ParseInner(out.back().data(), out.back().size(), &each) == Drop::kNone);
  }
  if (offered.offload.gso_type == core::VIRTIO_NET_HDR_GSO_NONE) {
    FUZZ_CHECK(out.size() == 1);
    if (!(offered.offload.flags & core::VIRTIO_NET_HDR_F_NEEDS_CSUM)) FUZZ_CHECK(out[0] == before);
    if (offered.good) FUZZ_CHECK(UpperChecksumHolds(out[0], *PortsOf(out[0])));
    return out;
  }
  const auto ports = PortsOf(before);
  FUZZ_CHECK(ports.has_value());
  // What the field holds is believed: only where it is the pseudo header's sum are there right checksums to compare.
  if (Get(before, ports->checksum(), 2) != PseudoSum(before, *ports)) return out;
  const auto segments = Segments(offered.offload, before);
  FUZZ_CHECK(segments.has_value() && segments->size() == out.size());
  for (size_t i = 0; i < out.size(); ++i) {
    Bytes wanted = (*segments)[i];
    // One that needs no cutting keeps its IP header as it is.
    if (out.size() == 1 && !IpChecksumHolds(before)) Put(&wanted, 10, 2, Get(before, 10, 2));
    FUZZ_CHECK(out[i] == wanted);
  }
  return out;
}

int Run(Input in) {
  const World& world = World::Get();
  const uint8_t flags = in.U8();
  Kernel kernel(in.Take(flags & 8 ? in.U8() : 0));
  const bool errors = flags & 8;
  bool losing = errors;  // or something no datagram can hold
  std::map<Bytes, std::vector<Bytes>> expected;  // by address of the peer
  size_t bytes = 0, packets = 0, offered_packets = 0;
  while (in.left() > 0 && offered_packets < 2000 && bytes < kMaxBytes && packets < kMaxPackets) {
    const uint8_t mode = in.U8();
    Offered offered = ReadPacket(in, static_cast<How>(mode % 4));
    const uint32_t room = static_cast<uint32_t>(offered.packet.size());
    if (offered.offload.gso_size != 0 && room / offered.offload.gso_size > kMaxPackets - packets) continue;
    core::Inner inner;
    const bool sound = core::ParseInner(offered.packet.data(), offered.packet.size(), &inner) == Drop::kNone;
    const core::Peer* peer = sound ? world.PeerOf(DestinationOf(offered.packet.data())) : nullptr;
    core::Address to;
    if (peer != nullptr) {
      if ((flags & 2) && peer->endpoint4) {
        to = peer->endpoint4;
      } else if (flags & 4) {
        to = peer->endpoint6;
      }
    }
    std::vector<Bytes> wire;
    if (to && inner.hop_limit > 1) wire = WirePackets(offered, inner);
    losing |= std::any_of(wire.begin(), wire.end(), [](const Bytes& p) { return p.size() > 65507; });
    Bytes message(sizeof offered.offload);
    memcpy(message.data(), &offered.offload, sizeof offered.offload);
    message.insert(message.end(), offered.packet.begin(), offered.packet.end());
    for (uint32_t i = 0; i <= mode / 4u && bytes < kMaxBytes && packets < kMaxPackets; ++i) {
      bytes += message.size();
      packets += wire.empty() ? 1 : wire.size();
      ++offered_packets;
      kernel.to_read.push_back(message);
      auto& queue = expected[Bytes(to.bytes, to.bytes + 16)];
      queue.insert(queue.end(), wire.begin(), wire.end());
    }
  }

  core::WorkerCounters counters;
  const auto peers = std::make_unique<core::PeerCounters[]>(8);
  core::Answers answers(counters);
  core::Sender sender(counters, peers.get(), answers);
  sender.Use(flags & 2 ? kSocket4 : -1, flags & 4 ? kSocket6 : -1, kTun, flags & 1, kPort);
  core::Egress egress(counters, sender, answers);
  egress.Use(kTun);
  while (egress.Run(world.table()) != core::Progress::kIdle) {
  }

  // A full socket of each family is waited for once, not once for each train: peers' packets wait meanwhile.
  FUZZ_CHECK(kernel.waited <= 2 * 100);

  std::map<Bytes, size_t> at;
  uint64_t sent_bytes = 0;
  for (const Kernel::Sent& sent : kernel.sent) {
    const Bytes key(sent.to.bytes, sent.to.bytes + 16);
    const auto& queue = expected[key];
    size_t& next = at[key];
    // What is left of them is in order.
    while (losing && next < queue.size() && queue[next] != sent.packet) ++next;
    FUZZ_CHECK(next < queue.size());
    FUZZ_CHECK(queue[next] == sent.packet);
    ++next;
    sent_bytes += sent.packet.size();
  }
  uint64_t drops = 0, wanted = 0;
  for (const auto& counter : counters.out_drops) drops += counter.Get();
  for (const auto& [key, queue] : expected) wanted += queue.size();
  FUZZ_CHECK(counters.out_packets.Get() == kernel.sent.size() && counters.out_bytes.Get() == sent_bytes);
  FUZZ_CHECK(counters.out_packets.Get() + drops == packets && counters.out_supers.Get() == offered_packets);
  FUZZ_CHECK(losing || kernel.sent.size() == wanted);
  // The device is only ever given answers, to whoever sent.
  for (const Bytes& written : kernel.written) {
    FUZZ_CHECK(written.size() >= 10 + 28);
    FUZZ_CHECK(std::all_of(written.begin(), written.begin() + 10, [](uint8_t b) { return b == 0; }));
    const Bytes answer(written.begin() + 10, written.end());
    core::Inner inner;
    FUZZ_CHECK(core::ParseInner(answer.data(), answer.size(), &inner) == Drop::kNone);
    FUZZ_CHECK(world.IsOwn(SourceOf(answer.data())) && inner.protocol == (inner.version == 4 ? 1 : 58));
  }
  return 0;
}

}  // namespace
}  // namespace loden::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) { return loden::fuzz::Run({data, size}); }
