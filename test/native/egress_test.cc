#include "core/egress.h"

#include <doctest/doctest.h>
#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <memory>

using namespace loden::core;

TEST_CASE("egress: a packet that the kernel cannot describe is a drop, not the loss of the device") {
  WorkerCounters counters;
  const auto peers = std::make_unique<PeerCounters[]>(1);
  Answers answers(counters);
  Sender sender(counters, peers.get(), answers);
  const auto table = Table::Empty();
  Egress egress(counters, sender, answers);

  const int refuses = epoll_create1(EPOLL_CLOEXEC);  // reading it is EINVAL, as of a TUN queue after such a packet
  egress.Use(refuses);
  CHECK(egress.Run(*table) == Progress::kDrained);
  CHECK(counters.out_drops[static_cast<int>(Drop::kBadOffload)].Get() == 1);
  close(refuses);

  egress.Use(-1);
  CHECK(egress.Run(*table) == Progress::kLost);
  CHECK(egress.error() == EBADF);
}
