// Why a packet was not forwarded. The order is part of the statistics' layout: append only.
#pragma once

#include <cstdint>

namespace loden::core {

// name in statistics and metrics, meaning
#define LODEN_DROPS(X)                                                                                    \
  X(kNone, "none", "forwarded")                                                                           \
  X(kTruncated, "truncated", "shorter than its headers, or than its total length says")                   \
  X(kOversized, "oversized", "longer than its total length says, or than the device's MTU")               \
  X(kBadVersion, "bad_version", "neither IPv4 nor IPv6")                                                  \
  X(kBadHeader, "bad_header", "a header length below the least or beyond the packet")                     \
  X(kBadFragment, "bad_fragment", "fragment fields that make no sense (RFC 791, 1858, 8200)")             \
  X(kTtl, "ttl_exceeded", "TTL or hop limit used up")                                                     \
  X(kUnknownPeer, "unknown_peer", "outer source address is no peer's endpoint")                           \
  X(kForgedSource, "forged_source", "inner source is not in the subnets of the peer that sent it")        \
  X(kNotOurs, "not_ours", "inner destination is not in our subnets")                                      \
  X(kNoRoute, "no_route", "no peer has the destination")                                                  \
  X(kNoEndpoint, "no_endpoint", "the peer has no endpoint of a family we have a socket for")              \
  X(kBadOffload, "bad_offload", "the device's offload header contradicts the packet")                     \
  X(kTooBig, "too_big", "larger than the path to the peer takes, and not to be fragmented")               \
  X(kTunError, "tun_error", "the TUN device refused it")                                                  \
  X(kSendBuffer, "send_buffer", "no room in the socket's or the device's queue (EAGAIN, ENOBUFS)")        \
  X(kSendDenied, "send_denied", "a firewall on this host refused it (EPERM)")                             \
  X(kSendUnreachable, "send_unreachable", "the underlay has no route to the endpoint")                    \
  X(kSendError, "send_error", "any other error of the socket")

enum class Drop : uint8_t {
#define X(id, name, meaning) id,
  LODEN_DROPS(X)
#undef X
  kCount,
};

inline constexpr int kDropCount = static_cast<int>(Drop::kCount);

constexpr const char* DropName(Drop drop) {
  constexpr const char* kNames[] = {
#define X(id, name, meaning) name,
      LODEN_DROPS(X)
#undef X
  };
  return drop < Drop::kCount ? kNames[static_cast<int>(drop)] : "?";
}

}  // namespace loden::core
