#include "worker.h"

#include <errno.h>
#include <poll.h>

#include "tun.h"
#include "udp_socket.h"

namespace loden::core {

Worker::Worker(int number, TableSwap& tables, WorkerCounters& counters, PeerCounters* peers, EventSink& events)
    : number_(number),
      tables_(tables),
      counters_(counters),
      events_(events),
      answers_(counters),
      sender_(counters, peers, answers_),
      egress_(counters, sender_, answers_),
      ingress_(counters, peers, sender_, answers_) {}

Failure Worker::Start(const Queue& queue, uint16_t port, QueueAbility* ability) {
  queue_ = queue;
  const TunOffloads tun = TunNegotiate(queue.tun);
  *ability = {true, true, tun.tso, tun.uso};
  const int in[] = {queue.udp4, queue.udp6};
  int out[] = {queue.out4 >= 0 ? queue.out4 : queue.udp4, queue.out6 >= 0 ? queue.out6 : queue.udp6};
  for (int i = 0; i < 2; ++i) {
    if (in[i] >= 0) ability->gro = UdpNegotiate(in[i]).gro && ability->gro;
    if (out[i] >= 0) ability->gso = UdpNegotiate(out[i]).gso && ability->gso;
  }
  sender_.Use(out[0], out[1], queue.tun, ability->gso, port);
  egress_.Use(queue.tun);
  ingress_.Use(queue.tun, tun.uso);
  more_ = false;
  gso_ = ability->gso;
  thread_ = std::make_unique<Thread>();
  return thread_->Start(&Worker::Body, this, "loden-udp");
}

void Worker::Stop() {
  if (!thread_) return;
  thread_->Stop();
  thread_->Join();
  thread_.reset();
}

void Worker::Body(void* self) { static_cast<Worker*>(self)->Loop(); }

void Worker::Loop() {
  enum { kWake, kTun, kUdp4, kUdp6, kCount };
  pollfd fds[kCount] = {{thread_->wake_fd(), POLLIN, 0},
                        {queue_.tun, POLLIN, 0},
                        {queue_.udp4, POLLIN, 0},
                        {queue_.udp6, POLLIN, 0}};
  while (!thread_->stopping()) {
    const int ready = poll(fds, kCount, more_ ? 0 : -1);
    if (!more_) counters_.wakeups.Add(1);
    if (ready < 0) continue;  // EINTR: signals are blocked, a debugger's are not
    if ((fds[kWake].revents & POLLIN) != 0) thread_->ClearWake();
    if (Forward(fds[kTun].revents, fds[kUdp4].revents, fds[kUdp6].revents)) continue;
    // poll would return at once for ever; what comes from peers waits in the sockets until there is a device again.
    for (const int i : {kTun, kUdp4, kUdp6}) fds[i].fd = -1;
  }
}

bool Worker::Forward(short tun, short udp4, short udp6) {
  const Table& table = *tables_.Enter(number_);
  more_ = false;
  bool lost = false;
  if (udp4 != 0) more_ |= ingress_.Run(table, queue_.udp4) == Progress::kMore;
  if (udp6 != 0) more_ |= ingress_.Run(table, queue_.udp6) == Progress::kMore;
  if (tun != 0) {
    const Progress progress = egress_.Run(table);
    more_ |= progress == Progress::kMore;
    lost = progress == Progress::kLost || (progress == Progress::kIdle && (tun & (POLLERR | POLLNVAL)) != 0);
  }
  tables_.Leave(number_);
  if (gso_ && !sender_.gso()) {
    gso_ = false;
    events_.OnEvent({Event::Kind::kGsoRefused, number_, EIO});
  }
  if (!lost) return true;
  more_ = false;
  events_.OnEvent({Event::Kind::kTunLost, number_, egress_.error()});
  return false;
}

}  // namespace loden::core
