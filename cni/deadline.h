#pragma once

#include <algorithm>
#include <cstdint>

#include "../native/clock.h"

namespace loden::cni {

// A moment by CLOCK_MONOTONIC.
class Deadline {
 public:
  explicit Deadline(int milliseconds) : at_(NowMs() + milliseconds) {}
  // Milliseconds, for poll(); 0 when it is past.
  int left() const {
    const int64_t left = at_ - NowMs();
    return left > 0 ? static_cast<int>(left) : 0;
  }
  bool past() const { return left() == 0; }
  // At most as much as is left here.
  Deadline AtMost(int milliseconds) const { return Deadline(std::min(milliseconds, left())); }

 private:
  int64_t at_;
};

}  // namespace loden::cni
