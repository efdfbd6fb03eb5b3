#include "handover_socket.h"

#include <errno.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

namespace loden {
namespace {

constexpr int kBacklog = 4;

Failure Address(const std::string& path, sockaddr_un* address) {
  *address = {};
  address->sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address->sun_path || path.find('\0') != std::string::npos) {
    return {ENAMETOOLONG, "sun_path"};
  }
  memcpy(address->sun_path, path.data(), path.size());
  return {};
}

Failure Fail(const char* what, int fd) {
  const Failure failure{errno, what};
  close(fd);
  return failure;
}

int NewSocket() { return socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0); }

}  // namespace

Failure ListenSeq(const std::string& path, int* out) {
  sockaddr_un address;
  if (const Failure failure = Address(path, &address)) return failure;
  const int fd = NewSocket();
  if (fd < 0) return {errno, "socket"};
  // bind() gives the file the mode of the socket, less the umask.
  if (fchmod(fd, S_IRUSR | S_IWUSR) != 0) return Fail("fchmod", fd);
  if (bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return Fail("bind", fd);
  if (listen(fd, kBacklog) != 0) {
    const Failure failure = Fail("listen", fd);
    unlink(path.c_str());
    return failure;
  }
  *out = fd;
  return {};
}

Failure ConnectSeq(const std::string& path, int* out) {
  sockaddr_un address;
  if (const Failure failure = Address(path, &address)) return failure;
  const int fd = NewSocket();
  if (fd < 0) return {errno, "socket"};
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return Fail("connect", fd);
  *out = fd;
  return {};
}

Failure AcceptSeq(int listener, int* out) {
  const int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd < 0) return {errno, "accept4"};
  *out = fd;
  return {};
}

Failure SendMessage(int fd, const sockaddr* address, socklen_t length, std::span<const uint8_t> bytes,
                    std::span<const int> fds) {
  if (bytes.empty() || bytes.size() > kMaxMessageBytes || fds.size() > kMaxMessageFds) return {EMSGSIZE, "sendmsg"};
  alignas(cmsghdr) char control[CMSG_SPACE(kMaxMessageFds * sizeof(int))] = {};
  iovec part{const_cast<uint8_t*>(bytes.data()), bytes.size()};
  msghdr message{};
  message.msg_name = const_cast<sockaddr*>(address);
  message.msg_namelen = length;
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(fds.size_bytes());
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(fds.size_bytes());
    memcpy(CMSG_DATA(header), fds.data(), fds.size_bytes());
  }
  for (;;) {
    const ssize_t sent = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent == static_cast<ssize_t>(bytes.size())) return {};
    if (sent >= 0) return {EIO, "sendmsg"};
    if (errno != EINTR) return {errno, "sendmsg"};
  }
}

Received ReceiveMessage(int fd, Message* out, Failure* failure) {
  out->bytes.resize(kMaxMessageBytes);
  out->fds.clear();
  alignas(cmsghdr) char control[CMSG_SPACE(kMaxMessageFds * sizeof(int))];
  iovec part{out->bytes.data(), out->bytes.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t got;
  do {
    got = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    // ECONNRESET: the other end has closed with something of ours unread. It is told once, before what it sent last.
  } while (got < 0 && (errno == EINTR || errno == ECONNRESET));
  if (got < 0) {
    const int error = errno;
    out->bytes.clear();
    if (error == EAGAIN) return Received::kNothing;
    *failure = {error, "recvmsg"};
    return Received::kFailed;
  }
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; i++) {
      int passed;
      memcpy(&passed, CMSG_DATA(header) + i * sizeof passed, sizeof passed);
      out->fds.push_back(passed);
    }
  }
  const bool cut = (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0;
  out->bytes.resize(static_cast<size_t>(got));
  if (!cut && got > 0) return Received::kMessage;
  for (const int passed : out->fds) close(passed);
  out->fds.clear();
  out->bytes.clear();
  return cut ? Received::kRefused : Received::kEnd;
}

}  // namespace loden
