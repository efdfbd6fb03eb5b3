// The UDP sockets that carry the overlay: udp(7), ip(7), ipv6(7).
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>
#include <vector>

#include "../failure.h"
#include "address.h"

namespace loden::core {

// Room for what arrives while nobody reads, e.g. during a restart. Bytes; the kernel doubles it for its own overhead.
inline constexpr int kSocketBuffer = 32 * 1024 * 1024;

// Opens `count` sockets bound to the address and port, which share what arrives: the low four bits of a datagram's source
// port say which of them gets it. None is open when one fails.
Failure UdpOpen(const Address& address, uint16_t port, int count, std::vector<int>* sockets);

// A socket to send from alone: it drops whatever comes. What worker `index` sends has a source port with `index` in its low
// four bits, so that a flow comes to the worker of the same number at the other end, and its answers come back to this one: the
// kernel lets packets to the device follow the queue by which the flow's packets came, and would otherwise move the flow to and fro.
Failure UdpOpenSender(const Address& address, int index, int* socket);

// Where a descriptor is bound; fails for anything that is no bound UDP socket.
Failure UdpIdentify(int socket, Address* address, uint16_t* port);

// What the kernel does for us on such a socket.
struct UdpOffloads {
  bool gso = false;  // UDP_SEGMENT: Linux 4.18
  bool gro = false;  // UDP_GRO: Linux 5.0
};

// Turns on what there is. Idempotent.
UdpOffloads UdpNegotiate(int socket);

// True: larger packets than the path takes are refused with EMSGSIZE (don't fragment). False: they are sent in fragments.
void UdpDontFragment(int socket, uint8_t family, bool dont);

// What the kernel knows of the path from `source` to `to`: bytes of outer packet, 0: nothing.
uint32_t UdpPathMtu(const Address& source, const Address& to, uint16_t port);

union SocketAddress {
  sockaddr any;
  sockaddr_in v4;
  sockaddr_in6 v6;
};
// `port` in host order. The length to be given with it.
socklen_t ToSocketAddress(const Address& address, uint16_t port, SocketAddress* out);
// An IPv4-mapped IPv6 address is the IPv4 address. False for other families.
bool FromSocketAddress(const SocketAddress& from, Address* address, uint16_t* port);

}  // namespace loden::core
