// Sends trains to peers, and knows what each error of a socket means.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <memory>

#include "answers.h"
#include "stats.h"
#include "table.h"
#include "trains.h"
#include "udp_socket.h"

namespace loden::core {

// One direction of a worker: from packets to the underlay. One thread.
class Sender {
 public:
  // `peers`: kMaxSlots of them. `answers` goes to `tun`.
  Sender(WorkerCounters& counters, PeerCounters* peers, Answers& answers);
  Sender(const Sender&) = delete;
  Sender& operator=(const Sender&) = delete;

  // From now on: sockets by family (-1: none), whether the kernel cuts trains on both, the peers' port.
  void Use(int out4, int out6, int tun, bool gso, uint16_t port);
  // False once the device below has refused a train: all leave one by one since.
  bool gso() const { return gso_; }

  // 4 or 6: the family of the outer packet, IPv4 if both ends have it; 0: the peer cannot be reached.
  uint8_t FamilyTo(const Peer& peer) const {
    return peer.endpoint4 && sockets_[0].fd >= 0 ? 4 : peer.endpoint6 && sockets_[1].fd >= 0 ? 6 : 0;
  }
  // Longest inner packet the path to the peer is known to take.
  uint32_t LimitTo(const Peer& peer) const;

  // Sends everything; each packet is sent or counted as dropped. The caller clears.
  void Send(Trains& trains, const Table& table);
  // One packet by itself.
  void SendOne(const Peer& peer, uint8_t* packet, uint32_t length, const Table& table);
  // A packet that is larger than the path takes: an answer (true), or fragments of the outer packet.
  bool TooBig(const Peer& peer, const iovec* parts, uint32_t count, const Table& table);

 private:
  struct Socket {
    int fd = -1;
    Address source;
    int64_t full_until = 0;  // ms: till then nobody waits for room again
  };
  struct Limit {
    Address to;  // the endpoint: a slot may become another peer's, and a peer move
    uint32_t bytes = 0;
    int64_t until = 0;  // ms
  };
  static constexpr uint32_t kLimits = 256;

  static const Address& EndpointOf(const Peer& peer, uint8_t family) {
    return family == 4 ? peer.endpoint4 : peer.endpoint6;
  }
  Socket& SocketOf(uint8_t family) { return sockets_[family == 4 ? 0 : 1]; }
  void SendRun(uint8_t family, uint32_t count, const Table& table);
  bool Refused(int error, const Train& train, uint8_t family, const Table& table);
  void SendEach(const Train& train, uint8_t family, const Table& table);
  void SendPacket(const Peer& peer, iovec* parts, uint32_t count, uint32_t size, uint8_t family, const Table& table);
  int SendMessage(const Peer& peer, const iovec* parts, uint32_t count, uint8_t family);
  bool WaitForRoom(Socket& socket);
  void LearnLimit(const Peer& peer, uint8_t family);
  void Sent(const Peer& peer, uint32_t packets, uint32_t bytes);
  void Dropped(Drop reason, uint32_t packets);

  WorkerCounters& counters_;
  PeerCounters* peers_;
  Answers& answers_;
  Socket sockets_[2];
  int tun_ = -1;
  uint16_t port_ = 0;
  bool gso_ = false;
  bool limited_ = false;  // some path is narrower than the device
  Limit limits_[kLimits];

  mmsghdr messages_[kMaxTrains];
  const Train* trains_[kMaxTrains];
  SocketAddress names_[kMaxTrains];
  alignas(cmsghdr) uint8_t controls_[kMaxTrains][CMSG_SPACE(sizeof(uint16_t))];
  std::unique_ptr<uint8_t[]> whole_;  // a packet put together for an answer
};

}  // namespace loden::core
