#include "core/cut.h"

#include <doctest/doctest.h>

#include <cstring>
#include <random>
#include <vector>

using namespace loden::core;

namespace {

using Bytes = std::vector<uint8_t>;

void Put16(Bytes* bytes, size_t at, uint32_t v) {
  (*bytes)[at] = static_cast<uint8_t>(v >> 8);
  (*bytes)[at + 1] = static_cast<uint8_t>(v);
}

void Put32(Bytes* bytes, size_t at, uint32_t v) {
  Put16(bytes, at, v >> 16);
  Put16(bytes, at + 2, v & 0xffff);
}

uint32_t Get16(const Bytes& bytes, size_t at) { return static_cast<uint32_t>(bytes[at]) << 8 | bytes[at + 1]; }

// RFC 1071 word by word, over bytes from `at`.
uint16_t NaiveSum(const Bytes& bytes, size_t at, size_t end, uint32_t sum = 0) {
  for (size_t i = at; i < end; i++) {
    sum += (i - at) % 2 == 0 ? static_cast<uint32_t>(bytes[i]) << 8 : bytes[i];
    sum = (sum & 0xffff) + (sum >> 16);
  }
  return static_cast<uint16_t>(sum);
}

uint16_t NaivePseudo(const Bytes& packet, uint8_t protocol, uint32_t upper_length) {
  const bool four = packet[0] >> 4 == 4;
  uint32_t sum = NaiveSum(packet, four ? 12 : 8, four ? 20 : 40);
  sum += protocol + (upper_length >> 16) + (upper_length & 0xffff);
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(sum);
}

// A flow: its headers, from which packets of any part of its bytes are made, one by one.
struct Flow {
  Bytes headers;        // IP and TCP or UDP; what differs among packets is 0
  uint32_t upper;       // where TCP or UDP begins
  bool four, tcp;
  uint32_t id = 0, sequence = 0;
  uint32_t flags = 0;   // TCP's, all nine
  uint8_t data_offset = 0;
  Bytes payload;

  // Bytes [from, to) of the payload in one packet of IPv4 identification id + index, with checksums complete or, where
  // `partial`, with the pseudo header's sum alone.
  Bytes Packet(uint32_t from, uint32_t to, uint32_t index, uint32_t flag_mask, bool partial) const {
    Bytes p = headers;
    p.insert(p.end(), payload.begin() + from, payload.begin() + to);
    const auto length = static_cast<uint32_t>(p.size());
    if (four) {
      Put16(&p, 2, length);
      Put16(&p, 4, (id + index) & 0xffff);
      Put16(&p, 10, ~NaiveSum(p, 0, (p[0] & 15) * 4u) & 0xffff);
    } else {
      Put16(&p, 4, length - 40);
    }
    if (tcp) {
      Put32(&p, upper + 4, sequence + from);
      Put16(&p, upper + 12, static_cast<uint32_t>(data_offset) << 12 | (flags & flag_mask));
    } else {
      Put16(&p, upper + 4, length - upper);
    }
    const size_t check = upper + (tcp ? 16 : 6);
    const uint16_t pseudo = NaivePseudo(p, tcp ? 6 : 17, length - upper);
    uint32_t sum = partial ? pseudo : static_cast<uint16_t>(~NaiveSum(p, upper, p.size(), pseudo));
    if (!partial && !tcp && sum == 0) sum = 0xffff;
    Put16(&p, check, sum);
    return p;
  }
  Bytes Super() const { return Packet(0, static_cast<uint32_t>(payload.size()), 0, 0x1ff, true); }

  // The packets it is to be cut into, by what TCP's and UDP's segmentation are to do.
  std::vector<Bytes> Segments(uint32_t size) const {
    std::vector<Bytes> out;
    const auto length = static_cast<uint32_t>(payload.size());
    for (uint32_t from = 0, index = 0; from < length; from += size, index++) {
      const uint32_t to = length - from > size ? from + size : length;
      uint32_t mask = 0x1ff;
      if (to != length) mask &= ~0x009u;  // FIN, PSH
      if (from != 0) mask &= ~0x080u;     // CWR
      out.push_back(Packet(from, to, index, mask, false));
    }
    return out;
  }

  virtio_net_hdr Offload(uint32_t size) const {
    return {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
            .gso_type = static_cast<uint8_t>(tcp ? (four ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_TCPV6)
                                                 : VIRTIO_NET_HDR_GSO_UDP_L4),
            .hdr_len = static_cast<uint16_t>(headers.size()),
            .gso_size = static_cast<uint16_t>(size),
            .csum_start = static_cast<uint16_t>(upper),
            .csum_offset = static_cast<uint16_t>(tcp ? 16 : 6)};
  }
};

using Random = std::mt19937;

Flow AnyFlow(Random& random, bool four, bool tcp, uint32_t payload, uint32_t ip_options = 0, uint32_t tcp_options = 0) {
  Flow flow{.headers = {}, .upper = 0, .four = four, .tcp = tcp, .payload = Bytes(payload)};
  const uint8_t protocol = tcp ? 6 : 17;
  flow.upper = (four ? 20 : 40) + ip_options;
  flow.headers.resize(flow.upper + (tcp ? 20 + tcp_options : 8));
  for (auto& byte : flow.headers) byte = static_cast<uint8_t>(random());
  Bytes& h = flow.headers;
  if (four) {
    h[0] = static_cast<uint8_t>(0x40 | flow.upper / 4);
    memset(&h[2], 0, 4);
    Put16(&h, 6, random() % 2 ? 0x4000 : 0);
    h[8] |= 1;
    h[9] = protocol;
    Put16(&h, 10, 0);
  } else {
    h[0] = static_cast<uint8_t>(0x60 | (h[0] & 15));
    h[7] |= 1;
    h[6] = ip_options ? 60 : protocol;
    if (ip_options) {
      h[40] = protocol;
      h[41] = static_cast<uint8_t>(ip_options / 8 - 1);
    }
  }
  Put16(&h, flow.upper + (tcp ? 16 : 6), 0);
  if (tcp) {
    memset(&h[flow.upper + 4], 0, 4);
    Put16(&h, flow.upper + 12, 0);
    flow.flags = random() % 512;
    flow.sequence = random();
    flow.data_offset = static_cast<uint8_t>(5 + tcp_options / 4);
  } else {
    Put16(&h, flow.upper + 4, 0);
  }
  flow.id = random() % 65536;
  for (auto& byte : flow.payload) byte = static_cast<uint8_t>(random());
  return flow;
}

struct Result {
  Drop drop;
  std::vector<Bytes> packets;
};

Result CutIt(const virtio_net_hdr& offload, Bytes packet) {
  Inner inner{};
  REQUIRE(ParseInner(packet.data(), packet.size(), &inner) == Drop::kNone);
  const Bytes before = packet;
  Cut cut;
  Result result{cut.Open(offload, packet.data(), inner), {}};
  if (result.drop != Drop::kNone) {
    CHECK(cut.count() == 0);
    return result;
  }
  REQUIRE((cut.count() > 1) == (cut.header_length() > 0));
  if (cut.count() > 1) REQUIRE(packet == before);
  for (uint32_t i = 0; i < cut.count(); i++) {
    Bytes segment(cut.header_length());
    const Segment rest = cut.WriteHeader(i, segment.data());
    REQUIRE(rest.payload >= packet.data());
    REQUIRE(rest.payload + rest.payload_length <= packet.data() + packet.size());
    segment.insert(segment.end(), rest.payload, rest.payload + rest.payload_length);
    REQUIRE(segment.size() == (i + 1 == cut.count() ? cut.last_size() : cut.size()));
    result.packets.push_back(segment);
  }
  return result;
}

void ExpectSame(const Flow& flow, uint32_t size) {
  const Result got = CutIt(flow.Offload(size), flow.Super());
  REQUIRE(got.drop == Drop::kNone);
  REQUIRE(got.packets == flow.Segments(size));
}

}  // namespace

TEST_CASE("super-packets of random flows are cut as a cut byte by byte") {
  Random random(1);
  for (int round = 0; round < 3000; round++) {
    const bool four = random() % 2, tcp = random() % 4 != 0;
    const uint32_t ip_options = random() % 3 ? 0 : four ? random() % 11 * 4 : random() % 8 * 8;
    const uint32_t size = 1 + random() % (random() % 2 ? 60 : 2000);
    const uint32_t payload = size + 1 + random() % (size * 6);
    Flow flow = AnyFlow(random, four, tcp, payload, ip_options, random() % 11 * 4);
    if (random() % 8 == 0) flow.id = 0xfffe;
    if (random() % 8 == 0) flow.sequence = 0xffffff00;
    ExpectSame(flow, size);
  }
}

TEST_CASE("the largest super-packets, at usual sizes and at a byte each") {
  Random random(2);
  for (const bool four : {true, false}) {
    for (const bool tcp : {true, false}) {
      const uint32_t headers = (four ? 20 : 40) + (tcp ? 20 : 8), most = (four ? 65535 : 65575) - headers;
      const Flow flow = AnyFlow(random, four, tcp, most);
      for (const uint32_t size : {1u, 88u, 536u, 1448u, 8948u, 32768u, most - 1}) ExpectSame(flow, size);
    }
  }
}

TEST_CASE("equal parts leave no empty last packet") {
  Random random(3);
  const Flow flow = AnyFlow(random, true, true, 3000);
  CHECK(flow.Segments(1000).size() == 3);
  ExpectSame(flow, 1000);
  CHECK(flow.Segments(1001).size() == 3);
  ExpectSame(flow, 1001);
  CHECK(flow.Segments(999).size() == 4);
  ExpectSame(flow, 999);
}

TEST_CASE("flags: FIN and PSH on the last alone, CWR on the first alone, the others on all") {
  Random random(4);
  Flow flow = AnyFlow(random, true, true, 250);
  flow.flags = 0x1ff;
  virtio_net_hdr offload = flow.Offload(100);
  offload.gso_type |= VIRTIO_NET_HDR_GSO_ECN;
  const Result got = CutIt(offload, flow.Super());
  REQUIRE(got.packets.size() == 3);
  CHECK((Get16(got.packets[0], 32) & 0x1ff) == 0x1f6);
  CHECK((Get16(got.packets[1], 32) & 0x1ff) == 0x176);
  CHECK((Get16(got.packets[2], 32) & 0x1ff) == 0x17f);
  CHECK(got.packets == flow.Segments(100));
}

TEST_CASE("a super-packet of one segment is sent whole") {
  Random random(5);
  for (const bool four : {true, false}) {
    for (const bool tcp : {true, false}) {
      const Flow flow = AnyFlow(random, four, tcp, 700);
      for (const uint32_t size : {700u, 701u, 65535u}) {
        const Result got = CutIt(flow.Offload(size), flow.Super());
        REQUIRE(got.drop == Drop::kNone);
        REQUIRE(got.packets == flow.Segments(size));
        REQUIRE(got.packets.size() == 1);
      }
    }
  }
}

TEST_CASE("a packet that needs nothing is left alone") {
  Random random(6);
  const Flow flow = AnyFlow(random, true, false, 101);
  const Bytes packet = flow.Super();
  virtio_net_hdr offload{};
  CHECK(CutIt(offload, packet).packets == std::vector<Bytes>{packet});
  offload.flags = VIRTIO_NET_HDR_F_DATA_VALID;
  CHECK(CutIt(offload, packet).packets == std::vector<Bytes>{packet});
}

TEST_CASE("the checksum of one packet is completed") {
  Random random(7);
  for (int round = 0; round < 500; round++) {
    const Flow flow = AnyFlow(random, random() % 2, random() % 2, random() % 1500);
    virtio_net_hdr offload = flow.Offload(0);
    offload.gso_type = VIRTIO_NET_HDR_GSO_NONE;
    const auto length = static_cast<uint32_t>(flow.payload.size());
    REQUIRE(CutIt(offload, flow.Super()).packets == std::vector<Bytes>{flow.Packet(0, length, 0, 0x1ff, false)});
  }
}

TEST_CASE("a UDP checksum that comes out as 0 is sent as 0xffff, in one packet and in many; TCP's as 0") {
  Random random(8);
  for (const bool four : {true, false}) {
    for (const bool tcp : {true, false}) {
      Flow flow = AnyFlow(random, four, tcp, 400);
      flow.flags = 0;
      const uint32_t check = flow.upper + (tcp ? 16 : 6);
      // The last two bytes of every 200 take the checksum's place: with them the sum is 0xffff.
      for (const uint32_t end : {200u, 400u}) {
        Put16(&flow.payload, end - 2, 0);
        const Bytes packet = flow.Packet(end - 200, end, end / 200 - 1, 0x1ff, false);
        Put16(&flow.payload, end - 2, Get16(packet, check));
      }
      const Result cut = CutIt(flow.Offload(200), flow.Super());
      REQUIRE(cut.packets.size() == 2);
      for (const Bytes& packet : cut.packets) CHECK(Get16(packet, check) == (tcp ? 0 : 0xffff));

      flow.payload.resize(200);
      virtio_net_hdr offload = flow.Offload(200);
      CHECK(Get16(CutIt(offload, flow.Super()).packets[0], check) == (tcp ? 0 : 0xffff));
      offload.gso_type = VIRTIO_NET_HDR_GSO_NONE;
      CHECK(Get16(CutIt(offload, flow.Super()).packets[0], check) == (tcp ? 0 : 0xffff));
    }
  }
}

TEST_CASE("the pseudo header's sum is taken from the packet: with a routing header it is another's") {
  Random random(9);
  Flow flow = AnyFlow(random, false, true, 300, 24);
  flow.headers[6] = 43;
  Bytes super = flow.Super();
  std::vector<Bytes> expected = flow.Segments(100);
  // As if the last address were another one than the header's, by 0x1234.
  const auto shift = [&](Bytes* packet, uint32_t by) {
    uint32_t sum = Get16(*packet, flow.upper + 16) + by;
    Put16(packet, flow.upper + 16, (sum & 0xffff) + (sum >> 16));
  };
  shift(&super, 0x1234);
  for (Bytes& packet : expected) shift(&packet, 0xffff - 0x1234);
  CHECK(CutIt(flow.Offload(100), super).packets == expected);
}

TEST_CASE("hdr_len is only a hint, unless it is beyond the packet") {
  Random random(10);
  const Flow flow = AnyFlow(random, true, true, 300);
  virtio_net_hdr offload = flow.Offload(100);
  for (const uint16_t length : {uint16_t{0}, uint16_t{39}, uint16_t{200}, uint16_t{340}}) {
    offload.hdr_len = length;
    CHECK(CutIt(offload, flow.Super()).packets == flow.Segments(100));
  }
  offload.hdr_len = 341;
  CHECK(CutIt(offload, flow.Super()).drop == Drop::kBadOffload);
}

TEST_CASE("an offload header that contradicts a super-packet") {
  Random random(11);
  for (const bool four : {true, false}) {
    for (const bool tcp : {true, false}) {
      const Flow flow = AnyFlow(random, four, tcp, 300);
      const Bytes super = flow.Super();
      const virtio_net_hdr good = flow.Offload(100);
      REQUIRE(CutIt(good, super).drop == Drop::kNone);
      const auto refused = [&](auto change) {
        virtio_net_hdr bad = good;
        change(&bad);
        return CutIt(bad, super).drop == Drop::kBadOffload;
      };
      CHECK(refused([](auto* o) { o->flags = 0; }));
      CHECK(refused([](auto* o) { o->flags = VIRTIO_NET_HDR_F_DATA_VALID; }));
      CHECK(refused([](auto* o) { o->gso_size = 0; }));
      CHECK(refused([](auto* o) { o->csum_start++; }));
      CHECK(refused([](auto* o) { o->csum_start--; }));
      CHECK(refused([](auto* o) { o->csum_start = 65535; }));
      CHECK(refused([](auto* o) { o->csum_offset += 2; }));
      CHECK(refused([](auto* o) { o->csum_offset -= 2; }));
      CHECK(refused([](auto* o) { o->csum_offset = 65535; }));
      for (int type = 1; type < 256; type++) {
        const bool same = type == good.gso_type || (tcp && type == (good.gso_type | VIRTIO_NET_HDR_GSO_ECN));
        CHECK(refused([&](auto* o) { o->gso_type = static_cast<uint8_t>(type); }) == !same);
      }
    }
  }
}

TEST_CASE("a super-packet whose headers contradict themselves") {
  Random random(12);
  for (const bool six : {false, true}) {
    for (const bool udp : {false, true}) {
      Flow other = AnyFlow(random, !six, !udp, 40);
      other.headers[six ? 6 : 9] = 132;
      CHECK(CutIt(other.Offload(10), other.Super()).drop == Drop::kBadOffload);
    }
  }

  const Flow tcp = AnyFlow(random, true, true, 40);
  const auto with_offset = [&](uint32_t words, uint32_t cut) {
    Bytes packet = tcp.Super();
    packet[32] = static_cast<uint8_t>(words << 4);
    packet.resize(packet.size() - cut);
    Put16(&packet, 2, static_cast<uint32_t>(packet.size()));
    virtio_net_hdr offload = tcp.Offload(1);
    offload.hdr_len = 0;
    return CutIt(offload, packet).drop;
  };
  CHECK(with_offset(5, 0) == Drop::kNone);
  CHECK(with_offset(4, 0) == Drop::kBadOffload);
  CHECK(with_offset(0, 0) == Drop::kBadOffload);
  CHECK(with_offset(14, 0) == Drop::kNone);
  CHECK(with_offset(14, 3) == Drop::kNone);
  CHECK(with_offset(14, 4) == Drop::kBadOffload);  // no payload
  CHECK(with_offset(14, 5) == Drop::kBadOffload);
  CHECK(with_offset(15, 0) == Drop::kBadOffload);
  CHECK(with_offset(5, 40) == Drop::kBadOffload);
  CHECK(with_offset(5, 41) == Drop::kBadOffload);  // shorter than TCP's least header
  CHECK(with_offset(5, 60) == Drop::kBadOffload);

  const Flow udp = AnyFlow(random, false, false, 40);
  const auto with_length = [&](uint32_t length, uint32_t cut) {
    Bytes packet = udp.Super();
    packet.resize(packet.size() - cut);
    Put16(&packet, 4, static_cast<uint32_t>(packet.size() - 40));
    if (packet.size() >= 46) Put16(&packet, 44, length);
    virtio_net_hdr offload = udp.Offload(1);
    offload.hdr_len = 0;
    return CutIt(offload, packet).drop;
  };
  CHECK(with_length(48, 0) == Drop::kNone);
  CHECK(with_length(47, 0) == Drop::kBadOffload);
  CHECK(with_length(49, 0) == Drop::kBadOffload);
  CHECK(with_length(9, 39) == Drop::kNone);
  CHECK(with_length(8, 40) == Drop::kBadOffload);
  CHECK(with_length(7, 41) == Drop::kBadOffload);
}

TEST_CASE("headers longer than there is room for") {
  Random random(13);
  const Flow largest = AnyFlow(random, false, true, 100, 176, 20);
  CHECK(largest.headers.size() == kMaxHeaders);
  ExpectSame(largest, 50);
  const Flow larger = AnyFlow(random, false, true, 100, 176, 24);
  CHECK(CutIt(larger.Offload(50), larger.Super()).drop == Drop::kBadOffload);
}

TEST_CASE("a fragment is no super-packet and needs no checksum") {
  Random random(14);
  for (const uint8_t type : {VIRTIO_NET_HDR_GSO_TCPV4, VIRTIO_NET_HDR_GSO_NONE}) {
    Flow flow = AnyFlow(random, true, true, 300);
    virtio_net_hdr offload = flow.Offload(100);
    offload.gso_type = type;
    Put16(&flow.headers, 6, 0x2000);
    CHECK(CutIt(offload, flow.Super()).drop == Drop::kBadOffload);
    Put16(&flow.headers, 6, 0x0010);
    CHECK(CutIt(offload, flow.Super()).drop == Drop::kBadOffload);
    offload.flags = 0;
    CHECK((CutIt(offload, flow.Super()).drop == Drop::kNone) == (type == VIRTIO_NET_HDR_GSO_NONE));
  }
}

TEST_CASE("where one packet's checksum may be") {
  Random random(15);
  const Flow flow = AnyFlow(random, true, true, 300);
  const auto at = [&](uint32_t start, uint32_t offset) {
    virtio_net_hdr offload{};
    offload.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
    offload.csum_start = static_cast<uint16_t>(start);
    offload.csum_offset = static_cast<uint16_t>(offset);
    return CutIt(offload, flow.Super()).drop;
  };
  CHECK(at(20, 16) == Drop::kNone);
  CHECK(at(20, 318) == Drop::kNone);
  CHECK(at(20, 319) == Drop::kBadOffload);
  CHECK(at(19, 16) == Drop::kBadOffload);
  CHECK(at(0, 10) == Drop::kBadOffload);
  CHECK(at(338, 0) == Drop::kNone);
  CHECK(at(339, 0) == Drop::kBadOffload);
  CHECK(at(341, 0) == Drop::kBadOffload);
  CHECK(at(65535, 65535) == Drop::kBadOffload);
  CHECK(at(65516, 20) == Drop::kBadOffload);
  // In a tunnel: what is summed begins at an inner header.
  CHECK(at(71, 6) == Drop::kNone);
}

TEST_CASE("random offload headers over random packets never lead out of the packet") {
  Random random(16);
  uint32_t accepted = 0;
  for (int round = 0; round < 30000; round++) {
    const bool four = random() % 2, tcp = random() % 2;
    const Flow flow = AnyFlow(random, four, tcp, random() % 200, random() % 2 * 8, random() % 2 * 4);
    Bytes packet = flow.Super();
    virtio_net_hdr offload = flow.Offload(random() % 100);
    uint8_t raw[10];
    memcpy(raw, &offload, 10);
    if (random() % 2) raw[random() % 10] ^= static_cast<uint8_t>(1u << random() % 8);
    memcpy(&offload, raw, 10);
    const size_t upper_header = flow.headers.size() - flow.upper;
    if (random() % 2) packet[flow.upper + random() % upper_header] = static_cast<uint8_t>(random());
    accepted += CutIt(offload, packet).drop == Drop::kNone;  // which looks at every segment
  }
  CHECK(accepted > 5000);
}
