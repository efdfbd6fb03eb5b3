#include "udp_socket.h"

#include <errno.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <time.h>
#include <unistd.h>

#include <cstring>
#include <utility>

#include "udp_options.h"

namespace loden::core {
namespace {

// Dynamic ports: RFC 6335, 6. As many workers as a source port can tell apart.
constexpr uint32_t kFirstPort = 49152, kLastPort = 65535, kSteps = 16;

Failure OpenBound(const Address& address, uint16_t port, bool share, int* out) {
  const int family = address.family == 4 ? AF_INET : AF_INET6;
  const int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_UDP);
  if (fd < 0) return {errno, "socket"};
  const int on = 1;
  if (family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  if (share) setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
  SocketAddress name;
  const socklen_t length = ToSocketAddress(address, port, &name);
  if (bind(fd, &name.any, length) != 0) {
    const Failure failure{errno, "bind"};
    close(fd);
    return failure;
  }
  UdpDontFragment(fd, address.family, true);
  *out = fd;
  return {};
}

void SetBuffer(int fd, int forced, int asked, int bytes) {
  // Past the limits of the administrator for others' sockets, where we may.
  if (setsockopt(fd, SOL_SOCKET, forced, &bytes, sizeof bytes) != 0) setsockopt(fd, SOL_SOCKET, asked, &bytes, sizeof bytes);
}

// Which of a group's sockets gets a datagram: linux/filter.h, SO_ATTACH_REUSEPORT_CBPF in socket(7). Without it (before Linux
// 4.5) the kernel chooses by a hash.
void Steer(int fd, uint8_t family, uint32_t count) {
  constexpr uint32_t kNetwork = static_cast<uint32_t>(SKF_NET_OFF);
  sock_filter v4[] = {
      {BPF_LDX | BPF_B | BPF_MSH, 0, 0, kNetwork},  // X: bytes of the IPv4 header
      {BPF_LD | BPF_H | BPF_IND, 0, 0, kNetwork},   // the source port
      {BPF_ALU | BPF_AND | BPF_K, 0, 0, kSteps - 1},
      {BPF_ALU | BPF_MOD | BPF_K, 0, 0, count},
      {BPF_RET | BPF_A, 0, 0, 0},
  };
  sock_filter v6[] = {
      {BPF_LD | BPF_H | BPF_ABS, 0, 0, kNetwork + 40},
      {BPF_ALU | BPF_AND | BPF_K, 0, 0, kSteps - 1},
      {BPF_ALU | BPF_MOD | BPF_K, 0, 0, count},
      {BPF_RET | BPF_A, 0, 0, 0},
  };
  const sock_fprog program =
      family == 4 ? sock_fprog{sizeof v4 / sizeof v4[0], v4} : sock_fprog{sizeof v6 / sizeof v6[0], v6};
  setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof program);
}

}  // namespace

Failure UdpOpen(const Address& address, uint16_t port, int count, std::vector<int>* sockets) {
  std::vector<int> opened;
  for (int i = 0; i < count; ++i) {
    int fd = -1;
    if (const Failure failure = OpenBound(address, port, count > 1, &fd)) {
      for (const int each : opened) close(each);
      return failure;
    }
    SetBuffer(fd, SO_RCVBUFFORCE, SO_RCVBUF, kSocketBuffer);
    SetBuffer(fd, SO_SNDBUFFORCE, SO_SNDBUF, kSocketBuffer);
    opened.push_back(fd);
  }
  if (count > 1) Steer(opened[0], address.family, static_cast<uint32_t>(count));
  *sockets = std::move(opened);
  return {};
}

Failure UdpOpenSender(const Address& address, int index, int* socket) {
  Failure failure{EADDRINUSE, "bind"};
  // Anywhere among the ports that nobody asks for by name (RFC 6335, 6), as the clock has it.
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  const uint32_t places = (kLastPort + 1 - kFirstPort) / kSteps;
  const auto start = static_cast<uint32_t>(now.tv_nsec / 1000);
  for (uint32_t i = 0; i < places && failure.error == EADDRINUSE; ++i) {
    const uint32_t port = kFirstPort + (start + i) % places * kSteps + static_cast<uint32_t>(index) % kSteps;
    failure = OpenBound(address, static_cast<uint16_t>(port), false, socket);
  }
  if (failure) return failure;
  sock_filter drop_all[] = {{BPF_RET | BPF_K, 0, 0, 0}};
  const sock_fprog program{1, drop_all};
  setsockopt(*socket, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program);
  SetBuffer(*socket, SO_SNDBUFFORCE, SO_SNDBUF, kSocketBuffer);
  return {};
}

Failure UdpIdentify(int socket, Address* address, uint16_t* port) {
  int protocol = 0;
  socklen_t length = sizeof protocol;
  if (getsockopt(socket, SOL_SOCKET, SO_PROTOCOL, &protocol, &length) != 0) return {errno, "getsockopt SO_PROTOCOL"};
  if (protocol != IPPROTO_UDP) return {EPROTOTYPE, "SO_PROTOCOL"};
  SocketAddress name{};
  length = sizeof name;
  if (getsockname(socket, &name.any, &length) != 0) return {errno, "getsockname"};
  if (!FromSocketAddress(name, address, port) || *port == 0) return {EAFNOSUPPORT, "getsockname"};
  return {};
}

UdpOffloads UdpNegotiate(int socket) {
  UdpOffloads offloads;
  const int on = 1;
  offloads.gro = setsockopt(socket, SOL_UDP, UDP_GRO, &on, sizeof on) == 0;
  int size = 0;
  socklen_t length = sizeof size;
  offloads.gso = getsockopt(socket, SOL_UDP, UDP_SEGMENT, &size, &length) == 0;
  return offloads;
}

void UdpDontFragment(int socket, uint8_t family, bool dont) {
  if (family == 4) {
    const int value = dont ? IP_PMTUDISC_DO : IP_PMTUDISC_DONT;
    setsockopt(socket, IPPROTO_IP, IP_MTU_DISCOVER, &value, sizeof value);
  } else {
    const int value = dont ? IPV6_PMTUDISC_DO : IPV6_PMTUDISC_DONT;
    setsockopt(socket, IPPROTO_IPV6, IPV6_MTU_DISCOVER, &value, sizeof value);
  }
}

uint32_t UdpPathMtu(const Address& source, const Address& to, uint16_t port) {
  int fd = -1;
  if (OpenBound(source, 0, false, &fd)) return 0;
  SocketAddress name;
  const socklen_t name_length = ToSocketAddress(to, port, &name);
  int mtu = 0;
  socklen_t length = sizeof mtu;
  const bool known = connect(fd, &name.any, name_length) == 0 &&
                     (to.family == 4 ? getsockopt(fd, IPPROTO_IP, IP_MTU, &mtu, &length)
                                     : getsockopt(fd, IPPROTO_IPV6, IPV6_MTU, &mtu, &length)) == 0;
  close(fd);
  return known && mtu > 0 ? static_cast<uint32_t>(mtu) : 0;
}

socklen_t ToSocketAddress(const Address& address, uint16_t port, SocketAddress* out) {
  memset(out, 0, sizeof *out);
  if (address.family == 4) {
    out->v4.sin_family = AF_INET;
    out->v4.sin_port = htons(port);
    memcpy(&out->v4.sin_addr, address.bytes, 4);
    return sizeof out->v4;
  }
  out->v6.sin6_family = AF_INET6;
  out->v6.sin6_port = htons(port);
  memcpy(&out->v6.sin6_addr, address.bytes, 16);
  return sizeof out->v6;
}

bool FromSocketAddress(const SocketAddress& from, Address* address, uint16_t* port) {
  *address = {};
  if (from.any.sa_family == AF_INET) {
    address->family = 4;
    memcpy(address->bytes, &from.v4.sin_addr, 4);
    *port = ntohs(from.v4.sin_port);
    return true;
  }
  if (from.any.sa_family != AF_INET6) return false;
  *port = ntohs(from.v6.sin6_port);
  if (IN6_IS_ADDR_V4MAPPED(&from.v6.sin6_addr)) {
    address->family = 4;
    memcpy(address->bytes, from.v6.sin6_addr.s6_addr + 12, 4);
    return true;
  }
  address->family = 6;
  memcpy(address->bytes, &from.v6.sin6_addr, 16);
  return true;
}

}  // namespace loden::core
