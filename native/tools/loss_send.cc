#include <endian.h>
#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <vector>

#include "loss.h"

namespace loss {

namespace {

// The end is told this often, so that one arrives even if the path is just healing.
constexpr int kEnds = 10;
constexpr int64_t kEndSpacingNs = 50'000'000;

void SleepUntil(int64_t ns) {
  const timespec when{static_cast<time_t>(ns / 1'000'000'000), static_cast<long>(ns % 1'000'000'000)};
  clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &when, nullptr);  // a signal ends it early: the caller looks
}

}  // namespace

int Send(const SendOptions& options) {
  // Not connected: the route is looked up for each datagram, as for a new flow.
  const int fd = socket(options.to.storage.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return Fail("socket");
  std::vector<uint8_t> buffer(static_cast<size_t>(options.size));
  std::map<int, uint64_t> errors;
  const auto transmit = [&](uint32_t kind, uint64_t number) -> int {
    const Datagram datagram{htobe32(kMagic), htobe32(kind), htobe32(options.id), 0, htobe64(number)};
    memcpy(buffer.data(), &datagram, sizeof datagram);
    const ssize_t sent = sendto(fd, buffer.data(), buffer.size(), MSG_DONTWAIT,
                                reinterpret_cast<const sockaddr*>(&options.to.storage), options.to.length);
    return sent < 0 ? errno : 0;
  };

  uint64_t sent = 0;
  uint64_t number = 0;
  int64_t latest = 0;
  const int64_t begin = NowNs();
  // Due times are counted from the start, so that lateness does not add up; what is late is sent at once.
  const auto due = [&](uint64_t n) {
    return begin + static_cast<int64_t>(static_cast<__int128>(n) * 1'000'000'000 / options.rate);
  };
  while (!stopped && number < kMaxNumber && (options.count == 0 || number < static_cast<uint64_t>(options.count))) {
    SleepUntil(due(number));
    if (stopped) break;
    latest = std::max(latest, NowNs() - due(number));
    const int error = transmit(kData, number);
    if (error == 0) {
      sent++;
    } else {
      errors[error]++;
    }
    if (number++ == 0) fprintf(stderr, "lossmeter: sending\n");
  }
  const int64_t end = NowNs();
  for (int i = 0; i < kEnds; i++) {
    transmit(kEnd, number);
    SleepUntil(end + (i + 1) * kEndSpacingNs);
  }
  close(fd);

  printf("{\"id\":%u,\"numbers\":%llu,\"sent\":%llu,\"failed\":%llu,\"errors\":{", options.id,
         static_cast<unsigned long long>(number), static_cast<unsigned long long>(sent),
         static_cast<unsigned long long>(number - sent));
  const char* comma = "";
  for (const auto& [error, times] : errors) {
    const char* name = strerrorname_np(error);
    printf("%s\"%s\":%llu", comma, name ? name : "?", static_cast<unsigned long long>(times));
    comma = ",";
  }
  printf("},\"durationMs\":%.3f,\"latestMs\":%.3f}\n", static_cast<double>(end - begin) / 1e6,
         static_cast<double>(latest) / 1e6);
  return 0;
}

}  // namespace loss
