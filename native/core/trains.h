// Gathers packets for the wire into trains: runs of equal-sized packets to one peer (the last may be shorter) that leave by one
// UDP_SEGMENT message each. udp(7), linux/udp.h.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <memory>

#include "table.h"

namespace loden::core {

// A train is one UDP datagram to the kernel: 65,535 less the headers of IPv4 and UDP. It is cut into at most
// UDP_MAX_SEGMENTS packets, 64 before Linux 6.9.
inline constexpr uint32_t kMaxTrainBytes = 65507;
inline constexpr uint32_t kMaxTrainPackets = 64;

// Trains that are gathered at once.
inline constexpr uint32_t kMaxTrains = 64;

struct Train {
  const Peer* peer;
  iovec* parts;  // in order; each packet is one part, or two (headers and payload)
  uint32_t part_count;
  uint32_t packets;
  uint32_t bytes;
  uint32_t size;  // of each packet but the last, which may be shorter
  bool closed;    // takes no more
};

// Packets are given one by one and stay in place until Clear. Those of one peer leave in the order they came.
class Trains {
 public:
  Trains();
  Trains(const Trains&) = delete;
  Trains& operator=(const Trains&) = delete;

  // 1: no GSO, every packet leaves by itself.
  void set_max_packets(uint32_t n) { max_packets_ = n; }

  // Room for `length` bytes of headers, valid until Clear; nullptr: full.
  uint8_t* Headers(uint32_t length);
  // A packet: its headers (may be 0 bytes) and its payload. False: full.
  // When full: send what is there, Clear, and ask again.
  bool Append(const Peer* peer, const uint8_t* headers, uint32_t header_length, const uint8_t* payload,
              uint32_t payload_length);

  bool empty() const { return count_ == 0; }
  Train* begin() { return trains_; }
  Train* end() { return trains_ + count_; }
  void Clear();

 private:
  static constexpr uint32_t kPartsEach = 2 * kMaxTrainPackets;
  static constexpr uint32_t kHeaderBytes = 256 * 1024;
  static constexpr uint32_t kLatest = 64;

  Train trains_[kMaxTrains];
  uint32_t count_ = 0;
  uint32_t max_packets_ = kMaxTrainPackets;
  uint32_t header_used_ = 0;
  // The newest train of a peer, by the low bits of its slot. One that others push out of here is merely not added to any more.
  uint8_t latest_[kLatest] = {};
  std::unique_ptr<iovec[]> parts_;
  std::unique_ptr<uint8_t[]> headers_;
};

}  // namespace loden::core
