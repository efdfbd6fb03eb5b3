#include <netinet/tcp.h>
#include <unistd.h>

#include <cstdio>
#include <thread>
#include <vector>

#include "netload.h"

namespace netload {

namespace {

uint64_t Retransmits(const std::vector<int>& connections) {
  uint64_t sum = 0;
  for (const int fd : connections) {
    tcp_info info{};
    socklen_t length = sizeof info;
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) == 0) sum += info.tcpi_total_retrans;
  }
  return sum;
}

// The name that is really in force.
std::string Congestion(int fd) {
  char name[16]{};
  socklen_t length = sizeof name - 1;
  getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &length);
  return name;
}

}  // namespace

int Tcp(const Options& options) {
  const int control = Connect(options, kSample);
  std::vector<int> out, in;
  for (int i = 0; i < options.out; i++) out.push_back(Connect(options, kSink));
  for (int i = 0; i < options.in; i++) in.push_back(Connect(options, kSource));
  uint64_t bytes_in = 0;
  for (const int fd : out) std::thread(Source, fd).detach();
  for (const int fd : in) std::thread(Sink, fd, &bytes_in).detach();

  SleepNs(static_cast<int64_t>(options.warm * 1e9));
  const Sample begin = TakeSample(control);
  const uint64_t in_begin = __atomic_load_n(&bytes_in, __ATOMIC_RELAXED);
  const uint64_t retransmits = Retransmits(out);
  SleepNs(static_cast<int64_t>(options.seconds * 1e9));
  const Sample end = TakeSample(control);
  const uint64_t in_end = __atomic_load_n(&bytes_in, __ATOMIC_RELAXED);

  printf("{\"seconds\":%.6f,\"bytesOut\":%llu,\"bytesIn\":%llu,\"cpuSeconds\":%.3f,\"retransmits\":%llu,\"congestion\":\"%s\"}\n",
         static_cast<double>(end.at_ns - begin.at_ns) / 1e9, static_cast<unsigned long long>(end.sunk - begin.sunk),
         static_cast<unsigned long long>(in_end - in_begin), static_cast<double>(end.busy_ns - begin.busy_ns) / 1e9,
         static_cast<unsigned long long>(Retransmits(out) - retransmits), Congestion(control).c_str());
  fflush(stdout);
  for (const int fd : out) CloseAtOnce(fd);
  for (const int fd : in) CloseAtOnce(fd);
  _exit(0);
}

}  // namespace netload
