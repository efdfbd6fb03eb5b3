// The kernel's own segmentation against what is put together here: super-packets enter by one TUN device and leave,
// forwarded, by another that takes none. Needs root, as all tests of this repository that touch the kernel.
#include <doctest/doctest.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <random>
#include <thread>

#include "coalesce_support.h"

using namespace coalescing;

namespace {

constexpr unsigned kChecksum = 1, kTcp4 = 2, kTcp6 = 4, kUdp = 0x20 | 0x40;  // TUN_F_*; linux/if_tun.h may be too old

int OpenTun(const char* name, int flags) {
  const int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  ifreq request{};
  strcpy(request.ifr_name, name);
  request.ifr_flags = static_cast<short>(IFF_TUN | IFF_NO_PI | flags);
  if (fd < 0 || ioctl(fd, TUNSETIFF, &request) == 0) return fd;
  close(fd);
  return -1;
}

struct Writer : loden::core::SuperPacketSink {
  void Take(const loden::core::SuperPacket& packet) override {
    most = std::max(most, packet.packets);
    CHECK(writev(fd, packet.parts, packet.part_count) >= 0);
  }
  int fd = -1;
  uint32_t most = 0;
};

// What leaves, until there are `count` or nothing comes any more.
std::vector<Bytes> Read(int fd, size_t count) {
  std::vector<Bytes> packets;
  while (packets.size() < count) {
    Bytes packet(70000);
    const ssize_t got = read(fd, packet.data(), packet.size());
    if (got < 0) {
      pollfd wait{fd, POLLIN, 0};
      if (errno != EAGAIN || poll(&wait, 1, 5000) != 1) break;
      continue;
    }
    packet.resize(static_cast<size_t>(got));
    // The host has something to say itself (multicast listener reports).
    if (ProtocolOf(packet) == IPPROTO_TCP || ProtocolOf(packet) == IPPROTO_UDP) packets.push_back(packet);
  }
  return packets;
}

// Whether all came out as it should.
bool Forward(int in, int out, bool uso, uint32_t seed, uint32_t* most) {
  CAPTURE(seed);
  std::mt19937 random(seed);
  Spec spec;
  spec.version = random() % 2 ? 4 : 6;
  spec.protocol = random() % 2 ? IPPROTO_TCP : IPPROTO_UDP;
  spec.df = random() % 2;
  spec.id = static_cast<uint16_t>(random());
  spec.sequence = static_cast<uint32_t>(random());
  if (random() % 3 == 0) spec.flags |= kEce;
  if (random() % 3 == 0) spec.options.clear();
  const size_t size = 1 + random() % (random() % 3 ? 1400 : 40);
  std::vector<Bytes> expected;
  std::vector<std::unique_ptr<uint8_t[]>> kept;
  Writer writer;
  writer.fd = in;
  const auto coalescer = std::make_unique<loden::core::Coalescer>(writer, uso);
  for (uint32_t left = 1 + random() % 150; left > 0; --left) {
    spec.payload.resize(random() % 50 ? size : 1 + random() % size);
    for (uint8_t& byte : spec.payload) byte = static_cast<uint8_t>(random());
    if (spec.protocol == IPPROTO_TCP && random() % 50 == 0) spec.flags |= kPsh;
    Bytes packet = Build(spec);
    expected.push_back(Build(spec.With([](Spec& s) { --s.ttl; })));  // it is forwarded once
    if (random() % 70 == 0) {
      packet.back() ^= 1;
      expected.back().back() ^= 1;
    }
    spec = spec.Next();
    spec.flags &= static_cast<uint8_t>(~kPsh);
    kept.push_back(std::make_unique<uint8_t[]>(packet.size()));
    memcpy(kept.back().get(), packet.data(), packet.size());
    loden::core::Inner inner;
    CHECK(loden::core::ParseInner(kept.back().get(), packet.size(), &inner) == loden::core::Drop::kNone);
    coalescer->Add(kept.back().get(), inner);
  }
  coalescer->Flush();
  *most = std::max(*most, writer.most);
  const bool same = Read(out, expected.size()) == expected;
  CHECK(same);
  return same;
}

}  // namespace

TEST_CASE("coalesce: the kernel cuts what is put together to the same packets") {
  // A thread has a network namespace of its own; it goes with the thread and the devices.
  std::thread([] {
    if (unshare(CLONE_NEWNET) != 0) {
      FAIL_CHECK("no network namespace: ", strerror(errno), "; run as root");
      return;
    }
    const int in = OpenTun("in", IFF_VNET_HDR), out = OpenTun("out", 0);
    const bool uso = ioctl(in, TUNSETOFFLOAD, kChecksum | kTcp4 | kTcp6 | kUdp) == 0;
    if (!uso) CHECK(ioctl(in, TUNSETOFFLOAD, kChecksum | kTcp4 | kTcp6) == 0);
    const int made = system(
        "set -e; sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.all.rp_filter=0 "
        "net.ipv4.conf.in.rp_filter=0\n"
        "for d in in out; do ip link set $d mtu 1500 txqueuelen 1000 up; done\n"
        "ip route add 10.0.0.0/24 dev in; ip route add 10.1.0.0/24 dev out; ip -6 route add fd00::/64 dev out");
    CHECK(made == 0);
    uint32_t most = 0;
    for (uint32_t seed = 0; made == 0 && seed < 100; ++seed) {
      if (!Forward(in, out, uso, seed, &most)) break;
    }
    CHECK(most > 64);  // not by doing nothing
    close(in);
    close(out);
  }).join();
}
