#include "prober_sockets.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/icmp.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cstring>
#include <span>

#include "core/udp_socket.h"

namespace loden {
namespace {

using core::Address;
using core::ProbeKind;
using core::SocketAddress;
using core::ToSocketAddress;

constexpr size_t kMostBytes = 65'535;

Failure SetInt(int fd, int level, int option, int value, const char* what) {
  return setsockopt(fd, level, option, &value, sizeof value) == 0 ? Failure{} : Failure{errno, what};
}

// Never fragmented, and limited by the device alone: neither by what the kernel has learnt about the path nor by the route's own MTU.
Failure Whole(int fd, uint8_t family) {
  if (family == 4) return SetInt(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE, "setsockopt IP_MTU_DISCOVER");
  const Failure failure =
      SetInt(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE, "setsockopt IPV6_MTU_DISCOVER");
  return failure ? failure : SetInt(fd, IPPROTO_IPV6, IPV6_DONTFRAG, 1, "setsockopt IPV6_DONTFRAG");
}

Failure Filter(int fd, std::span<const sock_filter> program) {
  const sock_fprog filter{static_cast<unsigned short>(program.size()), const_cast<sock_filter*>(program.data())};
  if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter) == 0) return {};
  return {errno, "setsockopt SO_ATTACH_FILTER"};
}

constexpr sock_filter Statement(int code, uint32_t k) { return {static_cast<uint16_t>(code), 0, 0, k}; }
constexpr sock_filter Jump(int code, uint32_t k, uint8_t yes, uint8_t no) {
  return {static_cast<uint16_t>(code), yes, no, k};
}

// Only messages with our magic at the place for their type wake anybody: a stranger's ping flood does not. What ends before it is dropped.
Failure OnlyOurs(int fd, uint8_t family, uint32_t magic) {
  const sock_filter keep = Statement(BPF_RET | BPF_K, UINT32_MAX), drop = Statement(BPF_RET | BPF_K, 0);
  if (family == 4) {
    const sock_filter program[] = {
        Statement(BPF_LDX | BPF_B | BPF_MSH, 0),  // X: length of the IP header
        Statement(BPF_LD | BPF_B | BPF_IND, 0),
        Jump(BPF_JMP | BPF_JEQ | BPF_K, ICMP_ECHOREPLY, 0, 2),
        Statement(BPF_LD | BPF_W | BPF_IND, core::kMagicInEcho),
        Jump(BPF_JMP | BPF_JA, 6, 0, 0),
        Statement(BPF_LD | BPF_B | BPF_IND, 8),  // the quoted IP header's length is added
        Statement(BPF_ALU | BPF_AND | BPF_K, 15),
        Statement(BPF_ALU | BPF_LSH | BPF_K, 2),
        Statement(BPF_ALU | BPF_ADD | BPF_X, 0),
        Statement(BPF_MISC | BPF_TAX, 0),
        Statement(BPF_LD | BPF_W | BPF_IND, core::kMagicInQuote4),
        Jump(BPF_JMP | BPF_JEQ | BPF_K, magic, 0, 1),
        keep,
        drop,
    };
    return Filter(fd, program);
  }
  const sock_filter program[] = {
      Statement(BPF_LD | BPF_B | BPF_ABS, 0),
      Jump(BPF_JMP | BPF_JEQ | BPF_K, ICMP6_ECHO_REPLY, 0, 2),
      Statement(BPF_LD | BPF_W | BPF_ABS, core::kMagicInEcho),
      Jump(BPF_JMP | BPF_JA, 1, 0, 0),
      Statement(BPF_LD | BPF_W | BPF_ABS, core::kMagicInQuote6),
      Jump(BPF_JMP | BPF_JEQ | BPF_K, magic, 0, 1),
      keep,
      drop,
  };
  return Filter(fd, program);
}

// Of other types the kernel does not even make a copy for us.
Failure OnlyTypes(int fd, uint8_t family) {
  if (family == 4) {
    icmp_filter filter{};
    filter.data = ~(1u << ICMP_ECHOREPLY | 1u << ICMP_DEST_UNREACH | 1u << ICMP_TIME_EXCEEDED);
    if (setsockopt(fd, SOL_RAW, ICMP_FILTER, &filter, sizeof filter) == 0) return {};
    return {errno, "setsockopt ICMP_FILTER"};
  }
  icmp6_filter filter;
  ICMP6_FILTER_SETBLOCKALL(&filter);
  for (const int type : {ICMP6_ECHO_REPLY, ICMP6_DST_UNREACH, ICMP6_PACKET_TOO_BIG, ICMP6_TIME_EXCEEDED}) {
    ICMP6_FILTER_SETPASS(type, &filter);
  }
  if (setsockopt(fd, IPPROTO_ICMPV6, ICMP6_FILTER, &filter, sizeof filter) == 0) return {};
  return {errno, "setsockopt ICMP6_FILTER"};
}

Failure NewSocket(uint8_t family, int type, int protocol, int* out) {
  *out = socket(family == 4 ? AF_INET : AF_INET6, type | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);
  return *out < 0 ? Failure{errno, "socket"} : Whole(*out, family);
}

}  // namespace

Failure ProberSockets::Open() {
  uint8_t random[6];
  if (getrandom(random, sizeof random, 0) != static_cast<ssize_t>(sizeof random)) return {errno, "getrandom"};
  memcpy(&magic_, random, 4);
  memcpy(&identifier_, random + 4, 2);
  buffer_.resize(kMostBytes);
  for (const uint8_t family : {4, 6}) {
    const Failure failure = OpenFamily(family);
    if (!failure) continue;
    Of(family).Close();
    Of(family).failure = failure;
  }
  return Of(6).failure ? Of(4).failure : Failure{};
}

void ProberSockets::Family::Close() {
  for (const int fd : {icmp, udp, raw}) {
    if (fd >= 0) close(fd);
  }
  *this = {};
}

Failure ProberSockets::OpenFamily(uint8_t family) {
  Family& its = Of(family);
  Failure failure = NewSocket(family, SOCK_RAW, family == 4 ? int{IPPROTO_ICMP} : int{IPPROTO_ICMPV6}, &its.icmp);
  if (!failure) failure = OnlyTypes(its.icmp, family);
  if (!failure) failure = OnlyOurs(its.icmp, family, magic_);
  // Without it the times are less exact.
  if (!failure) (void)SetInt(its.icmp, SOL_SOCKET, SO_TIMESTAMPNS, 1, "setsockopt SO_TIMESTAMPNS");
  // One of protocol UDP would be given a copy of each datagram that this host receives, the tunnel's too; one of protocol RAW gets nothing, and
  // is given whole IP packets to send.
  if (!failure) failure = NewSocket(family, SOCK_RAW, IPPROTO_RAW, &its.raw);
  if (!failure) failure = NewSocket(family, SOCK_DGRAM, 0, &its.udp);
  const sock_filter drop[] = {Statement(BPF_RET | BPF_K, 0)};
  if (!failure) failure = Filter(its.udp, drop);
  if (failure) return failure;
  Address any;
  any.family = family;
  SocketAddress bound;
  socklen_t length = ToSocketAddress(any, 0, &bound);
  if (bind(its.udp, &bound.any, length) != 0) return {errno, "bind"};
  return core::UdpIdentify(its.udp, &any, &its.port);
}

int ProberSockets::Send(ProbeKind kind, const Address& to, uint16_t port, size_t size, const core::ProbeMark& mark) {
  const Family& its = Of(to.family);
  if (its.failure) return its.failure.error;
  SocketAddress target;
  socklen_t length = ToSocketAddress(to, kind == ProbeKind::kUdp ? port : 0, &target);
  uint8_t* out = buffer_.data();
  size_t bytes = size - core::IpHeader(to.family);
  int fd = its.icmp;
  if (kind == ProbeKind::kEcho) {
    core::PutEcho(out, bytes, to.family, identifier_, mark);
  } else if (kind == ProbeKind::kUdp) {
    fd = its.udp;
    bytes -= core::kProbeHeader;
    core::PutProbePayload(out, bytes, mark);
  } else {
    // The address that the kernel would send from is part of the checksum.
    const int route = socket(target.any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (route < 0) return errno;
    SocketAddress towards, source;
    socklen_t source_length = sizeof source;
    const bool known = connect(route, &towards.any, ToSocketAddress(to, port, &towards)) == 0 &&
                       getsockname(route, &source.any, &source_length) == 0;
    const int error = errno;
    close(route);
    if (!known) return error;
    Address ours;
    uint16_t any_port = 0;
    core::FromSocketAddress(source, &ours, &any_port);
    core::PutDatagram(out, size, ours, to, its.port, port, mark);
    fd = its.raw;
    bytes = size;
  }
  for (;;) {
    if (sendto(fd, out, bytes, MSG_DONTWAIT | MSG_NOSIGNAL, &target.any, length) >= 0) return 0;
    if (errno != EINTR) return errno;
  }
}

ProberSockets::Got ProberSockets::Receive(uint8_t family, Received* out) {
  SocketAddress from;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(timespec))];
  iovec part{buffer_.data(), buffer_.size()};
  msghdr message{};
  message.msg_name = &from;
  message.msg_namelen = sizeof from;
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ssize_t got = recvmsg(fd(family), &message, MSG_DONTWAIT);
  // An error is that of an earlier packet, told by ICMP: read on.
  if (got < 0) return errno == EAGAIN ? Got::kNothing : Got::kOther;
  const auto size = static_cast<size_t>(got);
  const bool known = family == 4 ? core::ReadAnswer4(buffer_.data(), size, &out->answer)
                                 : core::ReadAnswer6(buffer_.data(), size, &out->answer);
  if (!known || out->answer.mark.magic != magic_) return Got::kOther;
  if (out->answer.identifier != (out->answer.of_udp ? Of(family).port : identifier_)) return Got::kOther;
  uint16_t no_port = 0;
  if (!core::FromSocketAddress(from, &out->from, &no_port)) return Got::kOther;
  timespec at{};
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_TIMESTAMPNS) {
    memcpy(&at, CMSG_DATA(header), sizeof at);
  } else {
    clock_gettime(CLOCK_REALTIME, &at);
  }
  out->at = int64_t{at.tv_sec} * 1'000'000'000 + at.tv_nsec;
  return Got::kAnswer;
}

}  // namespace loden
