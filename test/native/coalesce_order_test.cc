// How much is put together, what is open at a time, and in which order packets leave.
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

TEST_CASE("coalesce: a short packet of one version is not compared with a flow of the other") {
  // So many that some look alike at first sight; a sanitizer sees the reads beyond 29 bytes.
  Rig rig;
  for (uint32_t n = 0; n < 4 * 255; ++n) {
    Spec six = Udp(6), four = Udp(4);
    four.from = six.from = static_cast<uint16_t>(1000 + n / 255);
    four.source = static_cast<uint8_t>(n % 255);
    four.payload.resize(1);
    rig.Add(six);
    rig.Add(four);
    CHECK(rig.out.size() == 2 * n);
    rig.Flush();
  }
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
