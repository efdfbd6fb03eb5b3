// The loss meter's datagram and options, shared by its two halves.
#pragma once

#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>

#include <cstdint>
#include <string>

namespace loss {

// A sequenced datagram, in network byte order; the rest of it is zeros. Numbers start at 0, and a number whose sending
// failed is used up: it counts as lost.
struct Datagram {
  uint32_t magic;
  uint32_t kind;
  uint32_t id;        // of the stream
  uint32_t reserved;
  uint64_t number;    // kData: sequence number; kEnd: how many numbers there were
};
static_assert(sizeof(Datagram) == 24);

constexpr uint32_t kMagic = 0x4c444c4d;  // "LDLM"
constexpr uint32_t kData = 0;
constexpr uint32_t kEnd = 1;

// Sequence numbers a receiver keeps track of: a day at 1 kHz, in 16 MB at most.
constexpr uint64_t kMaxNumber = 1ull << 27;
// UDP payload over IPv4.
constexpr int64_t kMaxSize = 65507;

struct Address {
  sockaddr_storage storage{};
  socklen_t length = 0;
};

struct SendOptions {
  Address to;
  int64_t rate = 1000;   // datagrams a second
  int64_t count = 0;     // 0: until a signal
  int64_t size = 64;     // bytes of UDP payload
  uint32_t id = 0;
};

struct ReceiveOptions {
  Address bind;
  bool dual_stack = false;     // no address was given: `::`, or `0.0.0.0` where there is no IPv6
  uint16_t port = 0;
  int64_t seconds_ms = 0;      // 0: no limit
  int64_t idle_ms = 0;         // 0: does not end by silence
  int64_t id = -1;             // -1: the first stream that arrives
};

// Both print one line of JSON and return the exit code.
int Send(const SendOptions& options);
int Receive(const ReceiveOptions& options);

// Set by SIGTERM and SIGINT: finish and print what there is.
extern volatile sig_atomic_t stopped;

// CLOCK_MONOTONIC in nanoseconds.
int64_t NowNs();
// Prints `what: strerror(errno)` and returns the exit code for it.
int Fail(const std::string& what);

}  // namespace loss
