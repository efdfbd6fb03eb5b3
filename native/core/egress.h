// From the TUN device to peers.
#pragma once

#include <cstdint>
#include <memory>

#include "answers.h"
#include "cut.h"
#include "send.h"
#include "stats.h"
#include "table.h"
#include "trains.h"

namespace loden::core {

enum class Progress : uint8_t {
  kIdle,     // nothing was there
  kDrained,  // something was, and no more for now
  kMore,     // there may be more
  kLost,     // the descriptor is dead
};

// One thread.
class Egress {
 public:
  Egress(WorkerCounters& counters, Sender& sender, Answers& answers);

  // From now on read this queue.
  void Use(int tun) { tun_ = tun; }
  // Reads a batch, sends it. What has been read has been sent or counted when this returns.
  Progress Run(const Table& table);
  // errno of kLost.
  int error() const { return error_; }

 private:
  void Take(const Table& table, const virtio_net_hdr& offload, uint8_t* packet, uint32_t length);
  void Refuse(const Table& table, Drop reason, IcmpError error, const uint8_t* packet, const Inner& inner);
  void TooBig(const Peer& peer, const Cut& cut, uint8_t* packet, const Inner& inner, const Table& table);
  bool AppendSegment(const Peer* peer, const Cut& cut, uint32_t index);
  void Flush(const Table& table);

  WorkerCounters& counters_;
  Sender& sender_;
  Answers& answers_;
  int tun_ = -1;
  int error_ = 0;
  Trains trains_;
  std::unique_ptr<uint8_t[]> buffer_;
};

}  // namespace loden::core
