// The TUN device: Documentation/networking/tuntap.rst, linux/if_tun.h.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "../failure.h"
#include "virtio.h"

namespace loden::core {

// Longest packet the device gives: IPv4's total length; an IPv6 payload of as many and its header.
inline constexpr uint32_t kMaxTunPacket = 65535 + 40;

// Makes the device `name` in this network namespace, persistent, with many queues and offload headers; one that is there is
// made persistent. EBUSY, EINVAL: a device of that name is of another make.
Failure TunCreate(const std::string& name);

// Attaches `count` queues to a device that is there. Nothing is attached when one of them fails.
Failure TunAttach(const std::string& name, int count, std::vector<int>* queues);

struct TunIdentity {
  std::string name;
  int ifindex = 0;
  uint16_t flags = 0;  // IFF_TUN, IFF_NO_PI, IFF_VNET_HDR, IFF_MULTI_QUEUE, IFF_PERSIST
};

// What a descriptor is a queue of; fails for anything else (ENOTTY, EBADF, EBADFD: its device is gone).
Failure TunIdentify(int queue, TunIdentity* out);

// What the device may hand us as super-packets, and take.
struct TunOffloads {
  bool checksum = false;
  bool tso = false;
  bool uso = false;
};

// Asks for everything and takes what the kernel grants (USO: since Linux 6.2). Idempotent.
TunOffloads TunNegotiate(int queue);

}  // namespace loden::core
