// What a probe of a path looks like on the wire, and what comes back of it: ICMP (RFC 792), ICMPv6 (RFC 4443), UDP. Pure.
#pragma once

#include <cstddef>
#include <cstdint>

#include "address.h"

namespace loden::core {

enum class ProbeKind : uint8_t {
  kEcho = 0,
  kUdp = 1,     // by an ordinary socket: the checksum is left to the device
  kRawUdp = 2,  // with the checksum computed here
};

// The first bytes of each probe's payload, by which an answer is known as one.
struct ProbeMark {
  uint32_t magic = 0;  // of all probes of one prober: what the kernel's filter looks for
  uint32_t token = 0;
  uint64_t nonce = 0;  // of this probe alone: nobody who has not seen it can answer
};
constexpr size_t kProbeMark = 16;

// Of the header before the payload, ICMP and UDP alike.
constexpr size_t kProbeHeader = 8;
// Of the IP header, without options.
constexpr size_t IpHeader(uint8_t family) { return family == 4 ? 20 : 40; }
// Bytes of the smallest packet that carries a mark.
constexpr size_t LeastProbe(uint8_t family) { return IpHeader(family) + kProbeHeader + kProbeMark; }

// Where a filter finds the magic, counted from where it starts to see (IPv4: after the IP header, whose length varies, and of a quoted
// packet after the quoted IP header too; IPv6: from the ICMPv6 header on).
constexpr unsigned kMagicInEcho = kProbeHeader;
constexpr unsigned kMagicInQuote4 = 8 + kProbeHeader;
constexpr unsigned kMagicInQuote6 = 8 + 40 + kProbeHeader;

// An echo request of `length` bytes from the ICMP header on. The checksum is complete for IPv4; for IPv6 the kernel's.
void PutEcho(uint8_t* out, size_t length, uint8_t family, uint16_t identifier, const ProbeMark& mark);
// `length` bytes of payload.
void PutProbePayload(uint8_t* out, size_t length, const ProbeMark& mark);
// A whole IP packet of `size` bytes that holds a UDP datagram with its checksum, not to be fragmented.
void PutDatagram(uint8_t* out, size_t size, const Address& source, const Address& destination, uint16_t source_port,
                 uint16_t destination_port, const ProbeMark& mark);

struct ProbeAnswer {
  enum class What : uint8_t {
    kEchoReply,
    kUnreachable,  // ICMP: about a packet of ours that it quotes
    kTooBig,
  };
  What what = What::kEchoReply;
  ProbeMark mark;
  uint16_t identifier = 0;  // of an echo, answered or quoted; of a quoted datagram its source port
  bool of_udp = false;      // the quoted packet is a datagram
  Address destination;      // of the quoted packet
  uint8_t type = 0, code = 0;
  uint32_t mtu = 0;
};

// An IPv4 packet with ICMP in it, as a raw socket gets it; an ICMPv6 message without IP header. False: no answer to a probe, or damaged.
// The checksum of IPv6 has been looked at by the kernel.
bool ReadAnswer4(const uint8_t* data, size_t size, ProbeAnswer* out);
bool ReadAnswer6(const uint8_t* data, size_t size, ProbeAnswer* out);

}  // namespace loden::core
