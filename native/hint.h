// What a notification is reduced to. Knows nothing of N-API.
#pragma once

#include <cstddef>
#include <cstdint>

namespace loden {

struct Hint {
  uint16_t type = 0;    // nlmsg_type
  uint8_t family = 0;   // first byte of the message's fixed header
  int32_t ifindex = 0;  // 0: the message names no device

  // A hint is its own hash key.
  uint64_t Key() const {
    return uint64_t{type} << 40 | uint64_t{family} << 32 | static_cast<uint32_t>(ifindex);
  }
  static Hint FromKey(uint64_t key) {
    return {static_cast<uint16_t>(key >> 40), static_cast<uint8_t>(key >> 32),
            static_cast<int32_t>(static_cast<uint32_t>(key))};
  }
};

// Is it about a neighbour, or an FDB entry?
bool IsNeighbour(const Hint& hint);

// Reads type, family and device of the message with header type `type` and payload `data`. `route` tells NETLINK_ROUTE
// messages, whose layouts are known here, from those of other protocols.
Hint ReadHint(bool route, uint16_t type, const uint8_t* data, size_t size);

}  // namespace loden
