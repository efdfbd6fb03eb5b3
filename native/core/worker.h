// One thread of the forwarder: one queue of the device, one socket of each outer family, both directions.
#pragma once

#include <cstdint>

#include "../failure.h"
#include "../thread.h"
#include "answers.h"
#include "egress.h"
#include "ingress.h"
#include "send.h"
#include "stats.h"
#include "table_swap.h"

namespace loden::core {

// Descriptors, -1: none. `out`: the sockets to send from, where they are not those that receive.
struct Queue {
  int tun = -1;
  int udp4 = -1;
  int udp6 = -1;
  int out4 = -1;
  int out6 = -1;
};

// What a queue was found to be capable of.
struct QueueAbility {
  bool gso = false;
  bool gro = false;
  bool tso = false;
  bool uso = false;
};

struct Event {
  enum class Kind : uint8_t {
    kTunLost,
    kGsoRefused,  // by the device below: from now on each packet is a message
  } kind;
  int queue;
  int error;  // errno
};

class EventSink {
 public:
  // From a worker's thread.
  virtual void OnEvent(const Event& event) = 0;

 protected:
  ~EventSink() = default;
};

class Worker {
 public:
  Worker(int number, TableSwap& tables, WorkerCounters& counters, PeerCounters* peers, EventSink& events);

  // Forwards between these from now on. The descriptors stay the caller's and must stay open until Stop.
  // `port`: the peers', host order.
  Failure Start(const Queue& queue, uint16_t port, QueueAbility* ability);
  // When it returns, what has been read has been forwarded. Idempotent.
  void Stop();

 private:
  static void Body(void* self);
  void Loop();
  // False: there is nothing left to forward between.
  bool Forward(short tun, short udp4, short udp6);

  const int number_;
  TableSwap& tables_;
  WorkerCounters& counters_;
  EventSink& events_;
  Answers answers_;
  Sender sender_;
  Egress egress_;
  Ingress ingress_;
  Queue queue_;
  bool more_ = false;
  bool gso_ = false;  // trains were sent so far
  std::unique_ptr<Thread> thread_;
};

}  // namespace loden::core
