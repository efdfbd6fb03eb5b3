#include "prober_pending.h"

#include <errno.h>
#include <sys/random.h>
#include <time.h>

#include <cstring>

namespace loden {
namespace {

using core::ProbeAnswer;
using core::ProbeKind;
using What = ProbeResult::What;

int64_t Nanoseconds(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

}  // namespace

bool Probe::IsOne() const {
  if (family != 4 && family != 6) return false;
  if (kind > static_cast<uint8_t>(ProbeKind::kRawUdp) || size < core::LeastProbe(family)) return false;
  return kind == static_cast<uint8_t>(ProbeKind::kEcho) || port != 0;
}

std::optional<ProbeResult> PendingProbes::Send(const Probe& probe, ProberSockets& sockets) {
  Pending& its = pending_[probe.token % kMost];
  its = {};
  its.kind = static_cast<ProbeKind>(probe.kind);
  its.to.family = probe.family;
  memcpy(its.to.bytes, probe.address, probe.family == 4 ? 4 : 16);
  its.mark = {sockets.magic(), probe.token, 0};
  if (getrandom(&its.mark.nonce, sizeof its.mark.nonce, 0) != sizeof its.mark.nonce) {
    return ProbeResult{probe.token, What::kNotSent, EAGAIN};
  }
  its.sent = Nanoseconds(CLOCK_REALTIME);
  its.sent_mono = Nanoseconds(CLOCK_MONOTONIC);
  const int error = sockets.Send(its.kind, its.to, probe.port, probe.size, its.mark);
  if (error != 0) return ProbeResult{probe.token, What::kNotSent, static_cast<double>(error)};
  its.waits = true;
  return std::nullopt;
}

// Whoever has not seen the probe does not know its nonce.
std::optional<ProbeResult> PendingProbes::Judge(const ProberSockets::Received& received) {
  const ProbeAnswer& answer = received.answer;
  const uint32_t token = answer.mark.token;
  Pending& its = pending_[token % kMost];
  if (!its.waits || token != its.mark.token || answer.mark.nonce != its.mark.nonce) return std::nullopt;
  const bool echo = its.kind == ProbeKind::kEcho;
  const bool reply = answer.what == ProbeAnswer::What::kEchoReply;
  const bool from_target = received.from == its.to;
  if (reply ? !echo || !from_target : answer.of_udp == echo || !(answer.destination == its.to)) return std::nullopt;
  its.waits = false;
  if (answer.what == ProbeAnswer::What::kTooBig) {
    return ProbeResult{token, What::kTooBig, static_cast<double>(answer.mtu)};
  }
  // That nothing listens there, or that it may not be asked, is the answer to a datagram: whole it has arrived.
  if (!reply && (echo || !from_target)) {
    return ProbeResult{token, What::kUnreachable, static_cast<double>(answer.type << 8 | answer.code)};
  }
  // The arrival is told by the clock that can be set; it cannot have been later than now.
  const int64_t longest = Nanoseconds(CLOCK_MONOTONIC) - its.sent_mono;
  const int64_t rtt = received.at - its.sent;
  return ProbeResult{token, What::kAnswered, static_cast<double>(rtt > 0 && rtt <= longest ? rtt : longest)};
}

}  // namespace loden
