#include "answers.h"

#include <sys/uio.h>
#include <time.h>

#include "virtio.h"

namespace loden::core {
namespace {

// A second, and at once; for each worker and kind. traceroute sends three at a time, a broken application millions.
constexpr double kRate = 1000;
constexpr double kBurst = 100;

double Now() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

}  // namespace

Answers::Answers(WorkerCounters& counters)
    : counters_(counters), buckets_{{kRate, kBurst}, {kRate, kBurst}, {kRate, kBurst}} {}

uint32_t Answers::Build(IcmpError error, const Table& table, const uint8_t* packet, const Inner& inner, uint32_t mtu) {
  const size_t length = BuildIcmpError(error, table.tun_address(inner.version), packet, inner, mtu, buffer_);
  if (length == 0) return 0;
  if (!buckets_[static_cast<int>(error)].Take(Now())) {
    counters_.icmp_suppressed.Add(1);
    return 0;
  }
  counters_.icmp_sent.Add(1);
  return static_cast<uint32_t>(length);
}

void Answers::ToDevice(int tun, IcmpError error, const Table& table, const uint8_t* packet, const Inner& inner,
                       uint32_t mtu) {
  const uint32_t length = Build(error, table, packet, inner, mtu);
  if (length == 0) return;
  virtio_net_hdr none{};
  const iovec parts[] = {{&none, sizeof none}, {buffer_, length}};
  // An answer that the device does not take is lost like any other packet.
  [[maybe_unused]] const ssize_t written = writev(tun, parts, 2);
}

}  // namespace loden::core
