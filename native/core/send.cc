#include "send.h"

#include <errno.h>
#include <poll.h>

#include <cstring>

#include "../clock.h"
#include "udp_options.h"

namespace loden::core {
namespace {

// Headers of the outer packet: IP without options, UDP.
constexpr uint32_t Overhead(uint8_t family) { return family == 4 ? 28 : 48; }
// How long a narrower path is believed in, ms: as long as the kernel does by default would be 10 minutes, but asking is cheap.
constexpr int64_t kLimitMs = 60'000;
// How long a full socket is waited for, ms; and how long not again when that was in vain: meanwhile nothing is received.
constexpr int kRoomMs = 100;
constexpr int64_t kFullMs = 1000;
constexpr uint32_t kWholeBytes = 65536 + 40;

}  // namespace

Sender::Sender(WorkerCounters& counters, PeerCounters* peers, Answers& answers)
    : counters_(counters), peers_(peers), answers_(answers), whole_(new uint8_t[kWholeBytes]) {
  memset(controls_, 0, sizeof controls_);
}

void Sender::Use(int out4, int out6, int tun, bool gso, uint16_t port) {
  sockets_[0] = {out4, {}, 0};
  sockets_[1] = {out6, {}, 0};
  for (const uint8_t family : {uint8_t{4}, uint8_t{6}}) {
    Socket& each = SocketOf(family);
    if (each.fd < 0) continue;
    uint16_t own_port = 0;
    (void)UdpIdentify(each.fd, &each.source, &own_port);
    // A process that was killed within TooBig has left it otherwise.
    UdpDontFragment(each.fd, family, true);
  }
  tun_ = tun;
  gso_ = gso;
  port_ = port;
  limited_ = false;
}

uint32_t Sender::LimitTo(const Peer& peer) const {
  if (!limited_) return UINT32_MAX;
  const Limit& limit = limits_[peer.slot % kLimits];
  return limit.to == EndpointOf(peer, FamilyTo(peer)) && limit.until > NowMs() ? limit.bytes : UINT32_MAX;
}

void Sender::Send(Trains& trains, const Table& table) {
  for (const uint8_t family : {uint8_t{4}, uint8_t{6}}) {
    if (SocketOf(family).fd < 0) continue;
    uint32_t count = 0;
    for (Train& train : trains) {
      if (FamilyTo(*train.peer) != family) continue;
      msghdr& header = messages_[count].msg_hdr;
      header = {};
      header.msg_name = &names_[count];
      header.msg_namelen = ToSocketAddress(EndpointOf(*train.peer, family), port_, &names_[count]);
      header.msg_iov = train.parts;
      header.msg_iovlen = train.part_count;
      if (train.packets > 1) {
        header.msg_control = controls_[count];
        header.msg_controllen = sizeof controls_[count];
        cmsghdr* control = CMSG_FIRSTHDR(&header);
        control->cmsg_level = SOL_UDP;
        control->cmsg_type = UDP_SEGMENT;
        control->cmsg_len = CMSG_LEN(sizeof(uint16_t));
        const uint16_t size = static_cast<uint16_t>(train.size);
        memcpy(CMSG_DATA(control), &size, sizeof size);
      }
      trains_[count++] = &train;
    }
    SendRun(family, count, table);
  }
}

void Sender::SendRun(uint8_t family, uint32_t count, const Table& table) {
  for (uint32_t at = 0; at < count;) {
    // Once trains are refused, those that were made before leave one by one.
    if (!gso_ && trains_[at]->packets > 1) {
      SendEach(*trains_[at++], family, table);
      continue;
    }
    const int sent = sendmmsg(SocketOf(family).fd, messages_ + at, count - at, 0);
    const int error = errno;
    counters_.out_calls.Add(1);
    if (sent <= 0) {
      if (!Refused(error, *trains_[at], family, table)) ++at;
      continue;
    }
    for (const uint32_t end = at + static_cast<uint32_t>(sent); at < end; ++at) {
      counters_.out_trains.Add(1);
      Sent(*trains_[at]->peer, trains_[at]->packets, trains_[at]->bytes);
    }
  }
}

// True: it is worth trying again. False: what could be done for this train has been done.
bool Sender::Refused(int error, const Train& train, uint8_t family, const Table& table) {
  if (error == EINTR) return true;
  if (error == EAGAIN) {
    if (WaitForRoom(SocketOf(family))) return true;
    Dropped(Drop::kSendBuffer, train.packets);
    return false;
  }
  if (train.packets > 1 && error == EIO) gso_ = false;  // udp_send_skb: the device computes no checksums
  // EIO; larger than the path takes (EINVAL before Linux 6.13, for a train); an error that was left by an earlier packet.
  SendEach(train, family, table);
  return false;
}

void Sender::SendEach(const Train& train, uint8_t family, const Table& table) {
  counters_.send_retries.Add(1);
  uint32_t part = 0;
  for (uint32_t left = train.bytes; left > 0;) {
    const uint32_t size = left < train.size ? left : train.size;
    const uint32_t first = part;
    for (uint32_t have = 0; have < size; ++part) have += static_cast<uint32_t>(train.parts[part].iov_len);
    SendPacket(*train.peer, train.parts + first, part - first, size, family, table);
    left -= size;
  }
}

void Sender::SendPacket(const Peer& peer, iovec* parts, uint32_t count, uint32_t size, uint8_t family,
                        const Table& table) {
  if (size > LimitTo(peer)) {
    TooBig(peer, parts, count, table);
    return;
  }
  // The first error may be an earlier packet's (ip(7): errors are passed on by the next call).
  bool again = true;
  for (;;) {
    const int error = SendMessage(peer, parts, count, family);
    switch (error) {
      case 0:
        counters_.out_trains.Add(1);
        return Sent(peer, 1, size);
      case EINTR:
        continue;
      case EAGAIN:
        if (WaitForRoom(SocketOf(family))) continue;
        return Dropped(Drop::kSendBuffer, 1);
      case ENOBUFS:
      case ENOMEM:
        return Dropped(Drop::kSendBuffer, 1);
      case EMSGSIZE:
        LearnLimit(peer, family);
        TooBig(peer, parts, count, table);
        return;
      case EPERM:
        return Dropped(Drop::kSendDenied, 1);
      case ENETUNREACH:
      case ENETDOWN:
      case EADDRNOTAVAIL:
        return Dropped(Drop::kSendUnreachable, 1);
      case ECONNREFUSED:
      case EHOSTUNREACH:
      case EPROTO:
        if (again) {
          again = false;
          continue;
        }
        return Dropped(Drop::kSendUnreachable, 1);
      default:
        return Dropped(Drop::kSendError, 1);
    }
  }
}

void Sender::SendOne(const Peer& peer, uint8_t* packet, uint32_t length, const Table& table) {
  iovec part{packet, length};
  if (const uint8_t family = FamilyTo(peer)) SendPacket(peer, &part, 1, length, family, table);
}

bool Sender::TooBig(const Peer& peer, const iovec* parts, uint32_t count, const Table& table) {
  uint32_t length = 0;
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t room = kWholeBytes - length;
    const uint32_t bytes = parts[i].iov_len < room ? static_cast<uint32_t>(parts[i].iov_len) : room;
    memcpy(whole_.get() + length, parts[i].iov_base, bytes);
    length += bytes;
  }
  Inner inner;
  if (ParseInner(whole_.get(), length, &inner) != Drop::kNone) {
    Dropped(Drop::kTooBig, 1);
    return false;
  }
  const uint32_t limit = LimitTo(peer);
  // The fragment fields' second bit: RFC 791. IPv6 routers do not fragment, but a path narrower than IPv6's least MTU
  // must be made up for below IPv6: RFC 8200, 5.
  const bool whole_only = inner.version == 4 ? (whole_[6] & 0x40) != 0 : limit >= 1280;
  if (whole_only && limit != UINT32_MAX) {
    answers_.ToDevice(tun_, IcmpError::kTooBig, table, whole_.get(), inner, limit);
    Dropped(Drop::kTooBig, 1);
    return true;
  }
  const uint8_t family = FamilyTo(peer);
  const iovec part{whole_.get(), length};
  const int fd = SocketOf(family).fd;
  UdpDontFragment(fd, family, false);
  const int error = SendMessage(peer, &part, 1, family);
  UdpDontFragment(fd, family, true);
  if (error != 0) {
    Dropped(Drop::kTooBig, 1);
    return false;
  }
  counters_.out_trains.Add(1);
  Sent(peer, 1, length);
  return false;
}

int Sender::SendMessage(const Peer& peer, const iovec* parts, uint32_t count, uint8_t family) {
  SocketAddress name;
  msghdr header{};
  header.msg_name = &name;
  header.msg_namelen = ToSocketAddress(EndpointOf(peer, family), port_, &name);
  header.msg_iov = const_cast<iovec*>(parts);
  header.msg_iovlen = count;
  counters_.out_calls.Add(1);
  return sendmsg(SocketOf(family).fd, &header, 0) >= 0 ? 0 : errno;
}

bool Sender::WaitForRoom(Socket& socket) {
  if (NowMs() < socket.full_until) return false;
  pollfd wanted{socket.fd, POLLOUT, 0};
  if (poll(&wanted, 1, kRoomMs) > 0 && (wanted.revents & POLLOUT) != 0) return true;
  socket.full_until = NowMs() + kFullMs;
  return false;
}

void Sender::LearnLimit(const Peer& peer, uint8_t family) {
  const Address& to = EndpointOf(peer, family);
  const uint32_t mtu = UdpPathMtu(SocketOf(family).source, to, port_);
  if (mtu <= Overhead(family)) return;
  limits_[peer.slot % kLimits] = {to, mtu - Overhead(family), NowMs() + kLimitMs};
  limited_ = true;
}

void Sender::Sent(const Peer& peer, uint32_t packets, uint32_t bytes) {
  counters_.out_packets.Add(packets);
  counters_.out_bytes.Add(bytes);
  peers_[peer.slot].out_packets.Add(packets);
  peers_[peer.slot].out_bytes.Add(bytes);
}

void Sender::Dropped(Drop reason, uint32_t packets) { counters_.out_drops[static_cast<int>(reason)].Add(packets); }

}  // namespace loden::core
