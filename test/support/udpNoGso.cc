// Loaded before libc (LD_PRELOAD) it makes the kernel's UDP refuse trains with EIO, as it does where the device below
// computes no checksums (before Linux 6.11) or IPsec is in the way: udp_send_skb. With the environment variable
// NO_GSO_AFTER that many go through first.
#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>

#include <atomic>

namespace {

constexpr int kUdpSegment = 103;

bool IsTrain(const msghdr& header) {
  for (cmsghdr* c = CMSG_FIRSTHDR(&header); c; c = CMSG_NXTHDR(const_cast<msghdr*>(&header), c)) {
    if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == kUdpSegment) return true;
  }
  return false;
}

bool Refuses() {
  static std::atomic<long> left{getenv("NO_GSO_AFTER") ? atol(getenv("NO_GSO_AFTER")) : 0};
  return left.fetch_sub(1) <= 0;
}

}  // namespace

extern "C" int sendmmsg(int fd, mmsghdr* messages, unsigned count, int flags) noexcept(noexcept(sendmmsg(0, nullptr, 0, 0))) {
  static const auto real = reinterpret_cast<decltype(&sendmmsg)>(dlsym(RTLD_NEXT, "sendmmsg"));
  unsigned good = 0;
  while (good < count && !(IsTrain(messages[good].msg_hdr) && Refuses())) ++good;
  if (good > 0 || count == 0) return real(fd, messages, good, flags);
  errno = EIO;
  return -1;
}
