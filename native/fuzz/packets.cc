#include "packets.h"

namespace loden::fuzz {

uint32_t Get(const Bytes& packet, uint32_t at, uint32_t size) {
  uint32_t value = 0;
  for (uint32_t i = 0; i < size; ++i) value = value << 8 | packet.at(at + i);
  return value;
}

void Put(Bytes* packet, uint32_t at, uint32_t size, uint32_t value) {
  for (uint32_t i = size; i-- > 0; value >>= 8) packet->at(at + i) = static_cast<uint8_t>(value);
}

uint16_t SumOfWords(const Bytes& packet, uint32_t from, uint32_t to, uint32_t start) {
  uint64_t sum = start;
  const uint8_t* bytes = packet.data();
  for (; from + 1 < to; from += 2) sum += static_cast<uint32_t>(bytes[from] << 8 | bytes[from + 1]);
  if (from < to) sum += static_cast<uint32_t>(bytes[from] << 8);
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(sum);
}

std::optional<Ports> PortsOf(const Bytes& packet) {
  if (packet.size() < 20) return {};
  Ports out{};
  out.version = packet[0] >> 4;
  if (out.version == 4) {
    if (Get(packet, 6, 2) & 0x3fff) return {};
    out.protocol = packet[9];
    out.upper = (packet[0] & 15) * 4u;
  } else if (out.version == 6 && packet.size() >= 40) {
    out.protocol = packet[6];
    out.upper = 40;
    while (out.protocol == 0 || out.protocol == 43 || out.protocol == 60 || out.protocol == 44) {
      if (out.upper + 8 > packet.size()) return {};
      if (out.protocol == 44 && (Get(packet, out.upper + 2, 2) & 0xfff9)) return {};
      const uint32_t size = out.protocol == 44 ? 8 : packet[out.upper + 1] * 8 + 8;
      out.protocol = packet[out.upper];
      out.upper += size;
    }
  } else {
    return {};
  }
  if (out.protocol != 6 && out.protocol != 17) return {};
  if (out.upper < 20 || out.upper + (out.protocol == 6 ? 20 : 8) > packet.size()) return {};
  out.payload = out.upper + (out.protocol == 6 ? (packet[out.upper + 12] >> 4) * 4 : 8);
  if (out.payload < out.upper + (out.protocol == 6 ? 20 : 8) || out.payload > packet.size()) return {};
  return out;
}

uint16_t PseudoSum(const Bytes& packet, const Ports& ports) {
  const uint32_t length = static_cast<uint32_t>(packet.size()) - ports.upper;
  return ports.version == 4 ? SumOfWords(packet, 12, 20, ports.protocol + length)
                            : SumOfWords(packet, 8, 40, ports.protocol + length);
}

bool IpChecksumHolds(const Bytes& packet) {
  return packet[0] >> 4 != 4 || SumOfWords(packet, 0, (packet[0] & 15) * 4u) == 0xffff;
}

bool UpperChecksumHolds(const Bytes& packet, const Ports& ports) {
  return SumOfWords(packet, ports.upper, static_cast<uint32_t>(packet.size()), PseudoSum(packet, ports)) == 0xffff;
}

void MendIp(Bytes* packet) {
  const uint32_t size = static_cast<uint32_t>(packet->size());
  if (size >= 20 && packet->at(0) >> 4 == 4) {
    Put(packet, 2, 2, size);
    const uint32_t header = (packet->at(0) & 15) * 4u;
    Put(packet, 10, 2, 0);
    if (header <= size) Put(packet, 10, 2, 0xffff ^ SumOfWords(*packet, 0, header));
  } else if (size >= 40 && packet->at(0) >> 4 == 6) {
    Put(packet, 4, 2, size - 40);
  }
}

void MendUpper(Bytes* packet) {
  const auto ports = PortsOf(*packet);
  if (!ports) return;
  const uint32_t size = static_cast<uint32_t>(packet->size());
  if (ports->protocol == 17) Put(packet, ports->upper + 4, 2, size - ports->upper);
  Put(packet, ports->checksum(), 2, 0);
  const uint32_t sum = 0xffffu ^ SumOfWords(*packet, ports->upper, size, PseudoSum(*packet, *ports));
  Put(packet, ports->checksum(), 2, sum == 0 && ports->protocol == 17 ? 0xffff : sum);
}

std::optional<std::vector<Bytes>> Segments(const core::virtio_net_hdr& offload, const Bytes& packet) {
  const auto ports = PortsOf(packet);
  if (!ports || !(offload.flags & core::VIRTIO_NET_HDR_F_NEEDS_CSUM) || offload.gso_size == 0) return {};
  const uint8_t plain = offload.gso_type & static_cast<uint8_t>(~core::VIRTIO_NET_HDR_GSO_ECN);
  const uint8_t wanted = ports->protocol == 17  ? core::VIRTIO_NET_HDR_GSO_UDP_L4
                         : ports->version == 4 ? core::VIRTIO_NET_HDR_GSO_TCPV4
                                               : core::VIRTIO_NET_HDR_GSO_TCPV6;
  if (plain != wanted || offload.csum_start != ports->upper) return {};
  if (offload.csum_start + offload.csum_offset != ports->checksum()) return {};
  const uint32_t size = static_cast<uint32_t>(packet.size());
  std::vector<Bytes> out;
  for (uint32_t at = ports->payload; at < size; at += offload.gso_size) {
    const uint32_t end = at + offload.gso_size < size ? at + offload.gso_size : size;
    const uint32_t index = static_cast<uint32_t>(out.size());
    Bytes one(packet.begin(), packet.begin() + ports->payload);
    one.insert(one.end(), packet.begin() + at, packet.begin() + end);
    if (ports->version == 4) Put(&one, 4, 2, Get(one, 4, 2) + index);
    if (ports->protocol == 6) {
      Put(&one, ports->upper + 4, 4, Get(one, ports->upper + 4, 4) + (at - ports->payload));
      uint8_t& flags = one[ports->upper + 13];
      if (end != size) flags &= static_cast<uint8_t>(~0x09);  // FIN, PSH: RFC 9293
      if (index != 0) flags &= static_cast<uint8_t>(~0x80);   // CWR: RFC 3168 6.1.2
    }
    MendIp(&one);
    MendUpper(&one);
    out.push_back(std::move(one));
  }
  return out;
}

}  // namespace loden::fuzz
