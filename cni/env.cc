#include "env.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

#include "contract.h"
#include "json_string.h"

namespace loden::cni {
namespace {

// Those of the specification, and libcni's CNI_NETNS_OVERRIDE.
constexpr const char* kNames[] = {"CNI_COMMAND", "CNI_CONTAINERID", "CNI_NETNS",         "CNI_IFNAME",
                                  "CNI_ARGS",    "CNI_PATH",        "CNI_NETNS_OVERRIDE"};

}  // namespace

std::string_view Variable(const char* name) {
  const char* value = getenv(name);
  return value ? value : "";
}

void PutVariables(Text* out) {
  bool first = true;
  out->Put('{');
  for (const char* name : kNames) {
    const char* value = getenv(name);
    if (value == nullptr) continue;
    if (!first) out->Put(',');
    first = false;
    PutJsonString(out, name);
    out->Put(':');
    PutJsonString(out, value);
  }
  out->Put('}');
}

bool VariablesFit() {
  size_t bytes = 0;
  for (const char* name : kNames) bytes += Variable(name).size();
  return bytes <= kLargestConfig;
}

void PutOwnNetns(Text* out) {
  struct stat own;
  if (stat("/proc/self/ns/net", &own) != 0) return;
  out->Number(static_cast<int64_t>(own.st_dev)).Put(':').Number(static_cast<int64_t>(own.st_ino));
}

Input ReadInput(std::span<char> place, const Deadline& deadline) {
  size_t size = 0;
  const auto input = [&](const char* why) { return Input{{place.data(), size}, why}; };
  for (;;) {
    pollfd ready{STDIN_FILENO, POLLIN, 0};
    const int polled = poll(&ready, 1, deadline.left());
    if (polled < 0 && errno == EINTR) continue;
    if (polled == 0 || deadline.past()) return input("it does not end");
    const ssize_t got = polled < 0 ? -1 : read(STDIN_FILENO, place.data() + size, place.size() - size);
    if (got < 0) {
      if (errno == EINTR || errno == EAGAIN) continue;
      return input(strerrordesc_np(errno));
    }
    if (got == 0) return input(nullptr);
    size += static_cast<size_t>(got);
    if (size == place.size()) return input("it is longer than 1 MiB");
  }
}

}  // namespace loden::cni
