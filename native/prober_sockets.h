// The sockets that probes leave by and their answers come in by. Knows nothing of N-API.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/address.h"
#include "core/probe_packet.h"
#include "failure.h"

namespace loden {

class ProberSockets {
 public:
  ProberSockets() = default;
  ~ProberSockets() { Close(); }
  ProberSockets(const ProberSockets&) = delete;
  ProberSockets& operator=(const ProberSockets&) = delete;

  // In the calling thread's network namespace. Fails when neither family can be had; where one cannot, its probes fail with the reason.
  Failure Open();
  void Close() {
    for (Family& its : families_) its.Close();
  }

  // Of all probes of these sockets.
  uint32_t magic() const { return magic_; }
  // Readable when there are answers; -1: there is none for this family.
  int fd(uint8_t family) const { return Of(family).icmp; }

  // `size`: of the whole IP packet. Returns errno, 0: sent.
  int Send(core::ProbeKind kind, const core::Address& to, uint16_t port, size_t size, const core::ProbeMark& mark);

  struct Received {
    core::ProbeAnswer answer;
    core::Address from;
    int64_t at = 0;  // CLOCK_REALTIME of its arrival in the kernel, nanoseconds
  };
  enum class Got { kAnswer, kOther, kNothing };
  // Takes one packet, never waiting. kOther: it was no answer to a probe of these sockets.
  Got Receive(uint8_t family, Received* out);

 private:
  struct Family {
    int icmp = -1;
    int udp = -1;  // nothing is read from it; it holds the port that all datagrams come from
    int raw = -1;
    uint16_t port = 0;
    Failure failure;

    void Close();
  };
  Family& Of(uint8_t family) { return families_[family == 6]; }
  const Family& Of(uint8_t family) const { return families_[family == 6]; }
  Failure OpenFamily(uint8_t family);

  Family families_[2];
  uint32_t magic_ = 0;
  uint16_t identifier_ = 0;
  std::vector<uint8_t> buffer_;
};

}  // namespace loden
