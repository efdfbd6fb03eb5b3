#include "kernel.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "check.h"
#include "core/udp_options.h"
#include "core/udp_socket.h"

namespace loden::fuzz {
namespace {

Kernel* current = nullptr;

bool IsOurs(int fd) { return fd >= kTun && fd <= kOtherSocket; }

int Fail(int error) {
  errno = error;
  return -1;
}

Bytes Gather(const iovec* parts, size_t count) {
  Bytes out;
  for (size_t i = 0; i < count; ++i) {
    const auto* base = static_cast<const uint8_t*>(parts[i].iov_base);
    out.insert(out.end(), base, base + parts[i].iov_len);
  }
  return out;
}

constexpr int kSendErrors[] = {EINTR,  EAGAIN,      ENOBUFS,     EMSGSIZE,     EIO,    EPERM,
                               ENOMEM, ENETUNREACH, ENETDOWN,    ECONNREFUSED, EINVAL, EHOSTUNREACH};

// Rules of udp_sendmsg and udp_send_skb.
ssize_t Send(int fd, const msghdr& header) {
  FUZZ_CHECK(fd == kSocket4 || fd == kSocket6);
  core::SocketAddress name;
  FUZZ_CHECK(header.msg_namelen == (fd == kSocket4 ? sizeof name.v4 : sizeof name.v6));
  memcpy(&name, header.msg_name, header.msg_namelen);
  core::Address to;
  uint16_t port = 0;
  FUZZ_CHECK(core::FromSocketAddress(name, &to, &port) && port == kPort && to.family == (fd == kSocket4 ? 4 : 6));
  FUZZ_CHECK(header.msg_iovlen > 0 && header.msg_iovlen <= 1024);

  const Bytes data = Gather(header.msg_iov, header.msg_iovlen);
  size_t each = data.size();
  if (const cmsghdr* control = CMSG_FIRSTHDR(&header)) {
    FUZZ_CHECK(control->cmsg_level == SOL_UDP && control->cmsg_type == UDP_SEGMENT && control->cmsg_len == CMSG_LEN(2));
    uint16_t size;
    memcpy(&size, CMSG_DATA(control), sizeof size);
    each = size;
    FUZZ_CHECK(each > 0 && each < data.size() && (data.size() + each - 1) / each <= 64 && data.size() <= 65507);
  }
  if (data.size() > 65507) return Fail(EMSGSIZE);
  if (const uint8_t next = current->Next(); next >= 128) return Fail(kSendErrors[next % std::size(kSendErrors)]);
  for (size_t at = 0; at < data.size(); at += each) {
    const size_t end = at + each < data.size() ? at + each : data.size();
    current->sent.push_back({to, Bytes(data.begin() + at, data.begin() + end)});
  }
  return static_cast<ssize_t>(data.size());
}

int Receive(mmsghdr* messages, unsigned count) {
  unsigned got = 0;
  for (; got < count && !current->to_receive.empty(); ++got) {
    const Kernel::Message message = std::move(current->to_receive.front());
    current->to_receive.pop_front();
    msghdr& header = messages[got].msg_hdr;
    FUZZ_CHECK(header.msg_iovlen == 1);
    size_t size = message.data.size();
    header.msg_flags = 0;
    if (size > header.msg_iov->iov_len) {
      size = header.msg_iov->iov_len;
      header.msg_flags |= MSG_TRUNC;
    }
    std::copy_n(message.data.begin(), size, static_cast<uint8_t*>(header.msg_iov->iov_base));
    messages[got].msg_len = static_cast<unsigned>(size);
    core::SocketAddress name;
    const socklen_t length = core::ToSocketAddress(message.from, 40000, &name);
    FUZZ_CHECK(header.msg_namelen >= length);
    memcpy(header.msg_name, &name, length);
    header.msg_namelen = length;
    if (message.gro == 0) {
      header.msg_controllen = 0;
      continue;
    }
    FUZZ_CHECK(header.msg_controllen >= CMSG_SPACE(sizeof(int)));
    cmsghdr* control = CMSG_FIRSTHDR(&header);
    control->cmsg_level = SOL_UDP;
    control->cmsg_type = UDP_GRO;
    control->cmsg_len = CMSG_LEN(sizeof(int));
    const int each = static_cast<int>(message.gro);
    memcpy(CMSG_DATA(control), &each, sizeof each);
    header.msg_controllen = CMSG_SPACE(sizeof(int));
  }
  return got > 0 ? static_cast<int>(got) : Fail(EAGAIN);
}

}  // namespace

Kernel::Kernel(Bytes script) : script_(std::move(script)) { current = this; }
Kernel::~Kernel() { current = nullptr; }
uint8_t Kernel::Next() { return at_ < script_.size() ? script_[at_++] : 0; }

extern "C" {

// name, result, arguments with types, their names
#define WRAP(result, name, ...)              \
  result __real_##name(__VA_ARGS__);         \
  result __wrap_##name(__VA_ARGS__);         \
  result __wrap_##name(__VA_ARGS__)

WRAP(ssize_t, read, int fd, void* data, size_t size) {
  if (!IsOurs(fd)) return __real_read(fd, data, size);
  FUZZ_CHECK(fd == kTun);
  if (current->to_read.empty()) return Fail(EAGAIN);
  const Bytes packet = std::move(current->to_read.front());
  current->to_read.pop_front();
  // tun_put_user: what does not fit is cut off.
  const size_t length = packet.size() < size ? packet.size() : size;
  std::copy_n(packet.begin(), length, static_cast<uint8_t*>(data));
  return static_cast<ssize_t>(length);
}

WRAP(ssize_t, writev, int fd, const iovec* parts, int count) {
  if (!IsOurs(fd)) return __real_writev(fd, parts, count);
  FUZZ_CHECK(fd == kTun && count > 0 && count <= 1024);
  current->written.push_back(Gather(parts, static_cast<size_t>(count)));
  const uint8_t next = current->Next();
  if (next >= 240) current->written.pop_back();
  if (next >= 240) return Fail(EINTR);
  if (next >= 128) return Fail(next % 2 ? EIO : EAGAIN);
  return static_cast<ssize_t>(current->written.back().size());
}

WRAP(int, recvmmsg, int fd, mmsghdr* messages, unsigned count, int flags, timespec* timeout) {
  if (!IsOurs(fd)) return __real_recvmmsg(fd, messages, count, flags, timeout);
  return Receive(messages, count);
}

WRAP(int, sendmmsg, int fd, mmsghdr* messages, unsigned count, int flags) {
  if (!IsOurs(fd)) return __real_sendmmsg(fd, messages, count, flags);
  FUZZ_CHECK(count > 0 && count <= 1024);
  unsigned done = 0;
  for (; done < count; ++done) {
    const ssize_t sent = Send(fd, messages[done].msg_hdr);
    if (sent < 0) break;
    messages[done].msg_len = static_cast<unsigned>(sent);
  }
  return done > 0 ? static_cast<int>(done) : -1;
}

WRAP(ssize_t, sendmsg, int fd, const msghdr* message, int flags) {
  return IsOurs(fd) ? Send(fd, *message) : __real_sendmsg(fd, message, flags);
}

WRAP(int, poll, pollfd* wanted, nfds_t count, int timeout) {
  if (count == 0 || !IsOurs(wanted[0].fd)) return __real_poll(wanted, count, timeout);
  wanted[0].revents = wanted[0].events;
  if (current->Next() < 128) return 1;
  FUZZ_CHECK(timeout >= 0);
  current->waited += timeout;
  return 0;
}

WRAP(int, socket, int domain, int type, int protocol) {
  return current != nullptr ? kOtherSocket : __real_socket(domain, type, protocol);
}
WRAP(int, bind, int fd, const sockaddr* name, socklen_t length) {
  return IsOurs(fd) ? 0 : __real_bind(fd, name, length);
}
WRAP(int, connect, int fd, const sockaddr* name, socklen_t length) {
  return IsOurs(fd) ? 0 : __real_connect(fd, name, length);
}
WRAP(int, close, int fd) { return IsOurs(fd) ? 0 : __real_close(fd); }
WRAP(int, setsockopt, int fd, int level, int name, const void* value, socklen_t length) {
  return IsOurs(fd) ? 0 : __real_setsockopt(fd, level, name, value, length);
}
// Only ever asked for the path's MTU here: anything from nothing to 2,040.
WRAP(int, getsockopt, int fd, int level, int name, void* value, socklen_t* length) {
  if (!IsOurs(fd)) return __real_getsockopt(fd, level, name, value, length);
  const int mtu = current->Next() * 8;
  if (mtu == 0 || *length != sizeof mtu) return Fail(ENOTCONN);
  memcpy(value, &mtu, sizeof mtu);
  return 0;
}
WRAP(int, getsockname, int fd, sockaddr* name, socklen_t* length) {
  if (!IsOurs(fd)) return __real_getsockname(fd, name, length);
  core::SocketAddress own;
  const core::Address address{static_cast<uint8_t>(fd == kSocket6 ? 6 : 4), {192, 0, 2, 1}};
  const socklen_t size = core::ToSocketAddress(address, kPort, &own);
  memcpy(name, &own, size < *length ? size : *length);
  *length = size;
  return 0;
}
// Time stands still but for waiting in vain: what is done at a bounded rate does not depend on the machine.
WRAP(int, clock_gettime, clockid_t clock, timespec* now) {
  if (current == nullptr) return __real_clock_gettime(clock, now);
  *now = {1000 + current->waited / 1000, current->waited % 1000 * 1'000'000};
  return 0;
}
}

}  // namespace loden::fuzz
