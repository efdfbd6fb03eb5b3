// The load generator's protocol and helpers, shared by its parts.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <string>

namespace netload {

// The first bytes of a TCP connection and of a UDP datagram, in network byte order. Everything happens on one machine,
// so the rest of what is exchanged is in its own.
struct Hello {
  uint32_t magic;
  uint32_t kind;
  uint32_t run;  // of kCount: datagrams of another run than the last begin a new count
  uint32_t reserved;
};
static_assert(sizeof(Hello) == 16);

constexpr uint32_t kMagic = 0x4c444e4c;  // "LDNL"
constexpr uint32_t kSink = 1;            // TCP: the server reads
constexpr uint32_t kSource = 2;          // TCP: the server writes
constexpr uint32_t kEcho = 3;            // both: it sends back what comes
constexpr uint32_t kSample = 4;          // TCP: it answers each byte by a Sample
constexpr uint32_t kCount = 5;           // UDP: it counts

// What the server has seen at one moment.
struct Sample {
  int64_t at_ns;        // CLOCK_MONOTONIC
  int64_t busy_ns;      // see BusyNs()
  uint64_t sunk;        // bytes read by all sinks so far
  uint64_t received;    // datagrams of the last run, whose number is `run`
  uint64_t overflowed;  // datagrams of it that the server's own socket had no room for
  int64_t first_ns, last_ns;  // when the first and the last of it were read
  uint32_t run;
  uint32_t reserved;
};

// As much as a TCP sender and receiver move by one call; iperf3 does the same.
constexpr size_t kChunk = 128 << 10;
constexpr int kReceiveBuffer = 32 << 20;

struct Address {
  sockaddr_storage storage{};
  socklen_t length = 0;
  const sockaddr* any() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

struct Options {
  Address to;
  uint16_t port = 0;
  double seconds = 2;
  double warm = 0.5;  // seconds before the measured ones
  int out = 1, in = 0;  // TCP connections from the client to the server, and back
  std::string congestion = "cubic";
  bool udp = false;
  bool awake = false;
  int64_t size = 64;  // bytes of payload
  int64_t rate = 0;   // datagrams a second; 0: as many as go
};

// Each prints one line of JSON and returns the exit code.
int Serve(const Options& options);
int Tcp(const Options& options);
int Udp(const Options& options);
int Rtt(const Options& options);

// CLOCK_MONOTONIC in nanoseconds.
int64_t NowNs();
void SleepNs(int64_t ns);
// CPU time that the whole machine has not been idle, in nanoseconds, as well as its idle counters tell (10 ms).
int64_t BusyNs();

// These end the process with a message when they fail.
[[noreturn]] void Fail(const std::string& what);
// A TCP connection to the server that has said what it is for; a given congestion control, TCP_NODELAY.
int Connect(const Options& options, uint32_t kind);
void NameCongestion(int fd, const std::string& name);
void WriteAll(int fd, const void* data, size_t size);
bool ReadAll(int fd, void* data, size_t size);
Sample TakeSample(int fd);
// Reads until the end, adding to a counter; writes until the other end is gone.
void Sink(int fd, uint64_t* bytes);
void Source(int fd);
// A connection that is closed takes what it has queued with it: nothing of it disturbs what is measured next.
void CloseAtOnce(int fd);

}  // namespace netload
