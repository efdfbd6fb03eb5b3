#include "queue.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "text.h"

namespace loden::cni {
namespace {

// The directory with all above it.
int OpenDirectory(const char* path) {
  constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
  const int fd = open(path, kFlags);
  if (fd >= 0 || errno != ENOENT) return fd;
  TextOf<PATH_MAX> part;
  for (const char* at = path;; ++at) {
    if ((*at == '/' || *at == '\0') && part.size() > 0 && mkdir(part.c_str(), 0700) != 0 && errno != EEXIST) return -1;
    if (*at == '\0') return open(path, kFlags);
    part.Put(*at);
  }
}

int WriteAll(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t put = write(fd, text.data(), text.size());
    if (put < 0 && errno != EINTR) return errno;
    if (put > 0) text.remove_prefix(static_cast<size_t>(put));
  }
  return fchmod(fd, 0600) != 0 || fsync(fd) != 0 ? errno : 0;
}

}  // namespace

int WriteQueued(const char* directory, std::string_view call) {
  const int in = OpenDirectory(directory);
  if (in < 0) return errno;
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  TextOf<64> name;
  // A file whose name begins with a dot is nobody's call yet.
  name.Put('.').Number(int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec).Put('-').Number(getpid()).Put(".json");
  const char* hidden = name.c_str();
  const char* shown = hidden + 1;
  const int fd = openat(in, hidden, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  int error = fd < 0 ? errno : 0;
  if (fd >= 0) {
    error = WriteAll(fd, call);
    if (close(fd) != 0 && error == 0) error = errno;
    if (error == 0 && renameat(in, hidden, in, shown) != 0) error = errno;
    if (error != 0) unlinkat(in, hidden, 0);
  }
  if (error == 0 && fsync(in) != 0) error = errno;
  close(in);
  return error;
}

}  // namespace loden::cni
