// The load generator of the data path's benchmark. Everything but `serve` prints one line of JSON.
//
//   netload serve --port P                                               answers all of the following
//   netload tcp --to ADDR --port P [--out N] [--in N] [--seconds S] [--warm S]
//   netload udp --to ADDR --port P [--size BYTES] [--rate HZ] [--seconds S]
//   netload rtt --to ADDR --port P [--udp] [--size BYTES] [--awake] [--seconds S]
//
// tcp: N connections that send and N that receive, all at once; bytes that arrived within S seconds, after S seconds to
// warm up, and the CPU time of the whole machine meanwhile. udp: datagrams as fast as they go (or at a rate) from one
// socket, and how many arrived. rtt: one request at a time. --size is the payload's. --awake keeps all CPUs from idling by a
// thread on each that runs when nothing else would (SCHED_IDLE): without it, the time an idle virtual CPU takes to be
// woken is part of each round trip. --congestion NAME, for serve and tcp, is cubic unless given.

#include "netload.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <map>
#include <vector>

namespace netload {

int64_t NowNs() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

void SleepNs(int64_t ns) {
  const timespec time{static_cast<time_t>(ns / 1'000'000'000), static_cast<long>(ns % 1'000'000'000)};
  nanosleep(&time, nullptr);
}

// Time that went by on all CPUs less what they were idle, waited for I/O, or were not given (proc(5), stat): idle time is
// kept exactly, while user and system time are sampled.
int64_t BusyNs() {
  FILE* file = fopen("/proc/stat", "re");
  if (!file) Fail("/proc/stat");
  unsigned long long user, nice, system, idle, iowait, irq, softirq, steal;
  const int read = fscanf(file, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &user, &nice, &system, &idle, &iowait, &irq,
                          &softirq, &steal);
  fclose(file);
  if (read != 8) Fail("/proc/stat");
  const int64_t tick_ns = 1'000'000'000 / sysconf(_SC_CLK_TCK);
  return NowNs() * sysconf(_SC_NPROCESSORS_ONLN) - static_cast<int64_t>(idle + iowait + steal) * tick_ns;
}

void Fail(const std::string& what) {
  fprintf(stderr, "netload: %s: %s\n", what.c_str(), strerror(errno));
  exit(1);
}

void NameCongestion(int fd, const std::string& name) {
  if (setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name.data(), static_cast<socklen_t>(name.size())) != 0) {
    Fail("congestion control " + name);
  }
}

int Connect(const Options& options, uint32_t kind) {
  const int fd = socket(options.to.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) Fail("socket");
  NameCongestion(fd, options.congestion);
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (connect(fd, options.to.any(), options.to.length) != 0) Fail("connect");
  const Hello hello{htonl(kMagic), htonl(kind), 0, 0};
  WriteAll(fd, &hello, sizeof hello);
  return fd;
}

void WriteAll(int fd, const void* data, size_t size) {
  for (const char* at = static_cast<const char*>(data); size > 0;) {
    const ssize_t sent = send(fd, at, size, MSG_NOSIGNAL);
    if (sent < 0) Fail("send");
    at += sent;
    size -= static_cast<size_t>(sent);
  }
}

bool ReadAll(int fd, void* data, size_t size) {
  return recv(fd, data, size, MSG_WAITALL) == static_cast<ssize_t>(size);
}

Sample TakeSample(int fd) {
  Sample sample;
  WriteAll(fd, "?", 1);
  if (!ReadAll(fd, &sample, sizeof sample)) Fail("the server does not answer");
  return sample;
}

void Sink(int fd, uint64_t* bytes) {
  std::vector<char> buffer(kChunk);
  for (;;) {
    const ssize_t got = recv(fd, buffer.data(), buffer.size(), 0);
    if (got <= 0) return;
    __atomic_fetch_add(bytes, static_cast<uint64_t>(got), __ATOMIC_RELAXED);
  }
}

void Source(int fd) {
  const std::vector<char> buffer(kChunk, 'x');
  while (send(fd, buffer.data(), buffer.size(), MSG_NOSIGNAL) > 0) {
  }
}

void CloseAtOnce(int fd) {
  const linger now{1, 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
  close(fd);
}

}  // namespace netload

namespace {

using netload::Options;

[[noreturn]] void Usage(const std::string& what) {
  fprintf(stderr, "netload: %s\nusage: netload serve|tcp|udp|rtt --port P [--to ADDR] …; see native/tools/netload.cc\n",
          what.c_str());
  exit(64);
}

double Number(const std::string& name, const std::string& text, double low, double high) {
  char* end = nullptr;
  const double value = strtod(text.c_str(), &end);
  if (end == text.c_str() || *end != '\0' || !(value >= low && value <= high)) {
    Usage(name + " cannot be " + text);
  }
  return value;
}

Options Parse(int argc, char** argv) {
  Options options;
  std::string to;
  for (int i = 2; i < argc; i++) {
    const std::string name = argv[i];
    if (name == "--udp" || name == "--awake") {
      (name == "--udp" ? options.udp : options.awake) = true;
      continue;
    }
    if (++i >= argc) Usage(name + " needs a value");
    const std::string text = argv[i];
    if (name == "--to") {
      to = text;
    } else if (name == "--congestion") {
      options.congestion = text;
    } else if (name == "--port") {
      options.port = static_cast<uint16_t>(Number(name, text, 1, 65535));
    } else if (name == "--seconds") {
      options.seconds = Number(name, text, 0.01, 3600);
    } else if (name == "--warm") {
      options.warm = Number(name, text, 0, 60);
    } else if (name == "--out" || name == "--in") {
      (name == "--out" ? options.out : options.in) = static_cast<int>(Number(name, text, 0, 64));
    } else if (name == "--size") {
      options.size = static_cast<int64_t>(Number(name, text, sizeof(netload::Hello), 65'507));
    } else if (name == "--rate") {
      options.rate = static_cast<int64_t>(Number(name, text, 1, 1e7));
    } else {
      Usage("what is " + name + "?");
    }
  }
  if (options.port == 0) Usage("--port is needed");
  auto* v4 = reinterpret_cast<sockaddr_in*>(&options.to.storage);
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&options.to.storage);
  if (inet_pton(AF_INET, to.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(options.port);
    options.to.length = sizeof *v4;
  } else if (inet_pton(AF_INET6, to.empty() ? "::" : to.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(options.port);
    options.to.length = sizeof *v6;
  } else {
    Usage("--to must be an address");
  }
  return options;
}

}  // namespace

int main(int argc, char** argv) {
  const std::map<std::string, int (*)(const Options&)> commands{
      {"serve", netload::Serve}, {"tcp", netload::Tcp}, {"udp", netload::Udp}, {"rtt", netload::Rtt}};
  const auto command = commands.find(argc > 1 ? argv[1] : "");
  if (command == commands.end()) Usage("say serve, tcp, udp or rtt");
  return command->second(Parse(argc, argv));
}
