// Files below /proc/sys, of the calling thread's network namespace. Knows nothing of N-API.
#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "failure.h"

namespace loden {

struct Sysctl {
  // A value longer than this is neither read nor written.
  static constexpr size_t kMaxBytes = 4096;

  std::string path;                  // net/ipv6/conf/eth0/accept_ra
  std::optional<std::string> value;  // to be written; else it is read

  // Does it; afterwards `failure`, or what was read in `text`, without the white space at its end.
  void Run();
  std::string text;
  Failure failure;
};

}  // namespace loden
