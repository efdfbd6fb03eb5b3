#include "core/send.h"

#include <doctest/doctest.h>
#include <errno.h>
#include <sched.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

using namespace loden::core;

namespace {

constexpr uint16_t kPort = 8285;

struct World {
  WorkerCounters counters;
  std::unique_ptr<PeerCounters[]> peers = std::make_unique<PeerCounters[]>(8);
  Answers answers{counters};
  Sender sender{counters, peers.get(), answers};
  std::unique_ptr<const Table> table = Table::Empty();

  uint64_t Dropped(Drop reason) const { return counters.out_drops[static_cast<int>(reason)].Get(); }
};

Peer PeerAt(uint32_t slot, uint8_t host) {
  Peer peer;
  peer.slot = slot;
  peer.endpoint4 = {4, {127, 0, 0, host}};
  return peer;
}

// An IPv4 packet that is not to be fragmented.
std::vector<uint8_t> PacketOf(uint16_t length) {
  std::vector<uint8_t> packet(length);
  packet[0] = 0x45;
  packet[2] = static_cast<uint8_t>(length >> 8);
  packet[3] = static_cast<uint8_t>(length);
  packet[6] = 0x40;
  packet[8] = 64;
  packet[9] = 17;
  return packet;
}

}  // namespace

TEST_CASE("send: a socket that was left without \"don't fragment\" gets it back") {
  int sender = -1;
  REQUIRE(!UdpOpenSender({4, {127, 0, 0, 1}}, 0, &sender));
  UdpDontFragment(sender, 4, false);
  World world;
  world.sender.Use(sender, -1, -1, false, kPort);
  int value = -1;
  socklen_t length = sizeof value;
  CHECK(getsockopt(sender, IPPROTO_IP, IP_MTU_DISCOVER, &value, &length) == 0);
  CHECK(value == IP_PMTUDISC_DO);
  close(sender);
}

TEST_CASE("send: a narrow path is an endpoint's, not that of whoever has its slot later") {
  // A thread has a network namespace of its own; it goes with the thread.
  std::thread([] {
    if (unshare(CLONE_NEWNET) != 0) {
      FAIL_CHECK("no network namespace: ", strerror(errno), "; run as root");
      return;
    }
    CHECK(system("ip link set lo mtu 1000 up") == 0);
    std::vector<int> sockets;
    CHECK(!UdpOpen({4, {127, 0, 0, 1}}, kPort, 1, &sockets));
    if (sockets.empty()) return;
    World world;
    world.sender.Use(sockets[0], -1, -1, false, kPort);
    const Peer before = PeerAt(3, 2), moved = PeerAt(3, 4);
    CHECK(world.sender.LimitTo(before) == UINT32_MAX);
    auto packet = PacketOf(980);
    world.sender.SendOne(before, packet.data(), 980, *world.table);
    CHECK(world.Dropped(Drop::kTooBig) == 1);
    CHECK(world.sender.LimitTo(before) == 972);
    CHECK(world.sender.LimitTo(moved) == UINT32_MAX);
    packet = PacketOf(972);
    world.sender.SendOne(before, packet.data(), 972, *world.table);
    CHECK(world.counters.out_packets.Get() == 1);
    close(sockets[0]);
  }).join();
}
