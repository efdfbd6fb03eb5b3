// What the plugin shares with the daemon: the same as in src/contract.ts, which a test sees to.
#pragma once

#include <cstddef>
#include <string_view>

namespace loden::cni {

constexpr std::string_view kVersion = "0.1.0";
constexpr std::string_view kResource = "/v1/cni";
constexpr std::string_view kDelegatesType = "application/vnd.loden.delegates+json";
constexpr std::string_view kWarningHeader = "x-loden-warning";
// Bytes of the configuration, and of all the environment that is passed on.
constexpr size_t kLargestConfig = 1048576;
// Bytes of a request; no answer is larger either.
constexpr size_t kLargestRequest = 16777216;
// Milliseconds from the beginning of a request to the end of its answer.
constexpr int kTimeout = 30000;
constexpr std::string_view kSocket = "/run/loden/loden.sock";
constexpr std::string_view kDelQueue = "/var/lib/loden/cni/del";

}  // namespace loden::cni
