#pragma once

#include <time.h>

#include <cstdint>

namespace loden {

// CLOCK_MONOTONIC in milliseconds.
inline int64_t NowMs() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
}

}  // namespace loden
