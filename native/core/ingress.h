// From peers to the TUN device.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <memory>

#include "answers.h"
#include "coalesce.h"
#include "egress.h"
#include "send.h"
#include "stats.h"
#include "table.h"
#include "udp_socket.h"

namespace loden::core {

// Writes to the device what the coalescer gives.
class TunWriter final : public SuperPacketSink {
 public:
  explicit TunWriter(WorkerCounters& counters) : counters_(counters) {}
  void Use(int tun) { tun_ = tun; }
  void Take(const SuperPacket& packet) override;

 private:
  WorkerCounters& counters_;
  int tun_ = -1;
};

// One thread.
class Ingress {
 public:
  // `peers`: kMaxSlots of them. Answers to what came from a peer go back through `sender`.
  Ingress(WorkerCounters& counters, PeerCounters* peers, Sender& sender, Answers& answers);

  void Use(int tun, bool uso);
  // Receives a batch from the socket; lets through what may pass.
  Progress Run(const Table& table, int socket);

 private:
  static constexpr uint32_t kMessages = 8;

  struct From {
    Address outer;
    const Peer* peer = nullptr;  // whose packets were seen last
    uint32_t packets = 0;
    uint64_t bytes = 0;
  };

  void Take(const Table& table, From& from, uint8_t* packet, uint32_t length);
  void Answer(const Table& table, const Peer& peer, Drop reason, IcmpError error, const uint8_t* packet,
              const Inner& inner);
  void Account(From& from);

  WorkerCounters& counters_;
  PeerCounters* peers_;
  Sender& sender_;
  Answers& answers_;
  TunWriter writer_;
  std::unique_ptr<Coalescer> coalescer_;
  std::unique_ptr<uint8_t[]> buffer_;

  mmsghdr messages_[kMessages];
  iovec parts_[kMessages];
  SocketAddress names_[kMessages];
  alignas(cmsghdr) uint8_t controls_[kMessages][CMSG_SPACE(sizeof(int))];
};

}  // namespace loden::core
