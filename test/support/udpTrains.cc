// Datagrams as QUIC sends them: many by one call, which the kernel cuts late (UDP_SEGMENT); each has a number and bytes
// that follow from it.
//   udptrains receive ADDRESS PORT         says `listening`, then, after the last one or five seconds of silence, a line of JSON
//   udptrains send ADDRESS PORT TRAINS     trains of 1 to 40 datagrams, of sizes from 9 to 1400 bytes
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <vector>

namespace {

constexpr int kUdpSegment = 103;
constexpr uint32_t kEnd = 0xffffffff;

void Fill(uint32_t number, char* out, size_t size) {
  uint32_t state = number * 2654435761u + 1;
  memcpy(out, &number, 4);
  for (size_t i = 4; i < size; ++i) {
    state ^= state << 13, state ^= state >> 17, state ^= state << 5;
    out[i] = static_cast<char>(state);
  }
}

struct Plan {
  size_t size, count, last;
};
Plan TrainOf(int i) {
  const size_t size = 9 + static_cast<size_t>(i) * 37 % 1392, count = 1 + static_cast<size_t>(i) * 7 % 40;
  return {size, count, i % 3 == 0 ? 4 + size / 2 % (size - 4) : size};
}

// Of each datagram, as far as asked for.
size_t SizeOf(uint32_t number) {
  static std::vector<size_t> sizes;
  for (static int train = 0; sizes.size() <= number && train < 1'000'000; ++train) {
    const Plan plan = TrainOf(train);
    for (size_t k = 0; k < plan.count; ++k) sizes.push_back(k + 1 < plan.count ? plan.size : plan.last);
  }
  return number < sizes.size() ? sizes[number] : 0;
}

int Fail(const char* what) {
  perror(what);
  return 1;
}

int Send(int fd, int trains) {
  uint32_t number = 0;
  std::vector<char> data;
  for (int i = 0; i < trains; ++i) {
    const Plan plan = TrainOf(i);
    data.resize((plan.count - 1) * plan.size + plan.last);
    for (size_t k = 0; k < plan.count; ++k) {
      Fill(number++, data.data() + k * plan.size, k + 1 < plan.count ? plan.size : plan.last);
    }
    iovec part{data.data(), data.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(2)] = {};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = IPPROTO_UDP;
    c->cmsg_type = kUdpSegment;
    c->cmsg_len = CMSG_LEN(2);
    const auto size = static_cast<uint16_t>(plan.size);
    memcpy(CMSG_DATA(c), &size, 2);
    if (sendmsg(fd, &message, 0) < 0) return Fail("sendmsg");
    if (i % 10 == 9) usleep(1000);
  }
  const uint32_t end[2] = {kEnd, number};
  if (send(fd, end, sizeof end, 0) < 0) return Fail("send");
  return 0;
}

int Receive(int fd) {
  const int buffer = 32 << 20;
  setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof buffer);
  puts("listening");
  fflush(stdout);
  std::vector<char> got(65536), right(65536);
  uint32_t next = 0, whole = 0, wrong = 0, late = 0, end = 0;
  for (pollfd one{fd, POLLIN, 0}; end == 0 && poll(&one, 1, next == 0 ? 20'000 : 5000) > 0;) {
    const ssize_t size = recv(fd, got.data(), got.size(), 0);
    uint32_t number;
    if (size < 4) {
      ++wrong;
      continue;
    }
    memcpy(&number, got.data(), 4);
    if (number == kEnd) {
      memcpy(&end, got.data() + 4, 4);
      break;
    }
    const auto length = static_cast<size_t>(size);
    Fill(number, right.data(), length);
    ++(length == SizeOf(number) && memcmp(got.data(), right.data(), length) == 0 ? whole : wrong);
    if (number < next) ++late;
    next = number + 1;
  }
  printf("{\"sent\":%u,\"whole\":%u,\"wrong\":%u,\"late\":%u}\n", end, whole, wrong, late);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) return 64;
  const bool six = strchr(argv[2], ':') != nullptr;
  sockaddr_in6 to{};
  auto* four = reinterpret_cast<sockaddr_in*>(&to);
  const auto port = htons(static_cast<uint16_t>(atoi(argv[3])));
  if (six) {
    to.sin6_family = AF_INET6;
    to.sin6_port = port;
    inet_pton(AF_INET6, argv[2], &to.sin6_addr);
  } else {
    four->sin_family = AF_INET;
    four->sin_port = port;
    inet_pton(AF_INET, argv[2], &four->sin_addr);
  }
  const int fd = socket(six ? AF_INET6 : AF_INET, SOCK_DGRAM, 0);
  const bool receives = std::string(argv[1]) == "receive";
  const auto* name = reinterpret_cast<const sockaddr*>(&to);
  const socklen_t length = six ? sizeof to : sizeof *four;
  if ((receives ? bind : connect)(fd, name, length) != 0) return Fail(argv[1]);
  return receives ? Receive(fd) : Send(fd, argc > 4 ? atoi(argv[4]) : 1);
}
