#include "forwarder.h"

#include <errno.h>

namespace loden::core {

Forwarder::Forwarder(CounterStore& counters, EventSink& events)
    : counters_(counters), events_(events), tables_(kMaxWorkers) {}

Forwarder::~Forwarder() { Stop(); }

Failure Forwarder::Start(std::span<const Queue> queues, uint16_t port, QueueAbility* ability) {
  if (running_) return {EBUSY, "start"};
  if (queues.empty() || queues.size() > kMaxWorkers) return {EINVAL, "start"};
  *ability = {true, true, true, true};
  running_ = true;
  for (size_t i = 0; i < queues.size(); ++i) {
    const int number = static_cast<int>(i);
    if (workers_.size() == i) {
      workers_.push_back(std::make_unique<Worker>(number, tables_, *counters_.worker(number), counters_.peers(number), events_));
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

}  // namespace loden::core
