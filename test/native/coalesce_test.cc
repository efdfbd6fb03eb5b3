#include "core/coalesce.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <functional>
#include <utility>

#include "coalesce_support.h"

using namespace coalescing;
using loden::core::kMaxOpenFlows;
using loden::core::kMaxTcpPackets;
using loden::core::kMaxUdpPackets;

namespace {

Spec Udp(uint8_t version = 4) {
  Spec spec;
  spec.version = version;
  spec.protocol = IPPROTO_UDP;
  return spec;
}

Spec Tcp(uint8_t version) {
  Spec spec;
  spec.version = version;
  return spec;
}

// Adds all, flushes, and sees that the same packets come out in the same order.
std::string Run(const std::vector<Bytes>& packets, bool uso = true) {
  Rig rig(uso);
  for (const Bytes& packet : packets) rig.Add(packet);
  rig.Flush();
  CHECK(NaiveCut(rig.out) == packets);
  return rig.Counts();
}

std::string Run(const std::vector<Spec>& specs, bool uso = true) {
  std::vector<Bytes> packets;
  for (const Spec& spec : specs) packets.push_back(Build(spec));
  return Run(packets, uso);
}

// `count` packets of a flow in a row.
std::vector<Spec> Train(Spec first, size_t count) {
  std::vector<Spec> train{std::move(first)};
  while (train.size() < count) train.push_back(train.back().Next());
  return train;
}

// An ICMP message, a fragment, or whatever else has no ports.
Bytes Portless(const Spec& like, uint8_t protocol, bool fragment = false) {
  Bytes b = Build(like);
  if (IsV4(b)) {
    b[9] = protocol;
    if (fragment) Put16(b, 6, 100);
    FixIpChecksum(b);
  } else {
    b[6] = protocol;
  }
  return b;
}

}  // namespace

TEST_CASE("coalesce: segments of a TCP flow become one super-packet") {
  for (const uint8_t version : {4, 6}) {
    CAPTURE(version);
    Rig rig;
    std::vector<Bytes> in;
    std::vector<const void*> places;
    for (const Spec& spec : Train(Tcp(version), 3)) {
      in.push_back(Build(spec));
      const uint8_t* place = rig.Add(in.back());
      places.push_back(place + (places.empty() ? 0 : in.back().size() - 100));
    }
    CHECK(rig.out.empty());
    rig.Flush();
    REQUIRE(rig.out.size() == 1);
    const Super& super = rig.out[0];
    const size_t ip = version == 4 ? 20 : 40;
    CHECK(super.packets == 3);
    CHECK(super.bytes.size() == ip + 32 + 300);
    CHECK(super.offload.flags == loden::core::VIRTIO_NET_HDR_F_NEEDS_CSUM);
    CHECK(super.offload.gso_type ==
          (version == 4 ? loden::core::VIRTIO_NET_HDR_GSO_TCPV4 : loden::core::VIRTIO_NET_HDR_GSO_TCPV6));
    CHECK(super.offload.gso_size == 100);
    CHECK(super.places == places);  // nothing is copied
    CHECK(NaiveCut(super) == in);
  }
}

TEST_CASE("coalesce: datagrams of a UDP flow become one super-packet where the device takes it") {
  for (const uint8_t version : {4, 6}) {
    CAPTURE(version);
    CHECK(Run(Train(Udp(version), 5)) == "5");
    CHECK(Run(Train(Udp(version), 5), false) == "1 1 1 1 1");
    CHECK(Run(Train(Tcp(version), 5), false) == "5");
  }
}

TEST_CASE("coalesce: a segment that differs from its flow's is not put to it") {
  const std::vector<std::pair<std::string, std::function<void(Spec&)>>> changes = {
      {"a gap", [](Spec& s) { s.sequence += 1; }},
      {"sent again", [](Spec& s) { s.sequence -= 100; }},
      {"acknowledgement", [](Spec& s) { s.acknowledged += 1; }},
      {"window", [](Spec& s) { s.window += 1; }},
      {"urgent pointer", [](Spec& s) { s.urgent = 1; }},
      {"ECE", [](Spec& s) { s.flags |= kEce; }},
      {"CWR", [](Spec& s) { s.flags |= kCwr; }},
      {"URG", [](Spec& s) { s.flags |= kUrg; }},
      {"FIN", [](Spec& s) { s.flags |= kFin; }},
      {"SYN", [](Spec& s) { s.flags |= kSyn; }},
      {"RST", [](Spec& s) { s.flags |= kRst; }},
      {"no ACK", [](Spec& s) { s.flags = 0; }},
      {"reserved bits", [](Spec& s) { s.reserved = 1; }},
      {"no payload", [](Spec& s) { s.payload.clear(); }},
      {"more payload", [](Spec& s) { s.payload.push_back('y'); }},
      {"option's last byte", [](Spec& s) { s.options[11] += 1; }},
      {"option's first byte", [](Spec& s) { s.options[0] = 0; }},
      {"no options", [](Spec& s) { s.options.clear(); }},
      {"no options, little payload", [](Spec& s) { s.options.clear(), s.payload.resize(1); }},
      {"more options", [](Spec& s) { s.options.insert(s.options.end(), 4, 1); }},
      {"as long, of other parts", [](Spec& s) { s.options.resize(8), s.payload.resize(104); }},
      {"TTL", [](Spec& s) { s.ttl -= 1; }},
      {"TOS", [](Spec& s) { s.tos = 4; }},
      {"congestion experienced", [](Spec& s) { s.tos = 3; }},
      {"flow label or identification", [](Spec& s) { s.version == 6 ? s.label += 1 : s.id += 7; }},
      {"DF", [](Spec& s) { s.version == 6 ? s.label += 1 << 19 : s.df = false; }},
      {"source port", [](Spec& s) { s.from += 1; }},
      {"destination port", [](Spec& s) { s.to += 1; }},
      {"source", [](Spec& s) { s.source += 1; }},
      {"destination", [](Spec& s) { s.destination += 1; }},
      {"protocol", [](Spec& s) { s.protocol = IPPROTO_UDP; }},
  };
  for (const uint8_t version : {4, 6}) {
    for (const auto& entry : changes) {
      const auto& change = entry.second;
      CAPTURE(version);
      CAPTURE(entry.first);
      Spec first = Tcp(version);
      const Spec second = first.Next().With(change);
      CHECK(Run({first, second}) == "1 1");
      CHECK(Run({first, first.Next(), first.Next().Next().With(change)}) == "2 1");
      // The other way round: what came first is the odd one.
      CHECK(Run({first.With(change), first.Next()}) == "1 1");
    }
  }
}

TEST_CASE("coalesce: each byte of the addresses and ports tells flows apart") {
  // So many that some look alike at first sight (256 kinds).
  for (const uint8_t version : {4, 6}) {
    const size_t from = version == 4 ? 12 : 8, to = version == 4 ? 24 : 44;
    Spec spec = Tcp(version);
    spec.options.clear();
    spec.payload.resize(1);
    for (size_t at = from; at < to; ++at) {
      Rig rig;
      for (uint32_t n = 0; n < 4 * 255; ++n) {
        spec.from = static_cast<uint16_t>(1000 + n / 255);
        Bytes other = Build(spec.Next());
        other[at] ^= static_cast<uint8_t>(1 + n % 255);
        FixLengthsAndChecksums(other);
        rig.Add(spec);
        rig.Add(other);
        rig.Flush();
      }
      CAPTURE(version);
      CAPTURE(at);
      CHECK(rig.out.size() == 2 * 4 * 255);
    }
  }
}

TEST_CASE("coalesce: what every segment has alike does no harm") {
  for (const uint8_t version : {4, 6}) {
    CAPTURE(version);
    const std::vector<std::function<void(Spec&)>> kinds = {
        [](Spec& s) { s.flags |= kEce; },
        [](Spec& s) { s.options.clear(); },
        [](Spec& s) { s.options.assign(40, 1); },
        [](Spec& s) { s.tos = 0xb9; },
        [](Spec& s) { s.urgent = 9; },
        [](Spec& s) { s.reserved = 1; },
        [](Spec& s) { s.payload.assign(1, 'z'); },
        [](Spec& s) { s.payload.assign(1437, 'z'); },
        [](Spec& s) { s.sequence = 0xffffff80; },
        [](Spec& s) { s.id = 0xffff; },
        [](Spec& s) { s.ttl = 1; },
    };
    for (const auto& kind : kinds) CHECK(Run(Train(Tcp(version).With(kind), 4)) == "4");
  }
}

TEST_CASE("coalesce: flags that GSO does not repeat are never put together") {
  for (const uint8_t flags : {kFin, kSyn, kRst, kUrg, kCwr}) {
    CAPTURE(flags);
    CHECK(Run(Train(Spec{.flags = static_cast<uint8_t>(kAck | flags)}, 3)) == "1 1 1");
  }
  CHECK(Run(Train(Spec{.flags = 0}, 3)) == "1 1 1");
  CHECK(Run(Train(Spec{.payload = {}}, 3)) == "1 1 1");
}

TEST_CASE("coalesce: PSH ends a super-packet and is kept") {
  for (const uint8_t version : {4, 6}) {
    Rig rig;
    auto train = Train(Tcp(version), 5);
    train[2].flags |= kPsh;
    for (size_t i = 0; i < 3; ++i) rig.Add(train[i]);
    CHECK(rig.Counts() == "3");  // without a Flush
    CHECK(rig.out[0].bytes[(version == 4 ? 20 : 40) + 13] == (kAck | kPsh));
    CHECK(Run(train) == "3 2");
    // First of all, it is alone at once.
    Rig other;
    other.Add(train[2]);
    CHECK(other.Counts() == "1");
    other.Add(train[3]);
    other.Flush();
    CHECK(other.Counts() == "1 1");
  }
}

TEST_CASE("coalesce: a shorter payload ends a super-packet") {
  for (const Spec& first : {Tcp(4), Tcp(6), Udp(4), Udp(6)}) {
    CAPTURE(first.protocol);
    auto train = Train(first, 2);
    train.push_back(train.back().Next().With([](Spec& s) { s.payload.resize(99); }));
    Rig rig;
    for (const Spec& spec : train) rig.Add(spec);
    CHECK(rig.Counts() == "3");
    train.push_back(train.back().Next());
    train.push_back(train.back().Next());
    CHECK(Run(train) == "3 2");
    // Longer than the first: begins anew.
    train = Train(first, 2);
    train.push_back(train.back().Next().With([](Spec& s) { s.payload.resize(101); }));
    train.push_back(train.back().Next());
    CHECK(Run(train) == "2 2");
  }
}

TEST_CASE("coalesce: identifications of IPv4") {
  const auto ids = [](bool df, std::vector<uint16_t> ids) {
    std::vector<Spec> specs = Train(Spec{.df = df}, ids.size());
    for (size_t i = 0; i < ids.size(); ++i) specs[i].id = ids[i];
    return Run(specs);
  };
  for (const bool df : {true, false}) {
    CAPTURE(df);
    CHECK(ids(df, {1, 2, 3}) == "3");
    CHECK(ids(df, {65534, 65535, 0, 1}) == "4");
    CHECK(ids(df, {1, 3, 5}) == "1 1 1");
    CHECK(ids(df, {1, 2, 2}) == "2 1");
    CHECK(ids(df, {3, 2, 1}) == "1 1 1");
  }
  CHECK(ids(false, {5, 5, 5}) == "1 1 1");
}

TEST_CASE("coalesce: a constant identification with DF comes out counted up") {
  Rig rig;
  auto train = Train(Spec{.id = 0}, 4);
  for (Spec& spec : train) spec.id = 0;
  train.push_back(train.back().Next());  // 1: no longer constant
  for (const Spec& spec : train) rig.Add(spec);
  rig.Flush();
  CHECK(rig.Counts() == "4 1");
  const auto cut = NaiveCut(rig.out);
  REQUIRE(cut.size() == 5);
  for (uint16_t i = 0; i < 4; ++i) CHECK(cut[i] == Build(train[i].With([&](Spec& s) { s.id = i; })));
}

TEST_CASE("coalesce: a packet with a wrong checksum passes alone, as it came") {
  for (const Spec& first : {Tcp(4), Tcp(6), Udp(4), Udp(6)}) {
    CAPTURE(first.version);
    CAPTURE(first.protocol);
    std::vector<Bytes> good;
    for (const Spec& spec : Train(first, 6)) good.push_back(Build(spec));
    const char* const expected[] = {"1 5", "1 1 4", "2 1 3", "3 1 2", "4 1 1", "5 1"};
    for (size_t bad = 0; bad < 6; ++bad) {
      CAPTURE(bad);
      auto packets = good;
      packets[bad].back() ^= 0x10;
      CHECK(Run(packets) == expected[bad]);
      packets = good;  // two wrongs that look like a right to a sum over both
      packets[bad].back() ^= 0x10;
      packets[(bad + 1) % 6].back() ^= 0x10;
      Run(packets);
      if (first.version != 4) continue;
      packets = good;
      packets[bad][10] ^= 1;
      CHECK(Run(packets) == expected[bad]);
    }
  }
}

TEST_CASE("coalesce: a checksum that is right but would be written another way is kept") {
  // 0xffff for 0: valid in sums, never written by a sender.
  Spec spec;
  for (spec.window = 0;; ++spec.window) {
    if (Get16(Build(spec), 36) == 0) break;
    REQUIRE(spec.window < 0xffff);
  }
  Bytes odd = Build(spec);
  Put16(odd, 36, 0xffff);
  CHECK(Run({odd, Build(spec.Next())}) == "1 1");
  CHECK(Run({Build(spec), Build(spec.Next())}) == "2");

  Spec other;
  for (other.tos = 0, other.id = 0;; ++other.id) {
    if (Get16(Build(other), 10) == 0) break;
    REQUIRE(other.id < 0xffff);
  }
  odd = Build(other);
  Put16(odd, 10, 0xffff);
  CHECK(Run({odd, Build(other.Next())}) == "1 1");
  CHECK(Run({Build(other), Build(other.Next())}) == "2");

  // UDP does write 0xffff.
  Spec udp = Udp();
  for (;; ++udp.from) {
    if (Get16(Build(udp), 26) == 0xffff) break;
    REQUIRE(udp.from < 0xffff);
  }
  CHECK(Run({udp, udp.Next()}) == "2");
  odd = Build(udp);
  Put16(odd, 26, 0);  // none, though it would be right
  CHECK(Run({odd, Build(udp.Next())}) == "1 1");
}

TEST_CASE("coalesce: UDP without a checksum, with another length, or without payload passes alone") {
  for (const uint8_t version : {4, 6}) {
    const size_t ip = version == 4 ? 20 : 40;
    const auto run = [&](auto change) {
      std::vector<Bytes> packets;
      for (const Spec& spec : Train(Udp(version), 3)) packets.push_back(Build(spec));
      change(packets[1]);
      return Run(packets);
    };
    CHECK(run([](Bytes&) {}) == "3");
    CHECK(run([&](Bytes& b) { Put16(b, ip + 6, 0); }) == "1 1 1");
    // A sum that is right for a length that is less than what is there.
    CHECK(run([&](Bytes& b) {
            Put16(b, ip + 4, 50);
            Put16(b, ip + 6, 0);
            Put16(b, ip + 6, ~SlowSum(b, ip, b.size(), SlowPseudoSum(b)) & 0xffff);
          }) == "1 1 1");
    CHECK(Run(Train(Udp(version).With([](Spec& s) { s.payload.clear(); }), 3)) == "1 1 1");
  }
}

TEST_CASE("coalesce: no more than an IP packet holds, nor more than the kernel takes") {
  // 20 + 32 + 45 * 1455 = 65,527; one more makes it too long.
  CHECK(Run(Train(Spec{.payload = Bytes(1455, 'p')}, 46)) == "45 1");
  CHECK(Run(Train(Spec{.version = 6, .payload = Bytes(1455, 'p')}, 46)) == "44 2");
  // Exactly 65,535, and one byte more.
  for (const size_t extra : {0, 1}) {
    auto train = Train(Spec{.options = {}, .payload = Bytes(21831, 'p')}, 3);
    REQUIRE(train.size() * 21831 + 40 == 65533);
    for (Spec& spec : train) spec.options.clear();
    train.push_back(train.back().Next().With([&](Spec& s) { s.payload.resize(2 + extra); }));
    CHECK(Run(train) == (extra == 0 ? "4" : "3 1"));
  }
  CHECK(Run(Train(Spec{.payload = Bytes(10, 'p')}, kMaxTcpPackets + 2)) == std::to_string(kMaxTcpPackets) + " 2");
  CHECK(Run(Train(Udp(), kMaxUdpPackets + 2)) == std::to_string(kMaxUdpPackets) + " 2");
}

TEST_CASE("coalesce: many flows are open, and for one more the oldest is closed") {
  for (const uint8_t version : {4, 6}) {
    Rig rig;
    const auto flow = [&](size_t i) {
      return Tcp(version).With([&](Spec& s) { s.from = static_cast<uint16_t>(3000 + i); });
    };
    for (size_t round = 0; round < 3; ++round) {
      for (size_t i = 0; i < kMaxOpenFlows; ++i) rig.Add(Train(flow(i), round + 1).back());
    }
    CHECK(rig.out.empty());
    rig.Add(flow(99));
    REQUIRE(rig.Counts() == "3");
    const size_t port = version == 4 ? 20 : 40;
    CHECK(Get16(rig.out[0].bytes, port) == 3000);
    rig.Add(Train(flow(1), 4).back());  // still open
    CHECK(rig.out.size() == 1);
    rig.Flush();
    REQUIRE(rig.out.size() == kMaxOpenFlows + 1);
    CHECK(rig.out[1].packets == 4);
    for (size_t i = 1; i < kMaxOpenFlows; ++i) CHECK(Get16(rig.out[i].bytes, port) == 3000 + i);  // oldest first
    CHECK(Get16(rig.out[kMaxOpenFlows].bytes, port) == 3099);
    // Nothing is left behind.
    rig.Flush();
    CHECK(rig.out.size() == kMaxOpenFlows + 1);
    rig.Add(Train(flow(1), 5).back());
    rig.Flush();
    CHECK(rig.out.back().packets == 1);
  }
}

TEST_CASE("coalesce: one that was closed early leaves the others' age as it was") {
  Rig rig;
  const auto flow = [](uint16_t from) { return Spec{.from = from}; };
  for (const uint16_t from : {1, 2, 3, 4}) rig.Add(flow(from));
  rig.Add(flow(2).Next().With([](Spec& s) { s.flags |= kPsh; }));
  rig.Add(flow(5));
  rig.Flush();
  std::vector<uint32_t> ports;
  for (const Super& super : rig.out) ports.push_back(Get16(super.bytes, 20));
  CHECK(ports == std::vector<uint32_t>{2, 1, 3, 4, 5});
}

TEST_CASE("coalesce: what passes alone stays behind what came before it in its flow") {
  for (const Spec& first : {Tcp(4), Tcp(6), Udp(4), Udp(6)}) {
    CAPTURE(first.version);
    CAPTURE(first.protocol);
    Rig rig;
    rig.Add(first);
    rig.Add(first.Next());
    // An acknowledgement alone, or an empty datagram.
    rig.Add(first.Next().Next().With([](Spec& s) { s.payload.clear(); }));
    CHECK(rig.Counts() == "2 1");
    rig.Add(first);
    // Of other flows: nothing is closed for them.
    for (const auto& change : std::vector<std::function<void(Spec&)>>{
             [](Spec& s) { std::swap(s.from, s.to), std::swap(s.source, s.destination); },
             [](Spec& s) { s.from += 1; },
             [](Spec& s) { s.protocol = s.protocol == IPPROTO_TCP ? IPPROTO_UDP : IPPROTO_TCP; },
             [](Spec& s) { s.version = s.version == 4 ? 6 : 4; },
         }) {
      rig.Add(first.With(change).With([](Spec& s) { s.payload.clear(); }));
    }
    CHECK(rig.Counts() == "2 1 1 1 1 1");
    rig.Add(first.Next());
    rig.Flush();
    CHECK(rig.Counts() == "2 1 1 1 1 1 2");
  }
}

TEST_CASE("coalesce: a packet without ports closes all from its source to its destination") {
  for (const uint8_t version : {4, 6}) {
    const Spec spec = Tcp(version);
    std::vector<std::pair<std::string, Bytes>> portless;
    if (version == 4) {
      portless.emplace_back("ICMP", Portless(spec, IPPROTO_ICMP));
      portless.emplace_back("fragment", Portless(spec, IPPROTO_UDP, true));
      portless.emplace_back("last fragment", Portless(spec, IPPROTO_TCP, true));
      Bytes first = Portless(spec, IPPROTO_TCP);
      Put16(first, 6, 0x2000);
      first.resize(20 + 128);
      Put16(first, 2, 148);
      FixIpChecksum(first);
      portless.emplace_back("first fragment", first);
      // Read without them, it would be TCP that can be put together.
      Bytes options = Build(spec.With([](Spec& s) { s.acknowledged = 0x50100000; }));
      options[0] = 0x46;
      options.insert(options.begin() + 20, 4, 1);
      Put16(options, 2, static_cast<uint32_t>(options.size()));
      FixIpChecksum(options);
      portless.emplace_back("IP options", options);
    } else {
      portless.emplace_back("ICMPv6", Portless(spec, IPPROTO_ICMPV6));
      Bytes extension = Build(spec);
      extension[6] = IPPROTO_HOPOPTS;
      const uint8_t header[8] = {IPPROTO_TCP, 0, 1, 4, 0, 0, 0, 0};
      extension.insert(extension.begin() + 40, header, header + 8);
      Put16(extension, 4, static_cast<uint32_t>(extension.size() - 40));
      portless.emplace_back("extension header", extension);
      Bytes fragment = extension;
      fragment[6] = IPPROTO_FRAGMENT;
      fragment[42] = 1;
      portless.emplace_back("fragment", fragment);
    }
    portless.emplace_back("GRE", Portless(spec, IPPROTO_GRE));
    for (size_t at : {12, 14}) {  // a TCP header that is too short, or longer than the packet
      Bytes bad = Build(spec.With([](Spec& s) { s.payload.clear(), s.options.clear(); }));
      bad[(version == 4 ? 20 : 40) + 12] = at == 12 ? 0x40 : 0x60;
      portless.emplace_back("TCP header length", bad);
    }
    for (const uint8_t protocol : {IPPROTO_TCP, IPPROTO_UDP}) {
      for (const size_t length : {0, 4, 7}) {
        Bytes bad = Build(spec);
        bad.resize((version == 4 ? 20 : 40) + length);
        bad[version == 4 ? 9 : 6] = protocol;
        Put16(bad, version == 4 ? 2 : 4, static_cast<uint32_t>(version == 4 ? bad.size() : length));
        FixIpChecksum(bad);
        portless.emplace_back("cut short", bad);
      }
    }
    for (const auto& entry : portless) {
      const Bytes& alone = entry.second;
      CAPTURE(version);
      CAPTURE(entry.first);
      Rig rig;
      const Spec other = Tcp(version).With([](Spec& s) { s.source = 9; });
      const Spec back = Tcp(version).With([](Spec& s) { std::swap(s.source, s.destination); });
      const Spec udp = Udp(version);
      const Spec wrong = Tcp(version == 4 ? 6 : 4);
      for (const Spec& open : {other, spec, back, udp, wrong}) {
        rig.Add(open);
        rig.Add(open.Next());
      }
      CHECK(rig.out.empty());
      rig.Add(alone);
      REQUIRE(rig.Counts() == "2 2 1");
      CHECK(ProtocolOf(rig.out[0].bytes) == IPPROTO_TCP);
      CHECK(ProtocolOf(rig.out[1].bytes) == IPPROTO_UDP);
      CHECK(rig.out[2].bytes == alone);
      rig.Flush();
      CHECK(rig.Counts() == "2 2 1 2 2 2");
    }
  }
}

TEST_CASE("coalesce: the versions' addresses are not mistaken for each other") {
  Bytes six = Build(Tcp(6));
  const Bytes four = Portless(Tcp(4), IPPROTO_ICMP);
  std::copy(four.begin() + 12, four.begin() + 20, six.begin() + 12);
  FixLengthsAndChecksums(six);
  Rig rig;
  rig.Add(six);
  rig.Add(four);
  REQUIRE(rig.out.size() == 1);
  CHECK(rig.out[0].bytes == four);
  rig.Flush();
  CHECK(rig.out.size() == 2);
}

TEST_CASE("coalesce: interleaved flows are told apart") {
  Rig rig;
  std::vector<std::vector<Spec>> flows;
  for (uint16_t i = 0; i < 12; ++i) {
    Spec spec = i % 3 == 0 ? Udp(i % 2 ? 4 : 6) : Tcp(i % 2 ? 4 : 6);
    spec.from = static_cast<uint16_t>(spec.from + i / 2);
    flows.push_back(Train(spec, 40));
  }
  for (size_t n = 0; n < 40; ++n) {
    for (const auto& flow : flows) rig.Add(flow[n]);
  }
  rig.Flush();
  REQUIRE(rig.out.size() == 12);
  for (size_t i = 0; i < 12; ++i) {
    std::vector<Bytes> in;
    for (const Spec& spec : flows[i]) in.push_back(Build(spec));
    CHECK(NaiveCut(rig.out[i]) == in);
  }
}
