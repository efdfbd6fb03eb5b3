#include "probe_packet.h"

#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>

#include <cstring>

#include "checksum.h"

namespace loden::core {
namespace {

constexpr uint8_t kProtocolIcmp = 1, kProtocolUdp = 17, kProtocolIcmp6 = 58;
constexpr uint8_t kHops = 64;

void PutMark(uint8_t* out, const ProbeMark& mark) {
  Store32(out, mark.magic);
  Store32(out + 4, mark.token);
  Store32(out + 8, static_cast<uint32_t>(mark.nonce >> 32));
  Store32(out + 12, static_cast<uint32_t>(mark.nonce));
}

ProbeMark ReadMark(const uint8_t* data) {
  return {Load32(data), Load32(data + 4), uint64_t{Load32(data + 8)} << 32 | Load32(data + 12)};
}

// The headers and the mark of a packet of ours, quoted from `data` on.
bool ReadQuote(uint8_t family, const uint8_t* data, size_t size, ProbeAnswer* out) {
  size_t header = IpHeader(family);
  if (size < header || data[0] >> 4 != family) return false;
  if (family == 4) header = (data[0] & 15u) * 4u;
  if (header < IpHeader(family) || size < header + kProbeHeader + kProbeMark) return false;
  const uint8_t protocol = family == 4 ? data[9] : data[6];
  const uint8_t* inner = data + header;
  out->destination.family = family;
  memcpy(out->destination.bytes, family == 4 ? data + 16 : data + 24, family == 4 ? 4 : 16);
  out->of_udp = protocol == kProtocolUdp;
  if (out->of_udp) {
    out->identifier = Load16(inner);
  } else if (family == 4 ? protocol == kProtocolIcmp && inner[0] == ICMP_ECHO
                         : protocol == kProtocolIcmp6 && inner[0] == ICMP6_ECHO_REQUEST) {
    out->identifier = Load16(inner + 4);
  } else {
    return false;
  }
  out->mark = ReadMark(inner + kProbeHeader);
  return true;
}

// An ICMP message with at least its header.
bool ReadEcho(const uint8_t* data, size_t size, ProbeAnswer* out) {
  if (size < kProbeHeader + kProbeMark) return false;
  out->what = ProbeAnswer::What::kEchoReply;
  out->identifier = Load16(data + 4);
  out->mark = ReadMark(data + kProbeHeader);
  return true;
}

}  // namespace

void PutProbePayload(uint8_t* out, size_t length, const ProbeMark& mark) {
  memset(out, 0, length);
  PutMark(out, mark);
}

void PutEcho(uint8_t* out, size_t length, uint8_t family, uint16_t identifier, const ProbeMark& mark) {
  PutProbePayload(out + kProbeHeader, length - kProbeHeader, mark);
  memset(out, 0, kProbeHeader);
  out[0] = family == 4 ? uint8_t{ICMP_ECHO} : uint8_t{ICMP6_ECHO_REQUEST};
  Store16(out + 4, identifier);
  Store16(out + 6, static_cast<uint16_t>(mark.token));
  if (family == 4) Store16(out + 2, Finish(SumOf(out, length)));
}

void PutDatagram(uint8_t* out, size_t size, const Address& source, const Address& destination, uint16_t source_port,
                 uint16_t destination_port, const ProbeMark& mark) {
  const uint8_t family = destination.family;
  const size_t header = IpHeader(family);
  const auto length = static_cast<uint16_t>(size - header);
  memset(out, 0, header);
  if (family == 4) {
    out[0] = 0x45;
    Store16(out + 2, static_cast<uint16_t>(size));
    Store16(out + 6, 0x4000);  // do not fragment
    out[8] = kHops;
    out[9] = kProtocolUdp;
    memcpy(out + 12, source.bytes, 4);
    memcpy(out + 16, destination.bytes, 4);
    Store16(out + 10, Finish(SumOf(out, header)));
  } else {
    out[0] = 0x60;
    Store16(out + 4, length);
    out[6] = kProtocolUdp;
    out[7] = kHops;
    memcpy(out + 8, source.bytes, 16);
    memcpy(out + 24, destination.bytes, 16);
  }
  uint8_t* udp = out + header;
  Store16(udp, source_port);
  Store16(udp + 2, destination_port);
  Store16(udp + 4, length);
  Store16(udp + 6, 0);
  PutProbePayload(udp + kProbeHeader, length - kProbeHeader, mark);
  const uint16_t sum = Finish(PseudoHeaderSum(out, family, kProtocolUdp, length) + SumOf(udp, length));
  // 0 would say that there is none (RFC 768).
  Store16(udp + 6, sum == 0 ? 0xffff : sum);
}

bool ReadAnswer4(const uint8_t* data, size_t size, ProbeAnswer* out) {
  if (size < 20 || data[0] >> 4 != 4 || data[9] != kProtocolIcmp) return false;
  const size_t header = (data[0] & 15u) * 4u;
  if (header < 20 || size < header + kProbeHeader) return false;
  data += header;
  size -= header;
  // A raw socket gets messages before the kernel has looked at their checksums.
  if (Fold(SumOf(data, size)) != 0xffff) return false;
  out->type = data[0];
  out->code = data[1];
  if (data[0] == ICMP_ECHOREPLY) return ReadEcho(data, size, out);
  if (data[0] != ICMP_UNREACH && data[0] != ICMP_TIMXCEED) return false;
  const bool too_big = data[0] == ICMP_UNREACH && data[1] == ICMP_UNREACH_NEEDFRAG;
  out->what = too_big ? ProbeAnswer::What::kTooBig : ProbeAnswer::What::kUnreachable;
  out->mtu = too_big ? Load16(data + 6) : 0;
  return ReadQuote(4, data + kProbeHeader, size - kProbeHeader, out);
}

bool ReadAnswer6(const uint8_t* data, size_t size, ProbeAnswer* out) {
  if (size < kProbeHeader) return false;
  out->type = data[0];
  out->code = data[1];
  if (data[0] == ICMP6_ECHO_REPLY) return ReadEcho(data, size, out);
  if (data[0] != ICMP6_DST_UNREACH && data[0] != ICMP6_PACKET_TOO_BIG && data[0] != ICMP6_TIME_EXCEEDED) return false;
  const bool too_big = data[0] == ICMP6_PACKET_TOO_BIG;
  out->what = too_big ? ProbeAnswer::What::kTooBig : ProbeAnswer::What::kUnreachable;
  out->mtu = too_big ? Load32(data + 4) : 0;
  return ReadQuote(6, data + kProbeHeader, size - kProbeHeader, out);
}

}  // namespace loden::core
