// Counters in memory that other threads and processes may read while they are written: each has one writer.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "drop.h"
#include "table.h"

namespace loden::core {

class Counter {
 public:
  // The one writer.
  void Add(uint64_t n) { value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed); }
  uint64_t Get() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};
static_assert(sizeof(Counter) == 8 && std::atomic<uint64_t>::is_always_lock_free);

// name in statistics, meaning. Order is part of the layout: append only.
#define LODEN_COUNTERS(X)                                                        \
  X(out_packets, "packets sent to peers")                                        \
  X(out_bytes, "bytes of inner packets sent to peers")                           \
  X(out_supers, "packets and super-packets read from the device")                \
  X(out_trains, "messages sent to the socket")                                   \
  X(out_calls, "system calls that sent them")                                    \
  X(in_packets, "packets from peers delivered to the device")                    \
  X(in_bytes, "bytes of inner packets delivered to the device")                  \
  X(in_datagrams, "messages received from the socket; one holds many packets")   \
  X(in_calls, "system calls that received them")                                 \
  X(in_supers, "packets and super-packets written to the device")                \
  X(icmp_sent, "ICMP errors given")                                              \
  X(icmp_suppressed, "ICMP errors withheld by the rate limit")                   \
  X(wakeups, "times a worker slept and was woken")                               \
  X(send_retries, "messages sent again: no GSO, or an error that was not theirs")

struct Named {
  const char* name;
  const char* meaning;
};
inline constexpr Named kCounterNames[] = {
#define X(name, meaning) {#name, meaning},
    LODEN_COUNTERS(X)
#undef X
};
inline constexpr Named kDropNames[] = {
#define X(id, name, meaning) {name, meaning},
    LODEN_DROPS(X)
#undef X
};
inline constexpr int kCounterCount = static_cast<int>(sizeof kCounterNames / sizeof kCounterNames[0]);
// Of a worker: counters, then drops of packets from the device, then of packets from the wire.
inline constexpr int kTotalCount = kCounterCount + 2 * kDropCount;

struct WorkerCounters {
#define X(name, meaning) Counter name;
  LODEN_COUNTERS(X)
#undef X
  Counter out_drops[kDropCount];  // packets from the device
  Counter in_drops[kDropCount];   // packets from the wire
};
static_assert(sizeof(WorkerCounters) == kTotalCount * sizeof(Counter));

struct PeerCounters {
  Counter out_packets, out_bytes, in_packets, in_bytes;
};

}  // namespace loden::core
