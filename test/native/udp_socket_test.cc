#include "core/udp_socket.h"

#include <doctest/doctest.h>
#include <poll.h>
#include <unistd.h>

#include <cstring>
#include <vector>

using namespace loden::core;

namespace {

Address Loopback(uint8_t family) {
  Address address;
  address.family = family;
  if (family == 4) {
    const uint8_t bytes[] = {127, 0, 0, 1};
    memcpy(address.bytes, bytes, sizeof bytes);
  } else {
    address.bytes[15] = 1;
  }
  return address;
}

// Which of the sockets a datagram has come to; it is taken.
int Arrived(const std::vector<int>& sockets) {
  std::vector<pollfd> fds;
  for (const int fd : sockets) fds.push_back({fd, POLLIN, 0});
  REQUIRE(poll(fds.data(), fds.size(), 5000) == 1);
  for (size_t i = 0; i < fds.size(); ++i) {
    char byte;
    if (fds[i].revents != 0 && recv(sockets[i], &byte, 1, 0) == 1) return static_cast<int>(i);
  }
  return -1;
}

}  // namespace

TEST_CASE("udp_socket: what worker n sends comes to worker n of whoever has as many") {
  for (const uint8_t family : {uint8_t{4}, uint8_t{6}}) {
    const Address address = Loopback(family);
    for (const int count : {2, 3, 16}) {
      // A port of the kernel's choice, that is free.
      std::vector<int> probe;
      Address bound;
      uint16_t port = 0;
      REQUIRE(!UdpOpen(address, 0, 1, &probe));
      REQUIRE(!UdpIdentify(probe[0], &bound, &port));
      close(probe[0]);

      std::vector<int> sockets;
      REQUIRE(!UdpOpen(address, port, count, &sockets));
      for (int index = 0; index < 16; ++index) {
        // Two of each: a port that is taken is passed over.
        for (int twice = 0; twice < 2; ++twice) {
          int sender = -1;
          REQUIRE(!UdpOpenSender(address, index, &sender));
          uint16_t own = 0;
          REQUIRE(!UdpIdentify(sender, &bound, &own));
          CHECK(own % 16 == index);
          SocketAddress to;
          const socklen_t length = ToSocketAddress(address, port, &to);
          REQUIRE(sendto(sender, "x", 1, 0, &to.any, length) == 1);
          CHECK(Arrived(sockets) == index % count);
          close(sender);
        }
      }
      for (const int fd : sockets) close(fd);
    }
  }
}
