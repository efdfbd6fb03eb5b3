// Cutting and coalescing are each other's inverse, over random flows.
#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <random>

#include "coalesce_support.h"
#include "core/cut.h"

using namespace coalescing;

namespace {

using Random = std::mt19937;

uint32_t Upto(Random& random, uint32_t most) { return random() % (most + 1); }
bool OneIn(Random& random, uint32_t n) { return random() % n == 0; }

// What packets must keep their order among: those of equal ports between equal addresses. Those without ports (`ports`
// is empty) keep it towards all between their addresses.
struct Key {
  Bytes between, ports;
  auto operator<=>(const Key&) const = default;
};

Key KeyOf(const Bytes& b) {
  const size_t ip = IsV4(b) ? 20 : 40;
  Key key{{b.begin() + (IsV4(b) ? 12 : 8), b.begin() + static_cast<long>(ip)}, {}};
  const uint8_t protocol = ProtocolOf(b);
  const bool fragment = IsV4(b) && (Get16(b, 6) & 0x3fff);
  if (!fragment && (protocol == IPPROTO_TCP || protocol == IPPROTO_UDP) && b.size() >= ip + 4) {
    key.ports = {b.begin() + static_cast<long>(ip), b.begin() + static_cast<long>(ip) + 4};
    key.ports.push_back(protocol);
  }
  return key;
}

// Everything once, in order where order counts.
void CheckSame(const std::vector<Bytes>& in, const std::vector<Bytes>& out) {
  REQUIRE(in.size() == out.size());
  std::map<Key, std::vector<Bytes>> flows[2];
  for (int side = 0; side < 2; ++side) {
    const std::vector<Bytes>& packets = side == 0 ? in : out;
    for (const Bytes& packet : packets) flows[side][KeyOf(packet)];
    for (const Bytes& packet : packets) {
      const Key key = KeyOf(packet);
      for (auto& [other, list] : flows[side]) {
        if (other == key || (key.ports.empty() && other.between == key.between)) list.push_back(packet);
      }
    }
  }
  CHECK(flows[0] == flows[1]);
}

std::vector<Bytes> CoreCut(const Super& super) {
  using namespace loden::core;
  Bytes whole = super.bytes;
  Inner inner;
  REQUIRE(ParseInner(whole.data(), whole.size(), &inner) == Drop::kNone);
  Cut cut;
  REQUIRE(cut.Open(super.offload, whole.data(), inner) == Drop::kNone);
  std::vector<Bytes> packets;
  for (uint32_t i = 0; i < cut.count(); ++i) {
    Bytes one(cut.header_length());
    const loden::core::Segment segment = cut.WriteHeader(i, one.data());
    one.insert(one.end(), segment.payload, segment.payload + segment.payload_length);
    CHECK(one.size() == (i + 1 < cut.count() ? cut.size() : cut.last_size()));
    packets.push_back(one);
  }
  return packets;
}

Bytes RandomBytes(Random& random, size_t length) {
  Bytes b(length);
  for (uint8_t& byte : b) byte = static_cast<uint8_t>(random());
  return b;
}

// How much goes wrong on the way; 0 is a clean wire.
struct Weather {
  uint32_t trouble;  // in 1000 packets
  bool constant_ids;
};

// A flow that goes on sending.
class Sender {
 public:
  Sender(Random& random, Weather weather) : random_(random), weather_(weather) {
    next_.version = OneIn(random, 2) ? 4 : 6;
    next_.protocol = OneIn(random, 3) ? IPPROTO_UDP : IPPROTO_TCP;
    next_.source = static_cast<uint8_t>(1 + Upto(random, 1));
    next_.destination = static_cast<uint8_t>(1 + Upto(random, 1));
    next_.from = static_cast<uint16_t>(1 + Upto(random, 3));
    next_.to = static_cast<uint16_t>(1 + Upto(random, 3));
    next_.df = !OneIn(random, 3);
    next_.id = static_cast<uint16_t>(random());
    next_.sequence = OneIn(random, 4) ? 0u - Upto(random, 20000) : static_cast<uint32_t>(random());
    next_.acknowledged = static_cast<uint32_t>(random());
    next_.flags = OneIn(random, 5) ? kAck | kEce : kAck;
    const uint32_t options[] = {0, 12, 12, 20, 40};
    next_.options.assign(options[Upto(random, 4)], 1);
    const uint32_t sizes[] = {1, 22, 64, 536, 1000, 1380, 1448};
    size_ = sizes[Upto(random, 6)];
  }

  // One send call of an application, as TSO would cut it.
  std::vector<Bytes> Send() {
    std::vector<Bytes> packets;
    const bool tcp = next_.protocol == IPPROTO_TCP;
    for (uint32_t n = Upto(random_, 60); n > 0; --n) {
      next_.payload = RandomBytes(random_, size_);
      if (n == 1) {
        if (OneIn(random_, 2)) next_.payload.resize(1 + Upto(random_, size_ - 1));
        if (tcp && OneIn(random_, 2)) next_.flags |= kPsh;
      }
      Trouble();
      packets.push_back(Build(next_));
      if (OneIn(random_, 1000 / (weather_.trouble + 1) + 1) && weather_.trouble) Corrupt(packets.back());
      const uint16_t id = next_.id;
      next_ = next_.Next();
      if (weather_.constant_ids) next_.id = id;
      next_.flags &= kAck | kEce;
      if (next_.flags == 0) next_.flags = kAck;
      next_.urgent = 0;
    }
    return packets;
  }

 private:
  void Trouble() {
    if (Upto(random_, 999) >= weather_.trouble) return;
    switch (Upto(random_, 15)) {
      case 0: next_.payload.clear(); break;
      case 1: next_.payload.push_back(1); break;
      case 2: next_.flags = static_cast<uint8_t>(random_()); break;
      case 3: next_.acknowledged += 100; break;
      case 4: next_.window += 1; break;
      case 5: next_.ttl = static_cast<uint8_t>(1 + Upto(random_, 254)); break;
      case 6: next_.tos ^= 3; break;
      case 7: next_.label ^= 1; break;
      case 8: next_.df = !next_.df; break;
      case 9: next_.id = static_cast<uint16_t>(random_()); break;
      case 10: next_.sequence -= Upto(random_, 3000); break;
      case 11: next_.options.assign(Upto(random_, 10) * 4, 1); break;
      case 12: next_.urgent = static_cast<uint16_t>(random_()); break;
      case 13: next_.reserved ^= 1; break;
      case 14: size_ = 1 + Upto(random_, 1400); break;
      default: next_.id += 5; break;
    }
  }

  // Bits flipped anywhere that ParseInner lets pass, or an unlikely shape.
  void Corrupt(Bytes& b) {
    const Bytes good = b;
    const size_t ip = IsV4(b) ? 20 : 40;
    switch (Upto(random_, 4)) {
      case 0:  // no ports
        b[IsV4(b) ? 9 : 6] = IPPROTO_GRE;
        FixIpChecksum(b);
        break;
      case 1:
        if (!IsV4(b)) break;
        Put16(b, 6, 200);  // a fragment
        FixIpChecksum(b);
        break;
      case 2:
        if (next_.protocol == IPPROTO_UDP) Put16(b, ip + 6, 0);
        break;
      default:
        b[Upto(random_, static_cast<uint32_t>(b.size()) - 1)] ^= static_cast<uint8_t>(1 << Upto(random_, 7));
    }
    loden::core::Inner inner;
    if (loden::core::ParseInner(b.data(), b.size(), &inner) != loden::core::Drop::kNone) b = good;
  }

  Random& random_;
  const Weather weather_;
  Spec next_;
  uint32_t size_;
};

// Flows interleaved as they come out of UDP_GRO: in runs. Some are lost, some come late.
std::vector<Bytes> Mix(Random& random, Weather weather) {
  std::vector<std::vector<Bytes>> queues;
  for (uint32_t n = 1 + Upto(random, OneIn(random, 4) ? 30 : 5); n > 0; --n) {
    queues.push_back(Sender(random, weather).Send());
  }
  std::vector<Bytes> mix;
  while (!queues.empty()) {
    const uint32_t at = Upto(random, static_cast<uint32_t>(queues.size()) - 1);
    auto& queue = queues[at];
    const size_t run = std::min<size_t>(queue.size(), 1 + Upto(random, OneIn(random, 2) ? 1 : 40));
    for (size_t i = 0; i < run; ++i) {
      if (Upto(random, 999) < weather.trouble) continue;
      mix.push_back(queue[i]);
    }
    queue.erase(queue.begin(), queue.begin() + static_cast<long>(run));
    if (queue.empty()) queues.erase(queues.begin() + at);
  }
  for (size_t i = 1; i < mix.size(); ++i) {
    if (Upto(random, 999) < weather.trouble) std::swap(mix[i], mix[i - 1 - Upto(random, i < 6 ? 0 : 5)]);
  }
  return mix;
}

std::vector<Super> Coalesce(Random& random, const std::vector<Bytes>& packets, bool uso) {
  Rig rig(uso);
  for (const Bytes& packet : packets) {
    rig.Add(packet);
    if (OneIn(random, 300)) rig.Flush();
  }
  rig.Flush();
  return rig.out;
}

// IPv4 with DF: the identification says nothing.
void ForgetIds(std::vector<Bytes>& packets) {
  for (Bytes& b : packets) {
    if (!IsV4(b) || !(b[6] & 0x40)) continue;
    // The checksum stays as wrong as it was.
    const uint32_t sum = Get16(b, 10) + Get16(b, 4);
    Put16(b, 10, (sum & 0xffff) + (sum >> 16));
    Put16(b, 4, 0);
  }
}

void RunMix(uint32_t seed, Weather weather, uint64_t* packets, uint64_t* supers) {
  CAPTURE(seed);
  CAPTURE(weather.trouble);
  CAPTURE(weather.constant_ids);
  Random random(seed);
  std::vector<Bytes> in = Mix(random, weather);
  const std::vector<Super> out = Coalesce(random, in, !OneIn(random, 5));
  std::vector<Bytes> naive, core;
  for (const Super& super : out) {
    for (const Bytes& one : NaiveCut(super)) naive.push_back(one);
    for (const Bytes& one : CoreCut(super)) core.push_back(one);
  }
  CHECK(naive == core);
  if (weather.constant_ids) ForgetIds(in), ForgetIds(naive);
  CheckSame(in, naive);
  *packets += in.size();
  *supers += out.size();
}

}  // namespace

TEST_CASE("inverse: what is put together comes out as it went in") {
  for (const bool constant_ids : {false, true}) {
    uint64_t packets = 0, supers = 0;
    for (uint32_t seed = 0; seed < 60; ++seed) {
      RunMix(seed, {.trouble = 0, .constant_ids = constant_ids}, &packets, &supers);
    }
    CHECK(packets > 3 * supers);  // not by doing nothing
  }
}

TEST_CASE("inverse: loss, reordering, corruption and changes of every field come out as they went in") {
  for (const uint32_t trouble : {3, 30, 200}) {
    uint64_t packets = 0, supers = 0;
    for (uint32_t seed = 0; seed < 60; ++seed) {
      RunMix(1000 * trouble + seed, {.trouble = trouble, .constant_ids = seed % 4 == 0}, &packets, &supers);
    }
    CHECK(packets > supers);
  }
}

TEST_CASE("inverse: what the core cuts is put together to the same super-packet") {
  using namespace loden::core;
  for (uint32_t seed = 0; seed < 400; ++seed) {
    CAPTURE(seed);
    Random random(seed);
    Spec spec;
    spec.version = OneIn(random, 2) ? 4 : 6;
    spec.protocol = OneIn(random, 3) ? IPPROTO_UDP : IPPROTO_TCP;
    const bool v4 = spec.version == 4, tcp = spec.protocol == IPPROTO_TCP;
    spec.df = OneIn(random, 2);
    spec.id = static_cast<uint16_t>(random());
    spec.sequence = static_cast<uint32_t>(random());
    spec.flags = static_cast<uint8_t>(kAck | (OneIn(random, 3) ? kPsh : 0) | (OneIn(random, 3) ? kEce : 0));
    spec.options = RandomBytes(random, Upto(random, 10) * 4);
    const uint32_t headers = (v4 ? 20 : 40) + (tcp ? 20 + static_cast<uint32_t>(spec.options.size()) : 8);
    const uint32_t size = 1 + Upto(random, OneIn(random, 3) ? 30 : 3000);
    const uint32_t most = std::min<uint32_t>(65535 - headers, size * (tcp ? kMaxTcpPackets : kMaxUdpPackets));
    spec.payload = RandomBytes(random, size + 1 + Upto(random, most - size - 1));

    Super super{.offload = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
                            .gso_type = !tcp ? VIRTIO_NET_HDR_GSO_UDP_L4
                                        : v4 ? VIRTIO_NET_HDR_GSO_TCPV4
                                             : VIRTIO_NET_HDR_GSO_TCPV6,
                            .hdr_len = static_cast<uint16_t>(headers),
                            .gso_size = static_cast<uint16_t>(size),
                            .csum_start = static_cast<uint16_t>(v4 ? 20 : 40),
                            .csum_offset = static_cast<uint16_t>(tcp ? 16 : 6)},
                .bytes = Build(spec),
                .packets = 0,
                .places = {}};
    Put16(super.bytes, super.offload.csum_start + super.offload.csum_offset, SlowPseudoSum(super.bytes));
    super.packets = static_cast<uint32_t>((spec.payload.size() + size - 1) / size);
    const std::vector<Bytes> packets = CoreCut(super);
    CHECK(packets == NaiveCut(super));
    const std::vector<Super> again = Coalesce(random, packets, true);
    if (again.size() > 1) continue;  // flushed half-way
    REQUIRE(again.size() == 1);
    CHECK(again[0].bytes == super.bytes);
    CHECK(again[0].packets == super.packets);
    CHECK(memcmp(&again[0].offload, &super.offload, sizeof super.offload) == 0);
  }
}
