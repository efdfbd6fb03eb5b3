// Probes that are waited for, and what their answers mean. Knows nothing of N-API.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "core/probe_packet.h"
#include "prober_sockets.h"

namespace loden {

// As JavaScript gives it: 28 bytes in this machine's order.
struct Probe {
  uint32_t token;
  uint16_t size;  // of the whole IP packet
  uint16_t port;  // of a datagram
  uint8_t kind;
  uint8_t family;
  uint16_t zero;
  uint8_t address[16];

  bool IsOne() const;
};
static_assert(sizeof(Probe) == 28);

struct ProbeResult {
  // As in src/native/prober.ts.
  enum class What { kAnswered = 0, kNotSent = 1, kUnreachable = 2, kTooBig = 3 };
  uint32_t token = 0;
  What what = What::kAnswered;
  double value = 0;
};

class PendingProbes {
 public:
  PendingProbes() : pending_(kMost) {}

  // A result when it could not be sent.
  std::optional<ProbeResult> Send(const Probe& probe, ProberSockets& sockets);
  // None for what answers nothing that is waited for.
  std::optional<ProbeResult> Judge(const ProberSockets::Received& received);

 private:
  // A later one with the same remainder takes the place of an earlier one. A power of two, so that tokens may wrap.
  static constexpr size_t kMost = 2048;
  struct Pending {
    bool waits = false;
    core::ProbeKind kind = core::ProbeKind::kEcho;
    core::Address to;
    core::ProbeMark mark;
    int64_t sent = 0;       // CLOCK_REALTIME, nanoseconds
    int64_t sent_mono = 0;  // CLOCK_MONOTONIC
  };
  std::vector<Pending> pending_;
};

}  // namespace loden
