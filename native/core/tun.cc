#include "tun.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>

// Younger than some distributions' headers; the kernel knows them or refuses them.
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

namespace loden::core {
namespace {

constexpr short kFlags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE;

ifreq RequestFor(const std::string& name) {
  ifreq request{};
  strncpy(request.ifr_name, name.c_str(), IFNAMSIZ - 1);
  return request;
}

Failure OpenQueue(const std::string& name, int* queue) {
  const int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return {errno, "open /dev/net/tun"};
  ifreq request = RequestFor(name);
  request.ifr_flags = kFlags;
  if (ioctl(fd, TUNSETIFF, &request) != 0) {
    const Failure failure{errno, "TUNSETIFF"};
    close(fd);
    return failure;
  }
  *queue = fd;
  return {};
}

}  // namespace

Failure TunCreate(const std::string& name) {
  int fd = -1;
  if (const Failure failure = OpenQueue(name, &fd)) return failure;
  Failure failure;
  if (ioctl(fd, TUNSETPERSIST, 1) != 0) failure = {errno, "TUNSETPERSIST"};
  close(fd);
  return failure;
}

Failure TunAttach(const std::string& name, int count, std::vector<int>* queues) {
  // TUNSETIFF would make a device that is not there, and it would vanish with us.
  if (if_nametoindex(name.c_str()) == 0) return {ENODEV, "if_nametoindex"};
  std::vector<int> attached;
  for (int i = 0; i < count; ++i) {
    int fd = -1;
    if (const Failure failure = OpenQueue(name, &fd)) {
      for (const int each : attached) close(each);
      return failure;
    }
    attached.push_back(fd);
  }
  *queues = std::move(attached);
  return {};
}

Failure TunIdentify(int queue, TunIdentity* out) {
  ifreq request{};
  if (ioctl(queue, TUNGETIFF, &request) != 0) return {errno, "TUNGETIFF"};
  request.ifr_name[IFNAMSIZ - 1] = '\0';
  out->name = request.ifr_name;
  out->flags = static_cast<uint16_t>(request.ifr_flags);
  out->ifindex = static_cast<int>(if_nametoindex(request.ifr_name));
  return {};
}

TunOffloads TunNegotiate(int queue) {
  constexpr unsigned kChecksum = TUN_F_CSUM;
  constexpr unsigned kTso = TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
  constexpr unsigned kUso = TUN_F_USO4 | TUN_F_USO6;
  const int header_size = sizeof(virtio_net_hdr);
  if (ioctl(queue, TUNSETVNETHDRSZ, &header_size) != 0) return {};
  if (ioctl(queue, TUNSETOFFLOAD, kChecksum | kTso | kUso) == 0) return {true, true, true};
  if (ioctl(queue, TUNSETOFFLOAD, kChecksum | kTso) == 0) return {true, true, false};
  if (ioctl(queue, TUNSETOFFLOAD, kChecksum) == 0) return {true, false, false};
  (void)ioctl(queue, TUNSETOFFLOAD, 0);
  return {};
}

}  // namespace loden::core
