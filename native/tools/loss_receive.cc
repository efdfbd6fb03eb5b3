#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstdio>
#include <vector>

#include "loss.h"

namespace loss {

namespace {

// Seconds of 1 kHz traffic, should this process not be scheduled.
constexpr int kReceiveBuffer = 8 * 1024 * 1024;
// After the end was told: how long stragglers may take.
constexpr int64_t kGraceNs = 200'000'000;

// What has arrived of one stream.
class Tally {
 public:
  void Data(uint64_t number, int64_t at_ns) {
    if (number >= kMaxNumber) return;
    Arrival(at_ns);
    if (number >= seen_.size()) seen_.resize(std::max<size_t>(number + 1, seen_.size() * 2));
    if (seen_[number]) {
      doubled_++;
      return;
    }
    seen_[number] = true;
    if (received_ == 0) {
      first_ = highest_ = number;
    } else if (number < highest_) {
      reordered_++;
    } else {
      highest_ = number;
    }
    received_++;
  }
  // Repetitions of it are silence.
  void End(uint64_t numbers, int64_t at_ns) {
    if (ended_ || numbers > kMaxNumber) return;
    Arrival(at_ns);
    ended_ = true;
    numbers_ = numbers;
  }
  bool ended() const { return ended_; }

  void Print(uint32_t id, uint64_t foreign, uint32_t dropped_here) const {
    const uint64_t numbers = ended_ ? numbers_ : received_ > 0 ? highest_ + 1 : 0;
    uint64_t run = 0;
    uint64_t longest_run = 0;
    for (uint64_t i = 0; i < numbers; i++) {
      run = i < seen_.size() && seen_[i] ? 0 : run + 1;
      longest_run = std::max(longest_run, run);
    }
    const long long first = received_ > 0 ? static_cast<long long>(first_) : -1;
    const long long last = received_ > 0 ? static_cast<long long>(highest_) : -1;
    printf("{\"id\":%u,\"received\":%llu,\"lost\":%llu,\"doubled\":%llu,\"reordered\":%llu,\"longestGapMs\":%.3f,"
           "\"longestLossRun\":%llu,\"firstSeq\":%lld,\"lastSeq\":%lld,\"ended\":%s,\"numbers\":%llu,\"durationMs\":%.3f,"
           "\"foreign\":%llu,\"droppedHere\":%u}\n",
           id, Long(received_), Long(numbers > received_ ? numbers - received_ : 0), Long(doubled_), Long(reordered_),
           static_cast<double>(gap_ns_) / 1e6, Long(longest_run), first, last, ended_ ? "true" : "false", Long(numbers),
           static_cast<double>(last_at_ - first_at_) / 1e6, Long(foreign), dropped_here);
  }

 private:
  static unsigned long long Long(uint64_t n) { return n; }
  void Arrival(int64_t at_ns) {
    if (arrived_) {
      gap_ns_ = std::max(gap_ns_, at_ns - last_at_);
    } else {
      first_at_ = at_ns;
    }
    arrived_ = true;
    last_at_ = at_ns;
  }

  std::vector<bool> seen_;
  uint64_t received_ = 0, doubled_ = 0, reordered_ = 0, first_ = 0, highest_ = 0, numbers_ = 0;
  int64_t first_at_ = 0, last_at_ = 0, gap_ns_ = 0;
  bool arrived_ = false, ended_ = false;
};

int Bind(const ReceiveOptions& options, Address address) {
  const int fd = socket(address.storage.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  const int on = 1, off = 0;
  if (options.dual_stack && address.storage.ss_family == AF_INET6) {
    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  }
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &kReceiveBuffer, sizeof kReceiveBuffer) != 0) {
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &kReceiveBuffer, sizeof kReceiveBuffer);
  }
  // The time the kernel took the datagram in, whenever this process gets to run.
  setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on);
  setsockopt(fd, SOL_SOCKET, SO_RXQ_OVFL, &on, sizeof on);
  if (bind(fd, reinterpret_cast<sockaddr*>(&address.storage), address.length) != 0) {
    const int error = errno;
    close(fd);
    errno = error;
    return -1;
  }
  return fd;
}

struct Arrived {
  bool any = false;
  size_t size = 0;
  int64_t at_ns = 0;
};

Arrived Take(int fd, Datagram* datagram, uint32_t* dropped_here) {
  alignas(cmsghdr) char control[128];
  iovec part{datagram, sizeof *datagram};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ssize_t got = recvmsg(fd, &message, MSG_DONTWAIT);
  if (got < 0) return {};
  Arrived arrived{true, static_cast<size_t>(got), 0};
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level != SOL_SOCKET) continue;
    if (c->cmsg_type == SCM_TIMESTAMPNS) {
      timespec at;
      memcpy(&at, CMSG_DATA(c), sizeof at);
      arrived.at_ns = int64_t{at.tv_sec} * 1'000'000'000 + at.tv_nsec;
    } else if (c->cmsg_type == SO_RXQ_OVFL) {
      memcpy(dropped_here, CMSG_DATA(c), sizeof *dropped_here);
    }
  }
  return arrived;
}

uint16_t PortOf(int fd) {
  Address bound;
  bound.length = sizeof bound.storage;
  getsockname(fd, reinterpret_cast<sockaddr*>(&bound.storage), &bound.length);
  return ntohs(bound.storage.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(&bound.storage)->sin6_port
                                                   : reinterpret_cast<sockaddr_in*>(&bound.storage)->sin_port);
}

}  // namespace

int Receive(const ReceiveOptions& options) {
  int fd = Bind(options, options.bind);
  if (fd < 0 && options.dual_stack) {
    Address any;
    auto* v4 = reinterpret_cast<sockaddr_in*>(&any.storage);
    v4->sin_family = AF_INET;
    v4->sin_port = htons(options.port);
    any.length = sizeof *v4;
    fd = Bind(options, any);
  }
  if (fd < 0) return Fail("cannot listen on UDP port " + std::to_string(options.port));
  fprintf(stderr, "lossmeter: listening on port %u\n", PortOf(fd));

  // Signals are let in only while waiting, so that none is missed.
  sigset_t signals, before;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  sigprocmask(SIG_BLOCK, &signals, &before);

  Tally tally;
  int64_t id = options.id;
  uint64_t foreign = 0;
  uint32_t dropped_here = 0;
  const int64_t deadline = options.seconds_ms > 0 ? NowNs() + options.seconds_ms * 1'000'000 : INT64_MAX;
  int64_t quiet = INT64_MAX;  // when silence ends it; starts with the first datagram
  for (;;) {
    Datagram datagram;
    // One look at the clock for each datagram at most: a flood must not outrun the deadline.
    const Arrived arrived = NowNs() < deadline ? Take(fd, &datagram, &dropped_here) : Arrived{};
    if (arrived.any) {
      if (arrived.size < sizeof datagram || be32toh(datagram.magic) != kMagic) {
        foreign++;
        continue;
      }
      if (id < 0) id = be32toh(datagram.id);
      if (be32toh(datagram.id) != static_cast<uint32_t>(id)) {
        foreign++;
        continue;
      }
      const bool was_ended = tally.ended();
      if (be32toh(datagram.kind) == kEnd) {
        tally.End(be64toh(datagram.number), arrived.at_ns);
        if (!was_ended && tally.ended()) quiet = NowNs() + kGraceNs;
      } else {
        tally.Data(be64toh(datagram.number), arrived.at_ns);
        if (was_ended) {
          quiet = NowNs() + kGraceNs;
        } else if (options.idle_ms > 0) {
          quiet = NowNs() + options.idle_ms * 1'000'000;
        }
      }
      continue;
    }
    const int64_t until = std::min(deadline, quiet);
    const int64_t left = until - NowNs();
    if (stopped || left <= 0) break;
    const timespec wait{static_cast<time_t>(left / 1'000'000'000), static_cast<long>(left % 1'000'000'000)};
    pollfd ready{fd, POLLIN, 0};
    ppoll(&ready, 1, until == INT64_MAX ? nullptr : &wait, &before);
  }
  close(fd);
  tally.Print(id < 0 ? 0 : static_cast<uint32_t>(id), foreign, dropped_here);
  return 0;
}

}  // namespace loss
