#include "netlink_socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstddef>

namespace loden {

namespace {
// The kernel fills up to 32 KB of a dump into one datagram when the reader shows it can take that much.
constexpr size_t kBufferBytes = 64 * 1024;
// A single message larger than this (a link with thousands of VFs) is not read.
constexpr size_t kMaxBufferBytes = 4 * 1024 * 1024;
}  // namespace

Failure EnterNetns(int netns_fd) {
  if (netns_fd < 0) return {};
  if (setns(netns_fd, CLONE_NEWNET) != 0) return {errno, "setns"};
  return {};
}

NetlinkSocket::~NetlinkSocket() { Close(); }

void NetlinkSocket::Close() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

Failure NetlinkSocket::Open(int protocol, int rcvbuf, uint32_t port, const std::vector<uint32_t>& groups) {
  Close();
  fd_ = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
  if (fd_ < 0) return {errno, "socket"};
  if (rcvbuf > 0 && setsockopt(fd_, SOL_SOCKET, SO_RCVBUFFORCE, &rcvbuf, sizeof rcvbuf) != 0) {
    // Without CAP_NET_ADMIN the kernel caps it at rmem_max.
    if (setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &rcvbuf, sizeof rcvbuf) != 0) return {errno, "setsockopt SO_RCVBUF"};
  }
  // Words with every refusal, no echo of the refused request, and filters in dump requests taken at their word.
  // Each is younger than some kernels; without it there is less information, not less function.
  const int on = 1;
  setsockopt(fd_, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof on);
  setsockopt(fd_, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);
  setsockopt(fd_, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof on);

  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_pid = port;
  if (bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) return {errno, "bind"};
  socklen_t length = sizeof address;
  if (getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &length) != 0) return {errno, "getsockname"};
  port_ = address.nl_pid;
  for (const uint32_t group : groups) {
    if (setsockopt(fd_, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group) != 0) {
      return {errno, "setsockopt NETLINK_ADD_MEMBERSHIP"};
    }
  }
  if (buffer_.empty()) buffer_.resize(kBufferBytes);
  return {};
}

Failure NetlinkSocket::Only(uint16_t type) const {
  // The filter's loads are big-endian, the header is not.
  sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_H | BPF_ABS, offsetof(nlmsghdr, nlmsg_type)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htons(type), 0, 1),
      BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
      BPF_STMT(BPF_RET | BPF_K, 0),
  };
  const sock_fprog program{sizeof code / sizeof code[0], code};
  if (setsockopt(fd_, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) != 0) {
    return {errno, "setsockopt SO_ATTACH_FILTER"};
  }
  return {};
}

Failure NetlinkSocket::Send(const std::vector<uint8_t>& bytes) const {
  sockaddr_nl kernel{};
  kernel.nl_family = AF_NETLINK;
  const ssize_t sent =
      sendto(fd_, bytes.data(), bytes.size(), 0, reinterpret_cast<const sockaddr*>(&kernel), sizeof kernel);
  if (sent < 0) return {errno, "sendto"};
  return {};
}

NetlinkSocket::Got NetlinkSocket::Receive() {
  for (;;) {
    sockaddr_nl from{};
    iovec part{buffer_.data(), buffer_.size()};
    msghdr message{};
    message.msg_name = &from;
    message.msg_namelen = sizeof from;
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    // MSG_TRUNC makes recvmsg return the datagram's real length.
    const ssize_t got = recvmsg(fd_, &message, MSG_DONTWAIT | MSG_TRUNC);
    if (got < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) return Got::kNothing;
      if (errno == ENOBUFS) return Got::kOverrun;
      failure_ = {errno, "recvmsg"};
      return Got::kFailed;
    }
    // Any process may send to a netlink port; only the kernel has port id 0.
    if (message.msg_namelen != sizeof from || from.nl_pid != 0) continue;
    size_ = static_cast<size_t>(got);
    if (size_ <= buffer_.size()) return Got::kData;
    if (size_ > kMaxBufferBytes) {
      failure_ = {EMSGSIZE, "recvmsg"};
      return Got::kFailed;
    }
    buffer_.resize(size_);
    return Got::kOverrun;
  }
}

}  // namespace loden
