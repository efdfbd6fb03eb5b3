#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstdio>
#include <vector>

#include "netload.h"

namespace netload {

namespace {

constexpr size_t kBatch = 32;
// Silence after which nothing more is expected, and how long that is waited for.
constexpr int64_t kSilenceNs = 50'000'000;
constexpr int64_t kPatienceNs = 3'000'000'000;

}  // namespace

int Udp(const Options& options) {
  const int control = Connect(options, kSample);
  const int fd = socket(options.to.storage.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || connect(fd, options.to.any(), options.to.length) != 0) Fail("UDP socket");
  std::vector<char> payload(static_cast<size_t>(options.size), 'x');
  const auto run = static_cast<uint32_t>(NowNs()) | 1;  // 0: there has been none
  const Hello hello{htonl(kMagic), htonl(kCount), htonl(run), 0};
  memcpy(payload.data(), &hello, sizeof hello);
  iovec part{payload.data(), payload.size()};
  std::vector<mmsghdr> messages(kBatch);
  for (mmsghdr& message : messages) {
    message.msg_hdr.msg_iov = &part;
    message.msg_hdr.msg_iovlen = 1;
  }

  uint64_t sent = 0, refused = 0;
  const int64_t begin = NowNs();
  const int64_t end = begin + static_cast<int64_t>(options.seconds * 1e9);
  for (int64_t now = begin; now < end; now = NowNs()) {
    unsigned count = kBatch;
    if (options.rate > 0) {
      const auto due = static_cast<uint64_t>(static_cast<double>(now - begin) / 1e9 * static_cast<double>(options.rate));
      if (due <= sent + refused) {
        SleepNs(50'000);
        continue;
      }
      if (due - sent - refused < kBatch) count = static_cast<unsigned>(due - sent - refused);
    }
    const int done = sendmmsg(fd, messages.data(), count, 0);
    if (done > 0) {
      sent += static_cast<uint64_t>(done);
    } else if (errno == ENOBUFS || errno == ECONNREFUSED) {
      refused++;
    } else if (errno != EINTR) {
      Fail("sendmmsg");
    }
  }
  // What is on its way still counts.
  Sample last = TakeSample(control);
  for (int64_t since = NowNs(), until = since + kPatienceNs; NowNs() < since + kSilenceNs && NowNs() < until;) {
    SleepNs(5'000'000);
    const Sample sample = TakeSample(control);
    if (sample.received != last.received) since = NowNs();
    last = sample;
  }
  if (last.run != run) last = {};  // none of ours arrived
  printf("{\"sent\":%llu,\"refused\":%llu,\"received\":%llu,\"overflowed\":%llu,\"seconds\":%.6f}\n",
         static_cast<unsigned long long>(sent), static_cast<unsigned long long>(refused),
         static_cast<unsigned long long>(last.received), static_cast<unsigned long long>(last.overflowed),
         static_cast<double>(last.last_ns - last.first_ns) / 1e9);
  return 0;
}

}  // namespace netload
