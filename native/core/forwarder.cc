#include "forwarder.h"

#include <errno.h>

#include <algorithm>

namespace loden::core {

Forwarder::Forwarder(StatsRegion& stats, EventSink& events) : stats_(stats), events_(events), tables_(kMaxWorkers) {}

Forwarder::~Forwarder() { Stop(); }

Failure Forwarder::Start(std::span<const Queue> queues, uint16_t port, QueueAbility* ability) {
  if (running_) return {EBUSY, "start"};
  if (queues.empty() || queues.size() > kMaxWorkers) return {EINVAL, "start"};
  *ability = {true, true, true, true};
  running_ = true;
  stats_.Reserve(static_cast<int>(queues.size()), slots_);
  for (size_t i = 0; i < queues.size(); ++i) {
    const int number = static_cast<int>(i);
    if (workers_.size() == i) {
      workers_.push_back(
          std::make_unique<Worker>(number, tables_, *stats_.worker(number), stats_.peers(number), events_));
    }
    QueueAbility each;
    if (const Failure failure = workers_[i]->Start(queues[i], port, &each)) {
      Stop();
      return failure;
    }
    ability->gso &= each.gso;
    ability->gro &= each.gro;
    ability->tso &= each.tso;
    ability->uso &= each.uso;
  }
  return {};
}

void Forwarder::Stop() {
  for (const auto& worker : workers_) worker->Stop();
  running_ = false;
}

void Forwarder::Swap(std::unique_ptr<const Table> table) {
  for (const Peer& peer : table->peers()) slots_ = std::max(slots_, peer.slot + 1);
  // Before a worker can see the table.
  stats_.Reserve(std::max(1, static_cast<int>(workers_.size())), slots_);
  tables_.Publish(std::move(table));
}

}  // namespace loden::core
