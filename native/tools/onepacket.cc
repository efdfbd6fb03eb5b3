// A forwarder in the design of flannel's: one packet at a time between a TUN and a UDP socket, IPv4 alone, no offloads.
// It is the reference of the benchmarks and the other end in tests of the wire format.
//
//   onepacket --device NAME --local ADDR --address ADDR --routes FILE [--port P] [--mtu BYTES]
//
// Makes the TUN, which goes with the process, and says so; addresses, routes and MTU of it are the caller's. FILE has a
// line `SUBNET/LENGTH ENDPOINT` for each peer and is read again on SIGHUP. --address is the TUN's own: ICMP errors come
// from it.

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace {

// Packets after which there is a look at signals, however busy it is.
constexpr int kUntilPoll = 1024;

volatile sig_atomic_t routes_changed = 0;

// In network byte order.
struct Route {
  uint32_t network, mask;
  sockaddr_in endpoint;
};

[[noreturn]] void Fail(const std::string& what) {
  fprintf(stderr, "onepacket: %s: %s\n", what.c_str(), strerror(errno));
  exit(1);
}

[[noreturn]] void Usage(const std::string& what) {
  fprintf(stderr,
          "onepacket: %s\n"
          "usage: onepacket --device NAME --local ADDR --address ADDR --routes FILE [--port P] [--mtu BYTES]\n",
          what.c_str());
  exit(64);
}

std::vector<Route> ReadRoutes(const std::string& path, uint16_t port) {
  FILE* file = fopen(path.c_str(), "re");
  if (!file) Fail(path);
  std::vector<Route> routes;
  char network[16], endpoint[16];
  unsigned length;
  while (fscanf(file, "%15[0-9.]/%u %15[0-9.]\n", network, &length, endpoint) == 3) {
    Route route{};
    in_addr address{};
    route.endpoint.sin_family = AF_INET;
    route.endpoint.sin_port = htons(port);
    if (length > 32 || inet_pton(AF_INET, network, &address) != 1 ||
        inet_pton(AF_INET, endpoint, &route.endpoint.sin_addr) != 1) {
      break;
    }
    route.mask = length == 0 ? 0 : htonl(~uint32_t{0} << (32 - length));
    route.network = address.s_addr & route.mask;
    routes.push_back(route);
  }
  const bool whole = feof(file) != 0;
  fclose(file);
  if (!whole) Usage(path + ": line " + std::to_string(routes.size() + 1) + " is no route");
  return routes;
}

int OpenTun(const std::string& name) {
  const int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) Fail("/dev/net/tun");
  ifreq request{};
  request.ifr_flags = IFF_TUN | IFF_NO_PI;
  if (name.size() >= sizeof request.ifr_name) Usage("--device is too long");
  memcpy(request.ifr_name, name.data(), name.size());
  if (ioctl(fd, TUNSETIFF, &request) != 0) Fail("cannot make " + name);
  return fd;
}

int OpenSocket(in_addr local, uint16_t port) {
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr = local;
  if (fd < 0 || bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) Fail("cannot open the UDP socket");
  return fd;
}

// The ones' complement sum of whole 16-bit words, as it stands in a packet.
uint16_t Checksum(const void* data, size_t size) {
  uint64_t sum = 0;
  for (size_t i = 0; i + 1 < size; i += 2) {
    uint16_t word;
    memcpy(&word, static_cast<const char*>(data) + i, sizeof word);
    sum += word;
  }
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(~sum);
}

class Forwarder {
 public:
  Forwarder(int tun, int udp, in_addr own, size_t mtu) : tun_(tun), udp_(udp), own_(own), buffer_(mtu) {}

  void SetRoutes(std::vector<Route> routes) { routes_ = std::move(routes); }

  // One packet each way; whether there was one. A socket or device that fails in another way than being empty has none.
  bool FromTun() {
    const ssize_t got = read(tun_, buffer_.data(), buffer_.size());
    if (got < 0 && errno != EAGAIN && errno != EINTR) device_error_ = errno;
    if (!IsPacket(got)) return got >= 0;
    const Route* route = Find(header()->daddr);
    if (!route) {
      Unreachable(static_cast<size_t>(got));
    } else if (Hop()) {
      sendto(udp_, buffer_.data(), static_cast<size_t>(got), 0, reinterpret_cast<const sockaddr*>(&route->endpoint),
             sizeof route->endpoint);
    }
    return true;
  }

  bool FromUdp() {
    const ssize_t got = recv(udp_, buffer_.data(), buffer_.size(), MSG_DONTWAIT | MSG_TRUNC);
    if (!IsPacket(got)) return got >= 0;
    if (Hop() && write(tun_, buffer_.data(), static_cast<size_t>(got)) < 0 && errno != EAGAIN) device_error_ = errno;
    return true;
  }

  // What the device refused a read or write with since the last call; 0: nothing.
  int TakeDeviceError() { return std::exchange(device_error_, 0); }

 private:
  iphdr* header() { return reinterpret_cast<iphdr*>(buffer_.data()); }

  // Whole (a longer datagram is cut off by the buffer), IPv4, its header within it.
  bool IsPacket(ssize_t got) {
    if (got < static_cast<ssize_t>(sizeof(iphdr)) || static_cast<size_t>(got) > buffer_.size()) return false;
    return header()->version == 4 && header()->ihl >= 5 && header()->ihl * 4 <= got;
  }

  // The last one found is looked at first, for packets come in bursts.
  const Route* Find(uint32_t destination) {
    for (size_t i = 0; i < routes_.size(); i++) {
      if ((destination & routes_[i].mask) != routes_[i].network) continue;
      std::swap(routes_[0], routes_[i]);
      return &routes_[0];
    }
    return nullptr;
  }

  // RFC 1624: the checksum goes up as the TTL goes down.
  bool Hop() {
    iphdr* ip = header();
    if (ip->ttl <= 1) return false;
    ip->ttl--;
    const uint32_t sum = uint32_t{ntohs(ip->check)} + 0x100;
    ip->check = htons(static_cast<uint16_t>(sum + (sum >> 16)));
    return true;
  }

  // Net unreachable to whom it came from: never about ICMP, or about a fragment other than the first.
  void Unreachable(size_t size) {
    const iphdr* ip = header();
    if (ip->protocol == IPPROTO_ICMP || (ntohs(ip->frag_off) & 0x1fff) != 0) return;
    struct {
      iphdr ip;
      icmphdr icmp;
      char quote[60 + 8];
    } answer{};
    const size_t quoted = std::min(size_t{ip->ihl} * 4 + 8, size);
    const size_t whole = sizeof answer.ip + sizeof answer.icmp + quoted;
    answer.ip.version = 4;
    answer.ip.ihl = 5;
    answer.ip.tot_len = htons(static_cast<uint16_t>(whole));
    answer.ip.ttl = 8;
    answer.ip.protocol = IPPROTO_ICMP;
    answer.ip.saddr = own_.s_addr;
    answer.ip.daddr = ip->saddr;
    answer.ip.check = Checksum(&answer.ip, sizeof answer.ip);
    answer.icmp.type = ICMP_DEST_UNREACH;
    answer.icmp.code = ICMP_NET_UNREACH;
    memcpy(answer.quote, buffer_.data(), quoted);
    // An odd byte at the end is followed by a zero, of which the sum knows nothing.
    answer.icmp.checksum = Checksum(&answer.icmp, (sizeof answer.icmp + quoted + 1) & ~size_t{1});
    if (write(tun_, &answer, whole) < 0 && errno != EAGAIN) device_error_ = errno;
  }

  int tun_, udp_;
  in_addr own_;
  int device_error_ = 0;
  std::vector<Route> routes_;
  std::vector<char> buffer_;
};

}  // namespace

int main(int argc, char** argv) {
  std::map<std::string, std::string> options{{"--port", "8285"}, {"--mtu", "1472"}};
  for (int i = 1; i < argc; i += 2) {
    const std::string name = argv[i];
    const std::string known = " --device --local --address --routes --port --mtu ";
    if (known.find(" " + name + " ") == std::string::npos || i + 1 >= argc) Usage("what is " + name + "?");
    options[name] = argv[i + 1];
  }
  in_addr local{}, own{};
  const int port = atoi(options["--port"].c_str());
  const int mtu = atoi(options["--mtu"].c_str());
  if (options["--device"].empty() || options["--routes"].empty() || port < 1 || port > 65535 || mtu < 68 || mtu > 65535 ||
      inet_pton(AF_INET, options["--local"].c_str(), &local) != 1 ||
      inet_pton(AF_INET, options["--address"].c_str(), &own) != 1) {
    Usage("an option is missing or makes no sense");
  }
  // Let in only while waiting: then no system call more than a packet needs.
  sigset_t hup, waiting;
  sigemptyset(&hup);
  sigaddset(&hup, SIGHUP);
  sigprocmask(SIG_BLOCK, &hup, &waiting);
  struct sigaction action {};
  action.sa_handler = [](int) { routes_changed = 1; };
  sigaction(SIGHUP, &action, nullptr);

  const int udp = OpenSocket(local, static_cast<uint16_t>(port));
  const int tun = OpenTun(options["--device"]);
  Forwarder forwarder(tun, udp, own, static_cast<size_t>(mtu));
  const auto take_routes = [&] {
    routes_changed = 0;
    std::vector<Route> routes = ReadRoutes(options["--routes"], static_cast<uint16_t>(port));
    fprintf(stderr, "onepacket: %zu routes\n", routes.size());
    forwarder.SetRoutes(std::move(routes));
  };
  take_routes();
  fprintf(stderr, "onepacket: ready\n");
  for (;;) {
    pollfd ready[] = {{tun, POLLIN, 0}, {udp, POLLIN, 0}};
    if (ppoll(ready, 2, nullptr, &waiting) < 0 && errno != EINTR) Fail("ppoll");
    if (routes_changed) take_routes();
    // As long as there is anything to read nobody asks whether there is, but for the signal's sake.
    for (int i = 0, active = 1; i < kUntilPoll && active; i++) {
      active = forwarder.FromTun();
      active += forwarder.FromUdp();
    }
    // A device that is down refuses for as long as it is.
    const int error = forwarder.TakeDeviceError();
    if (error == EBADFD) Fail("the device is gone");
    if (error != 0) usleep(10'000);
  }
}
