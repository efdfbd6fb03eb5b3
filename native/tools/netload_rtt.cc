#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <thread>
#include <vector>

#include "netload.h"

namespace netload {

namespace {

constexpr int kPatienceMs = 200;

// Spins on each CPU whenever nothing else wants it.
void KeepAwake() {
  for (int cpu = 0; cpu < sysconf(_SC_NPROCESSORS_ONLN); cpu++) {
    std::thread([cpu] {
      cpu_set_t one;
      CPU_ZERO(&one);
      CPU_SET(cpu, &one);
      const sched_param none{};
      if (sched_setaffinity(0, sizeof one, &one) != 0 || sched_setscheduler(0, SCHED_IDLE, &none) != 0) Fail("SCHED_IDLE");
      for (;;) std::atomic_signal_fence(std::memory_order_seq_cst);
    }).detach();
  }
}

// One request and its answer, whole; false if it is not answered in time.
bool Exchange(int fd, bool udp, std::vector<char>* message, std::vector<char>* answer, uint32_t number) {
  memcpy(message->data() + sizeof(Hello) - sizeof number, &number, sizeof number);
  WriteAll(fd, message->data(), message->size());
  if (!udp) {
    if (!ReadAll(fd, answer->data(), answer->size())) Fail("the server does not answer");
    return true;
  }
  for (;;) {
    pollfd ready{fd, POLLIN, 0};
    if (poll(&ready, 1, kPatienceMs) == 0) return false;
    const ssize_t got = recv(fd, answer->data(), answer->size(), 0);
    // An answer that comes late is not this one's.
    if (got == static_cast<ssize_t>(message->size()) && memcmp(answer->data(), message->data(), sizeof(Hello)) == 0) return true;
  }
}

double At(const std::vector<int64_t>& sorted, double part) {
  if (sorted.empty()) return 0;
  const auto index = static_cast<size_t>(part * static_cast<double>(sorted.size()));
  return static_cast<double>(sorted[std::min(index, sorted.size() - 1)]) / 1e3;
}

}  // namespace

int Rtt(const Options& options) {
  int fd;
  if (options.udp) {
    fd = socket(options.to.storage.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, options.to.any(), options.to.length) != 0) Fail("UDP socket");
  } else {
    fd = Connect(options, kEcho);
  }
  std::vector<char> message(static_cast<size_t>(options.size), 'x'), answer(message.size());
  const Hello hello{htonl(kMagic), htonl(kEcho), 0, 0};
  memcpy(message.data(), &hello, sizeof hello);
  if (options.awake) KeepAwake();

  std::vector<int64_t> times;
  times.reserve(1 << 20);
  uint64_t lost = 0;
  uint32_t number = 0;
  const int64_t warm = NowNs() + static_cast<int64_t>(options.warm * 1e9);
  const int64_t end = warm + static_cast<int64_t>(options.seconds * 1e9);
  // On a machine that is busy with other things the time may pass without one.
  for (int64_t now = NowNs(); now < end || (times.empty() && lost == 0);) {
    const bool answered = Exchange(fd, options.udp, &message, &answer, ++number);
    const int64_t then = NowNs();
    if (now >= warm) {
      if (answered) {
        times.push_back(then - now);
      } else {
        lost++;
      }
    }
    now = then;
  }
  std::sort(times.begin(), times.end());
  printf("{\"count\":%zu,\"lost\":%llu,\"min\":%.1f,\"p50\":%.1f,\"p99\":%.1f}\n", times.size(),
         static_cast<unsigned long long>(lost), At(times, 0), At(times, 0.5), At(times, 0.99));
  fflush(stdout);
  _exit(0);
}

}  // namespace netload
