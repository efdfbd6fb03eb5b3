// What is put together, and what is not.
#include "core/coalesce.h"

#include <doctest/doctest.h>

#include <functional>
#include <utility>

#include "coalesce_support.h"

using namespace coalescing;

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
