// A netlink socket as the helper threads use it. Knows nothing of N-API.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "failure.h"

namespace loden {

class NetlinkSocket {
 public:
  enum class Got {
    kData,     // a datagram of the kernel's is in data()
    kNothing,  // the queue is empty
    kOverrun,  // the kernel dropped messages, or one did not fit the buffer, which has grown since
    kFailed,   // see failure()
  };

  NetlinkSocket() = default;
  ~NetlinkSocket();
  NetlinkSocket(const NetlinkSocket&) = delete;
  NetlinkSocket& operator=(const NetlinkSocket&) = delete;

  // Opens the socket in the calling thread's network namespace and joins `groups`.
  // `port` 0 lets the kernel choose the port id. `rcvbuf` in bytes; 0 keeps the kernel's default.
  Failure Open(int protocol, int rcvbuf, uint32_t port, const std::vector<uint32_t>& groups);
  void Close();
  // From now on takes only datagrams whose first message is of this type: nobody is woken for another.
  Failure Only(uint16_t type) const;

  int fd() const { return fd_; }
  uint32_t port() const { return port_; }

  // Sends one datagram to the kernel, which handles all of it before this returns.
  Failure Send(const std::vector<uint8_t>& bytes) const;
  // Takes one datagram, never blocking; whatever does not come from the kernel is thrown away.
  Got Receive();
  const uint8_t* data() const { return buffer_.data(); }
  size_t size() const { return size_; }
  Failure failure() const { return failure_; }

 private:
  int fd_ = -1;
  uint32_t port_ = 0;
  std::vector<uint8_t> buffer_;
  size_t size_ = 0;
  Failure failure_;
};

// Moves the calling thread, and only it, into a network namespace. -1: stays where it is.
Failure EnterNetns(int netns_fd);

}  // namespace loden
