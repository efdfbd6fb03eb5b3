// AF_UNIX SOCK_SEQPACKET with descriptors beside the bytes: single system calls, none of which waits. No N-API.
#pragma once

#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "failure.h"

namespace loden {

inline constexpr size_t kMaxMessageBytes = 65536;
// SCM_MAX_FD: the kernel takes no more in one message.
inline constexpr size_t kMaxMessageFds = 253;

// A socket file with mode 0600 from its first moment; fails with EADDRINUSE when there is a file already.
Failure ListenSeq(const std::string& path, int* fd);
// ECONNREFUSED: nobody listens; ENOENT: no such file; EAGAIN: too many wait to be accepted.
Failure ConnectSeq(const std::string& path, int* fd);
// error EAGAIN: nobody waits.
Failure AcceptSeq(int listener, int* fd);

// One message or datagram, whole or not at all. `address` may be nullptr.
Failure SendMessage(int fd, const sockaddr* address, socklen_t length, std::span<const uint8_t> bytes,
                    std::span<const int> fds);

struct Message {
  std::vector<uint8_t> bytes;
  std::vector<int> fds;  // O_CLOEXEC; the receiver's to close
};

enum class Received {
  kNothing,
  kMessage,
  kEnd,      // the other end has closed, or sent an empty message, which looks the same
  kRefused,  // longer than kMaxMessageBytes, or not all of its descriptors could be taken: those that came are closed
  kFailed,   // *failure says why
};
Received ReceiveMessage(int fd, Message* message, Failure* failure);

}  // namespace loden
