// ICMP errors to those whose packets cannot be forwarded, at a bounded rate.
#pragma once

#include <cstdint>

#include "icmp.h"
#include "inner.h"
#include "stats.h"
#include "table.h"

namespace loden::core {

class Answers {
 public:
  explicit Answers(WorkerCounters& counters);

  // Builds an answer to `packet` from our own tunnel address. Its length, 0: none is due, or none may be given now.
  uint32_t Build(IcmpError error, const Table& table, const uint8_t* packet, const Inner& inner, uint32_t mtu);
  // The answer last built.
  uint8_t* data() { return buffer_; }
  // Builds one and writes it to the device: for packets that came from it.
  void ToDevice(int tun, IcmpError error, const Table& table, const uint8_t* packet, const Inner& inner, uint32_t mtu);

 private:
  WorkerCounters& counters_;
  // For each IcmpError its own: what a pod sends to nobody must not keep others from learning the path's MTU.
  TokenBucket buckets_[kIcmpErrors];
  uint8_t buffer_[kMaxIcmp];
};

}  // namespace loden::core
