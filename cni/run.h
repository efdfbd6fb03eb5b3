// Running other plugins (spec section "Plugin Delegation").
#pragma once

#include <cstddef>
#include <string_view>

#include "delegates.h"
#include "text.h"

namespace loden::cni {

// Milliseconds after which a plugin is killed: one that asks a DHCP server has been given up before.
constexpr int kDelegateTimeout = 60'000;
// Bytes of a result.
constexpr size_t kLargestResult = 1 << 20;

struct Outcome {
  // The exit code; 127 when it could not be run, 128 + n when signal n ended it.
  int exit = 0;
  // Its standard output; the error when it could not be run, took too long or said too much. Until the next is run.
  std::string_view output;
};

// Finds a plugin in CNI_PATH and runs it to its end, with our environment, the delegate's variables over it, and `command`
// as CNI_COMMAND unless that is nullptr. `version` is for errors.
Outcome Run(const Delegate& delegate, const char* command, std::string_view version);

}  // namespace loden::cni
