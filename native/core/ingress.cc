#include "ingress.h"

#include <errno.h>
#include <sys/uio.h>

#include <cstring>

#include "udp_options.h"

namespace loden::core {
namespace {

// A message is at most a whole UDP datagram, merged or not.
constexpr uint32_t kMessageBytes = 65536;

// Bytes of each packet in a message that the kernel has merged; 0: it is one packet.
uint32_t SizeOfEach(const msghdr& header) {
  for (cmsghdr* control = CMSG_FIRSTHDR(&header); control != nullptr;
       control = CMSG_NXTHDR(const_cast<msghdr*>(&header), control)) {
    if (control->cmsg_level != SOL_UDP || control->cmsg_type != UDP_GRO) continue;
    int size;
    if (control->cmsg_len < CMSG_LEN(sizeof size)) continue;
    memcpy(&size, CMSG_DATA(control), sizeof size);
    return size > 0 ? static_cast<uint32_t>(size) : 0;
  }
  return 0;
}

}  // namespace

void TunWriter::Take(const SuperPacket& packet) {
  for (;;) {
    if (writev(tun_, packet.parts, packet.part_count) >= 0) break;
    if (errno == EINTR) continue;
    counters_.in_drops[static_cast<int>(Drop::kTunError)].Add(packet.packets);
    return;
  }
  counters_.in_supers.Add(1);
  counters_.in_packets.Add(packet.packets);
  counters_.in_bytes.Add(packet.bytes);
}

Ingress::Ingress(WorkerCounters& counters, PeerCounters* peers, Sender& sender, Answers& answers)
    : counters_(counters),
      peers_(peers),
      sender_(sender),
      answers_(answers),
      writer_(counters),
      buffer_(new uint8_t[kMessages * kMessageBytes]) {}

void Ingress::Use(int tun, bool uso) {
  writer_.Use(tun);
  coalescer_ = std::make_unique<Coalescer>(writer_, uso);
}

Progress Ingress::Run(const Table& table, int socket) {
  for (uint32_t i = 0; i < kMessages; ++i) {
    parts_[i] = {buffer_.get() + i * kMessageBytes, kMessageBytes};
    messages_[i].msg_hdr = {};
    msghdr& header = messages_[i].msg_hdr;
    header.msg_name = &names_[i];
    header.msg_namelen = sizeof names_[i];
    header.msg_iov = &parts_[i];
    header.msg_iovlen = 1;
    header.msg_control = controls_[i];
    header.msg_controllen = sizeof controls_[i];
  }
  const int got = recvmmsg(socket, messages_, kMessages, MSG_DONTWAIT, nullptr);
  counters_.in_calls.Add(1);
  // An error that an ICMP message has left on the socket is taken by this very call: there may be more behind it.
  if (got < 0) return errno == EAGAIN ? Progress::kIdle : Progress::kDrained;
  const auto count = static_cast<uint32_t>(got);
  counters_.in_datagrams.Add(count);
  for (uint32_t i = 0; i < count; ++i) {
    From from;
    uint16_t port;
    if (!FromSocketAddress(names_[i], &from.outer, &port)) continue;
    uint8_t* data = buffer_.get() + i * kMessageBytes;
    const uint32_t length = messages_[i].msg_len;
    uint32_t each = SizeOfEach(messages_[i].msg_hdr);
    if (each == 0 || each > length) each = length;
    uint32_t at = 0;
    do {
      const uint32_t size = length - at < each ? length - at : each;
      Take(table, from, data + at, size);
      at += size;
    } while (at < length);
    Account(from);
  }
  coalescer_->Flush();
  return count == kMessages ? Progress::kMore : Progress::kDrained;
}

void Ingress::Take(const Table& table, From& from, uint8_t* packet, uint32_t length) {
  Inner inner;
  Drop bad = ParseInner(packet, length, &inner);
  const Peer* peer = nullptr;
  if (bad == Drop::kNone) {
    peer = table.PeerOf(inner.version, packet + (inner.version == 4 ? 12 : 8));
    if (peer == nullptr || !peer->IsFrom(from.outer)) {
      bad = table.KnowsEndpoint(from.outer) ? Drop::kForgedSource : Drop::kUnknownPeer;
    } else if (!table.IsOwn(inner.version, packet + (inner.version == 4 ? 16 : 24))) {
      bad = Drop::kNotOurs;
    }
  } else if (!table.KnowsEndpoint(from.outer)) {
    bad = Drop::kUnknownPeer;
  }
  if (bad != Drop::kNone) {
    counters_.in_drops[static_cast<int>(bad)].Add(1);
    return;
  }
  // Only whoever may speak to us is answered.
  if (inner.hop_limit <= 1) return Answer(table, *peer, Drop::kTtl, IcmpError::kTimeExceeded, packet, inner);
  if (inner.length > table.mtu()) return Answer(table, *peer, Drop::kOversized, IcmpError::kTooBig, packet, inner);
  if (peer != from.peer) {
    Account(from);
    from.peer = peer;
  }
  ++from.packets;
  from.bytes += inner.length;
  DecrementTtl(packet, inner.version);
  coalescer_->Add(packet, inner);
}

void Ingress::Answer(const Table& table, const Peer& peer, Drop reason, IcmpError error, const uint8_t* packet,
                     const Inner& inner) {
  counters_.in_drops[static_cast<int>(reason)].Add(1);
  const uint32_t length = answers_.Build(error, table, packet, inner, table.mtu());
  if (length != 0) sender_.SendOne(peer, answers_.data(), length, table);
}

void Ingress::Account(From& from) {
  if (from.packets == 0) return;
  PeerCounters& counters = peers_[from.peer->slot];
  counters.in_packets.Add(from.packets);
  counters.in_bytes.Add(from.bytes);
  from.packets = 0;
  from.bytes = 0;
}

}  // namespace loden::core
