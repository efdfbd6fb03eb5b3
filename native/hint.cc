#include "hint.h"

#include <linux/if_addr.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>

#include <cstring>

namespace loden {

namespace {

// The first attribute of `wanted` type with a 32-bit value; 0 if there is none.
int32_t FindInt(const uint8_t* data, size_t size, uint16_t wanted) {
  for (size_t at = 0; at + sizeof(rtattr) <= size;) {
    rtattr attribute;
    memcpy(&attribute, data + at, sizeof attribute);
    if (attribute.rta_len < sizeof attribute || attribute.rta_len > size - at) return 0;
    if ((attribute.rta_type & NLA_TYPE_MASK) == wanted && attribute.rta_len == sizeof attribute + sizeof(int32_t)) {
      int32_t value;
      memcpy(&value, data + at + sizeof attribute, sizeof value);
      return value;
    }
    at += RTA_ALIGN(attribute.rta_len);
  }
  return 0;
}

template <typename Header>
bool Read(const uint8_t* data, size_t size, Header* header) {
  if (size < sizeof *header) return false;
  memcpy(header, data, sizeof *header);
  return true;
}

}  // namespace

bool IsNeighbour(const Hint& hint) { return hint.type == RTM_NEWNEIGH || hint.type == RTM_DELNEIGH; }

Hint ReadHint(bool route, uint16_t type, const uint8_t* data, size_t size) {
  Hint hint{type, size > 0 ? data[0] : uint8_t{0}, 0};
  if (!route) return hint;
  switch (type) {
    case RTM_NEWLINK:
    case RTM_DELLINK: {
      ifinfomsg header;
      if (Read(data, size, &header)) hint.ifindex = header.ifi_index;
      break;
    }
    case RTM_NEWADDR:
    case RTM_DELADDR: {
      ifaddrmsg header;
      if (Read(data, size, &header)) hint.ifindex = static_cast<int32_t>(header.ifa_index);
      break;
    }
    case RTM_NEWNEIGH:
    case RTM_DELNEIGH: {
      ndmsg header;
      if (Read(data, size, &header)) hint.ifindex = header.ndm_ifindex;
      break;
    }
    case RTM_NEWROUTE:
    case RTM_DELROUTE: {
      constexpr size_t kHeader = NLMSG_ALIGN(sizeof(rtmsg));
      if (size >= kHeader) hint.ifindex = FindInt(data + kHeader, size - kHeader, RTA_OIF);
      break;
    }
    default:
      break;
  }
  return hint;
}

}  // namespace loden
