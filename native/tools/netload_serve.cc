#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstdio>
#include <mutex>
#include <thread>
#include <vector>

#include "netload.h"

namespace netload {

namespace {

constexpr size_t kBatch = 64;
constexpr size_t kDatagram = 2048;

uint64_t sunk = 0;

// Of the last run; whole under the lock, which is taken once for each batch.
struct Counted {
  std::mutex lock;
  uint32_t run = 0;
  uint64_t received = 0;
  uint32_t overflowed = 0, overflowed_before = 0;
  int64_t first_ns = 0, last_ns = 0;
} counted;

void Echo(int fd) {
  std::vector<char> buffer(kChunk);
  for (;;) {
    const ssize_t got = recv(fd, buffer.data(), buffer.size(), 0);
    if (got <= 0 || send(fd, buffer.data(), static_cast<size_t>(got), MSG_NOSIGNAL) != got) return;
  }
}

void AnswerSamples(int fd) {
  char request;
  while (ReadAll(fd, &request, 1)) {
    Sample sample{};
    sample.at_ns = NowNs();
    sample.busy_ns = BusyNs();
    sample.sunk = __atomic_load_n(&sunk, __ATOMIC_RELAXED);
    {
      const std::lock_guard<std::mutex> hold(counted.lock);
      sample.received = counted.received;
      sample.overflowed = counted.overflowed - counted.overflowed_before;
      sample.first_ns = counted.first_ns;
      sample.last_ns = counted.last_ns;
      sample.run = counted.run;
    }
    if (send(fd, &sample, sizeof sample, MSG_NOSIGNAL) != sizeof sample) return;
  }
}

void Connection(int fd) {
  Hello hello;
  if (ReadAll(fd, &hello, sizeof hello) && ntohl(hello.magic) == kMagic) {
    switch (ntohl(hello.kind)) {
      case kSink: Sink(fd, &sunk); break;
      case kSource: Source(fd); break;
      case kEcho: Echo(fd); break;
      case kSample: AnswerSamples(fd); break;
    }
  }
  CloseAtOnce(fd);
}

void Count(uint32_t run, int64_t now, uint32_t overflowed) {
  const std::lock_guard<std::mutex> hold(counted.lock);
  if (run != counted.run || counted.received == 0) {
    counted.run = run;
    counted.received = 0;
    counted.overflowed_before = counted.overflowed;
    counted.first_ns = now;
  }
  counted.received++;
  if (overflowed != 0) counted.overflowed = overflowed;
  counted.last_ns = now;
}

// SO_RXQ_OVFL: datagrams that this socket has had no room for so far; it is only told when there are any.
uint32_t Overflowed(msghdr* message) {
  uint32_t overflowed = 0;
  for (cmsghdr* c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
    if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_RXQ_OVFL) memcpy(&overflowed, CMSG_DATA(c), sizeof overflowed);
  }
  return overflowed;
}

void Datagrams(int fd) {
  std::vector<char> buffers(kBatch * kDatagram);
  struct alignas(cmsghdr) Control {
    char bytes[64];
  };
  std::vector<Control> controls(kBatch);
  std::vector<sockaddr_in6> from(kBatch);
  std::vector<iovec> parts(kBatch);
  std::vector<mmsghdr> messages(kBatch);
  for (;;) {
    for (size_t i = 0; i < kBatch; i++) {
      parts[i] = {&buffers[i * kDatagram], kDatagram};
      messages[i] = {};
      messages[i].msg_hdr.msg_name = &from[i];
      messages[i].msg_hdr.msg_namelen = sizeof from[i];
      messages[i].msg_hdr.msg_iov = &parts[i];
      messages[i].msg_hdr.msg_iovlen = 1;
      messages[i].msg_hdr.msg_control = &controls[i];
      messages[i].msg_hdr.msg_controllen = sizeof controls[i];
    }
    const int got = recvmmsg(fd, messages.data(), kBatch, MSG_WAITFORONE, nullptr);
    if (got < 0) {
      if (errno == EINTR || errno == ECONNREFUSED) continue;
      Fail("recvmmsg");
    }
    const int64_t now = NowNs();
    for (size_t i = 0; i < static_cast<size_t>(got); i++) {
      Hello hello;
      if (messages[i].msg_len < sizeof hello) continue;
      memcpy(&hello, parts[i].iov_base, sizeof hello);
      if (ntohl(hello.magic) != kMagic) continue;
      if (ntohl(hello.kind) == kCount) {
        Count(ntohl(hello.run), now, Overflowed(&messages[i].msg_hdr));
      } else if (ntohl(hello.kind) == kEcho) {
        sendto(fd, parts[i].iov_base, messages[i].msg_len, 0, reinterpret_cast<sockaddr*>(&from[i]),
               messages[i].msg_hdr.msg_namelen);
      }
    }
  }
}

int Listen(const Options& options, int type) {
  const int fd = socket(options.to.storage.ss_family, type | SOCK_CLOEXEC, 0);
  const int on = 1, off = 0;
  if (fd < 0) Fail("socket");
  if (options.to.storage.ss_family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (type == SOCK_DGRAM) {
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &kReceiveBuffer, sizeof kReceiveBuffer);
    setsockopt(fd, SOL_SOCKET, SO_RXQ_OVFL, &on, sizeof on);
  } else {
    // Accepted connections inherit both.
    NameCongestion(fd, options.congestion);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  if (bind(fd, options.to.any(), options.to.length) != 0) Fail("bind");
  if (type == SOCK_STREAM && listen(fd, 128) != 0) Fail("listen");
  return fd;
}

}  // namespace

int Serve(const Options& options) {
  const int datagrams = Listen(options, SOCK_DGRAM);
  const int listener = Listen(options, SOCK_STREAM);
  std::thread(Datagrams, datagrams).detach();
  fprintf(stderr, "netload: listening on port %u\n", options.port);
  for (;;) {
    const int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd >= 0) {
      std::thread(Connection, fd).detach();
    } else if (errno != EINTR && errno != ECONNABORTED) {
      Fail("accept");
    }
  }
}

}  // namespace netload
