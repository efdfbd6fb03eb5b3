// The header that stands before each packet of a TUN device with IFF_VNET_HDR: virtio 1.2, 5.1.6; host byte order.
// linux/virtio_net.h itself is no C++ (a member is called `class`).
#pragma once

#include <cstdint>

namespace loden::core {

struct virtio_net_hdr {
  uint8_t flags;
  uint8_t gso_type;
  uint16_t hdr_len;      // bytes of headers before the payload
  uint16_t gso_size;     // bytes of payload in each packet
  uint16_t csum_start;   // where the checksum begins, from the packet's start
  uint16_t csum_offset;  // where it is to be put, from csum_start
};
static_assert(sizeof(virtio_net_hdr) == 10);

inline constexpr uint8_t VIRTIO_NET_HDR_F_NEEDS_CSUM = 1;
inline constexpr uint8_t VIRTIO_NET_HDR_F_DATA_VALID = 2;
inline constexpr uint8_t VIRTIO_NET_HDR_GSO_NONE = 0;
inline constexpr uint8_t VIRTIO_NET_HDR_GSO_TCPV4 = 1;
inline constexpr uint8_t VIRTIO_NET_HDR_GSO_UDP = 3;
inline constexpr uint8_t VIRTIO_NET_HDR_GSO_TCPV6 = 4;
inline constexpr uint8_t VIRTIO_NET_HDR_GSO_UDP_L4 = 5;
inline constexpr uint8_t VIRTIO_NET_HDR_GSO_ECN = 0x80;

}  // namespace loden::core
