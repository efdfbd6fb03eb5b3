// Running other plugins (spec section "Plugin Delegation").
#pragma once

#include <cstddef>
#include <string_view>

#include "delegates.h"
#include "text.h"

namespace loden::cni {

// Bytes of a result.
constexpr size_t kLargestResult = 1 << 20;

struct Outcome {
  // The exit code; 127 when it could not be run, 128 + n when signal n ended it.
  int exit = 0;
  // Its standard output; the error when it could not be run, took too long or said too much. Until the next is run.
  std::string_view output;
};

// Finds a plugin in CNI_PATH and runs it to its end, with our environment, the delegate's variables over it, and `command`
// as CNI_COMMAND unless that is nullptr. When it has not ended after so many milliseconds, or a signal ends it, it is
// killed with all it has started. `version` is for errors.
Outcome Run(const Delegate& delegate, const char* command, std::string_view version, int milliseconds);

}  // namespace loden::cni
