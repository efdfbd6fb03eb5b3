#include "trains.h"

namespace loden::core {

Trains::Trains() : parts_(new iovec[kMaxTrains * kPartsEach]), headers_(new uint8_t[kHeaderBytes]) {}

uint8_t* Trains::Headers(uint32_t length) {
  if (length > kHeaderBytes - header_used_) return nullptr;
  uint8_t* room = headers_.get() + header_used_;
  header_used_ += length;
  return room;
}

bool Trains::Append(const Peer* peer, const uint8_t* headers, uint32_t header_length, const uint8_t* payload,
                    uint32_t payload_length) {
  const uint32_t size = header_length + payload_length;
  uint8_t& latest = latest_[peer->slot % kLatest];
  Train* train = latest < count_ ? &trains_[latest] : nullptr;
  if (train == nullptr || train->peer != peer || train->closed || size > train->size ||
      train->bytes + size > kMaxTrainBytes) {
    if (count_ == kMaxTrains) return false;
    latest = static_cast<uint8_t>(count_);
    train = &trains_[count_];
    *train = {peer, parts_.get() + count_ * kPartsEach, 0, 0, 0, size, false};
    ++count_;
  }
  if (header_length != 0) {
    train->parts[train->part_count++] = {const_cast<uint8_t*>(headers), header_length};
  }
  if (payload_length != 0) {
    train->parts[train->part_count++] = {const_cast<uint8_t*>(payload), payload_length};
  }
  train->bytes += size;
  ++train->packets;
  train->closed = size < train->size || train->packets >= max_packets_;
  return true;
}

void Trains::Clear() {
  count_ = 0;
  header_used_ = 0;
}

}  // namespace loden::core
