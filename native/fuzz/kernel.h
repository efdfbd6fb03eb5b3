// A pretended kernel: what the core gets and gives through system calls on the descriptors below. The linker puts its
// calls in place of the real ones (native/Makefile: WRAPPED), which other descriptors still reach.
#pragma once

#include <deque>
#include <vector>

#include "core/address.h"
#include "input.h"

namespace loden::fuzz {

inline constexpr int kTun = 1 << 20, kSocket4 = kTun + 1, kSocket6 = kTun + 2, kOtherSocket = kTun + 3;
inline constexpr uint16_t kPort = 8285;

class Kernel {
 public:
  struct Message {
    core::Address from;
    Bytes data;
    uint32_t gro;  // UDP_GRO's size of each packet; 0: none is told
  };
  struct Sent {
    core::Address to;
    Bytes packet;
  };

  // `script`: a byte for each call that may fail says how; all succeed when it is used up.
  explicit Kernel(Bytes script);
  ~Kernel();
  Kernel(const Kernel&) = delete;
  Kernel& operator=(const Kernel&) = delete;

  std::deque<Bytes> to_read;        // from the device, with its header
  std::deque<Message> to_receive;   // from the underlay
  std::vector<Bytes> written;       // to the device, whether it took it or not
  std::vector<Sent> sent;           // packets on the underlay, trains cut
  int64_t waited = 0;               // in vain, ms

  // What the script says next.
  uint8_t Next();

 private:
  Bytes script_;
  size_t at_ = 0;
};

}  // namespace loden::fuzz
