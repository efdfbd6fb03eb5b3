// Hostile datagrams: what the device is given is what may pass, every packet byte for byte but its TTL, in the order of
// its flow.
//
// Input: flags (1: the device takes USO, 2: make checksums right, 4: a script of errors follows: its length, its bytes;
// 8, 16: the last byte of the third or the first of three packets is wrong), then runs of packets: sender, how many more
// (each TCP packet is the next of its flow; 128 more: the run before goes on, and nothing follows), UDP_GRO's size (2
// bytes; 0: as they are), length (2), bytes, how many bytes of payload to add (2).
#include <cstring>
#include <map>

#include "check.h"
#include "core/ingress.h"
#include "kernel.h"
#include "packets.h"
#include "world.h"

namespace loden::fuzz {
namespace {

using core::Drop;
using core::virtio_net_hdr;

constexpr size_t kMaxDatagram = 65507;

// `packet`: the one that follows the last run; then the one that follows this.
Kernel::Message ReadRun(Input& in, uint8_t flags, Bytes& packet) {
  const bool mend = flags & 2;
  Kernel::Message message{World::Get().Outer(in.U8()), {}, 0};
  const uint8_t many = in.U8();
  const uint32_t count = many % 128 + 1;
  if (many < 128) {
    message.gro = in.U16();
    packet = in.Take(in.U16());
    for (uint32_t i = in.U16() % 2000; i > 0; --i) packet.push_back(static_cast<uint8_t>(i));
  }
  if (mend) {
    MendIp(&packet);
    MendUpper(&packet);
  }
  if (message.gro == 0 && count > 1) message.gro = static_cast<uint32_t>(packet.size());
  for (uint32_t i = 0; i < count && message.data.size() + packet.size() <= kMaxDatagram; ++i) {
    message.data.insert(message.data.end(), packet.begin(), packet.end());
    const bool wrong = ((flags & 8) && i % 3 == 2) || ((flags & 16) && i % 3 == 0);
    if (wrong && !packet.empty()) message.data.back() ^= 1;
    const auto ports = PortsOf(packet);
    if (!ports) continue;
    if (ports->protocol == 6) {
      const uint32_t sequence = Get(packet, ports->upper + 4, 4);
      Put(&packet, ports->upper + 4, 4, sequence + static_cast<uint32_t>(packet.size()) - ports->payload);
    }
    if (ports->version == 4) Put(&packet, 4, 2, Get(packet, 4, 2) + 1);
    if (mend) {
      MendIp(&packet);
      MendUpper(&packet);
    }
  }
  return message;
}

// What packets must keep their order among: those of equal ports between equal addresses; those without ports (`ports`
// is empty) towards all between their addresses.
struct Flow {
  Bytes between, ports;

  explicit Flow(const Bytes& packet) {
    const bool v4 = packet[0] >> 4 == 4;
    between.assign(packet.begin() + (v4 ? 12 : 8), packet.begin() + (v4 ? 20 : 40));
    const auto known = PortsOf(packet);
    if (!known) return;
    ports.assign(packet.begin() + known->upper, packet.begin() + known->upper + 4);
    ports.push_back(known->protocol);
  }
  bool Orders(const Flow& other) const { return ports.empty() || other.ports.empty() || ports == other.ports; }
};

// One packet of a message, as it may be given to the device; empty: it may not.
Bytes Allowed(const core::Address& outer, Bytes packet) {
  const World& world = World::Get();
  core::Inner inner;
  if (core::ParseInner(packet.data(), packet.size(), &inner) != Drop::kNone) return {};
  FUZZ_CHECK(inner.length == packet.size() && inner.version == packet[0] >> 4);
  const core::Peer* peer = world.PeerOf(SourceOf(packet.data()));
  if (peer == nullptr || !(outer == (outer.family == 4 ? peer->endpoint4 : peer->endpoint6))) return {};
  if (!world.IsOwn(DestinationOf(packet.data())) || inner.hop_limit <= 1 || packet.size() > World::kMtu) return {};
  const uint16_t sum = inner.version == 4 ? SumOfWords(packet, 0, inner.ip_length) : 0;
  core::DecrementTtl(packet.data(), inner.version);
  FUZZ_CHECK(packet[inner.version == 4 ? 8 : 7] == inner.hop_limit - 1);
  if (inner.version == 4) FUZZ_CHECK(SumOfWords(packet, 0, inner.ip_length) % 0xffff == sum % 0xffff);
  return packet;
}

// DF: the identification means nothing (RFC 6864), and GSO counts it up.
bool Same(const Bytes& given, const Bytes& expected) {
  if (given == expected) return true;
  if (given.size() != expected.size() || expected[0] >> 4 != 4 || !(expected[6] & 0x40)) return false;
  Bytes a = given, b = expected;
  for (Bytes* each : {&a, &b}) {
    Put(each, 4, 2, 0);
    Put(each, 10, 2, 0);
  }
  return a == b && IpChecksumHolds(given) && IpChecksumHolds(expected);
}

class Expected {
 public:
  void Add(Bytes packet) {
    Flow flow(packet);
    between_[flow.between].push_back({std::move(flow), std::move(packet)});
    ++left_;
  }
  void Take(const Bytes& packet) {
    FUZZ_CHECK(packet.size() >= 20);
    const Flow flow(packet);
    auto& waiting = between_[flow.between];
    auto first = waiting.begin();
    while (first != waiting.end() && !first->flow.Orders(flow)) ++first;
    FUZZ_CHECK(first != waiting.end());
    FUZZ_CHECK(Same(packet, first->packet));
    waiting.erase(first);
    --left_;
  }
  size_t left() const { return left_; }

 private:
  struct Waiting {
    Flow flow;
    Bytes packet;
  };
  std::map<Bytes, std::deque<Waiting>> between_;
  size_t left_ = 0;
};

void CheckWritten(const Bytes& written, bool uso, Expected& expected) {
  virtio_net_hdr offload;
  FUZZ_CHECK(written.size() > sizeof offload);
  memcpy(&offload, written.data(), sizeof offload);
  const Bytes packet(written.begin() + sizeof offload, written.end());
  if (offload.gso_type == core::VIRTIO_NET_HDR_GSO_NONE) {
    FUZZ_CHECK(offload.flags == 0);
    return expected.Take(packet);
  }
  FUZZ_CHECK(packet.size() <= 65535 && IpChecksumHolds(packet));
  const auto ports = PortsOf(packet);
  FUZZ_CHECK(ports && offload.hdr_len == ports->payload && (uso || ports->protocol == 6));
  FUZZ_CHECK(Get(packet, ports->checksum(), 2) == PseudoSum(packet, *ports));
  const auto segments = Segments(offload, packet);
  FUZZ_CHECK(segments && segments->size() > 1);
  for (const Bytes& segment : *segments) expected.Take(segment);
}

int Run(Input in) {
  const uint8_t flags = in.U8();
  const bool uso = flags & 1;
  Kernel kernel(in.Take(flags & 4 ? in.U8() : 0));
  Expected expected;
  Bytes next;
  uint64_t packets = 0, bytes = 0, allowed = 0;
  while (in.left() > 0 && kernel.to_receive.size() < 20) {
    kernel.to_receive.push_back(ReadRun(in, flags, next));
    const Kernel::Message& message = kernel.to_receive.back();
    const size_t each = message.gro == 0 ? message.data.size() : message.gro;
    size_t at = 0;
    do {
      const size_t end = each < message.data.size() - at ? at + each : message.data.size();
      Bytes packet = Allowed(message.from, Bytes(message.data.begin() + at, message.data.begin() + end));
      if (!packet.empty()) {
        ++allowed;
        bytes += packet.size();
        expected.Add(std::move(packet));
      }
      ++packets;
      at = end;
    } while (at < message.data.size());
  }

  core::WorkerCounters counters;
  const auto peers = std::make_unique<core::PeerCounters[]>(8);
  core::Answers answers(counters);
  core::Sender sender(counters, peers.get(), answers);
  sender.Use(kSocket4, kSocket6, kTun, true, kPort);
  core::Ingress ingress(counters, peers.get(), sender, answers);
  ingress.Use(kTun, uso);
  while (ingress.Run(World::Get().table(), kSocket4) != core::Progress::kIdle) {
  }

  for (const Bytes& written : kernel.written) CheckWritten(written, uso, expected);
  FUZZ_CHECK(expected.left() == 0);
  uint64_t drops = 0, peer_packets = 0, peer_bytes = 0;
  for (const auto& counter : counters.in_drops) drops += counter.Get();
  FUZZ_CHECK(counters.in_packets.Get() + drops == packets);
  const uint64_t refused = counters.in_drops[static_cast<int>(Drop::kTunError)].Get();
  FUZZ_CHECK(counters.in_packets.Get() + refused == allowed);
  for (int i = 0; i < 8; ++i) {
    peer_packets += peers[i].in_packets.Get();
    peer_bytes += peers[i].in_bytes.Get();
  }
  FUZZ_CHECK(peer_packets == allowed && peer_bytes == bytes);

  for (const Kernel::Sent& sent : kernel.sent) {
    core::Inner inner;
    FUZZ_CHECK(core::ParseInner(sent.packet.data(), sent.packet.size(), &inner) == Drop::kNone);
    const core::Peer* peer = World::Get().PeerOf(DestinationOf(sent.packet.data()));
    FUZZ_CHECK(peer != nullptr && (sent.to == peer->endpoint4 || sent.to == peer->endpoint6));
  }
  return 0;
}

}  // namespace
}  // namespace loden::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) { return loden::fuzz::Run({data, size}); }
