// The forwarder: workers between a TUN device and UDP sockets, a table that says who is where, counters.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "../failure.h"
#include "stats_region.h"
#include "table_swap.h"
#include "worker.h"

namespace loden::core {

// Not for several threads at once.
class Forwarder {
 public:
  Forwarder(StatsRegion& stats, EventSink& events);
  ~Forwarder();

  // A worker for each queue, at most kMaxWorkers; `port` is where peers listen. EBUSY: it runs already.
  // The ability is what all queues have.
  Failure Start(std::span<const Queue> queues, uint16_t port, QueueAbility* ability);
  // When it returns, what has been read has been forwarded, and the rest is in the kernel's queues.
  void Stop();
  bool running() const { return running_; }
  // Any time.
  void Swap(std::unique_ptr<const Table> table);
  // Frees former tables that a worker was still using when they were replaced. Any time; now and then is enough.
  void Reclaim() { tables_.Reclaim(); }

 private:
  StatsRegion& stats_;
  EventSink& events_;
  TableSwap tables_;
  std::vector<std::unique_ptr<Worker>> workers_;
  uint32_t slots_ = 0;  // that the tables so far have used
  bool running_ = false;
};

}  // namespace loden::core
