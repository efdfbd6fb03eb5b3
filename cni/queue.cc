#include "queue.h"

#include <dirent.h>
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

// The end of a call's name: the same for the same call, and of the digits that a process id may have.
int64_t Digest(std::string_view call) {
  uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
  for (const char c : call) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3;
  return static_cast<int64_t>(hash % 9'000'000'000 + 1'000'000'000);
}

bool IsSame(int in, const char* name, std::string_view call) {
  const int fd = openat(in, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  struct stat file;
  bool same = fd >= 0 && fstat(fd, &file) == 0 && S_ISREG(file.st_mode) && static_cast<size_t>(file.st_size) == call.size();
  while (same && !call.empty()) {
    char bytes[16 * 1024];
    const ssize_t got = read(fd, bytes, sizeof bytes);
    if (got < 0 && errno == EINTR) continue;
    same = got > 0 && call.starts_with({bytes, static_cast<size_t>(got)});
    if (same) call.remove_prefix(static_cast<size_t>(got));
  }
  if (fd >= 0) close(fd);
  return same;
}

struct Found {
  size_t count = 0;
  TextOf<NAME_MAX> same;  // the name of this very call
};

// 0 or an errno.
int Look(int in, std::string_view end, std::string_view call, Found* found) {
  for (;;) {
    alignas(dirent64) char entries[32 * 1024];
    const ssize_t got = getdents64(in, entries, sizeof entries);
    if (got <= 0) return got < 0 ? errno : 0;
    for (ssize_t at = 0; at < got;) {
      const auto* entry = reinterpret_cast<const dirent64*>(entries + at);
      at += entry->d_reclen;
      const std::string_view name = entry->d_name;
      if (!name.ends_with(".json") || name.starts_with('.')) continue;
      ++found->count;
      if (found->same.size() > 0 || !name.ends_with(end) || !IsSame(in, entry->d_name, call)) continue;
      found->same.Put(name);
    }
  }
}

// 0 or an errno.
int WriteNew(int in, const char* hidden, std::string_view call) {
  const int fd = openat(in, hidden, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return errno;
  int error = WriteAll(fd, call);
  if (close(fd) != 0 && error == 0) error = errno;
  if (error == 0 && renameat(in, hidden, in, hidden + 1) != 0) error = errno;
  if (error != 0) unlinkat(in, hidden, 0);
  return error;
}

// Nullptr, or why not.
const char* Write(int in, std::string_view call) {
  struct stat directory;
  if (fstat(in, &directory) != 0) return strerrordesc_np(errno);
  // Whoever may write there could have the daemon do anything.
  if (directory.st_uid != geteuid()) return "it belongs to another user: remove it, or name another by \"delQueue\"";
  if ((directory.st_mode & 022) != 0) return "others may write there: chmod it to 0700";

  TextOf<32> end;
  end.Put('-').Number(Digest(call)).Put(".json");
  Found found;
  int error = Look(in, end.view(), call, &found);
  if (error != 0) return strerrordesc_np(error);
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  TextOf<64> name;
  // A file whose name begins with a dot is nobody's call yet.
  name.Put('.').Number(int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec).Put(end.view());
  const char* hidden = name.c_str();
  // The time of a call that is there already becomes this one's. If a daemon has just taken it, it is written again.
  if (found.same.size() > 0) {
    if (renameat(in, found.same.c_str(), in, hidden + 1) != 0) error = errno;
    if (error == 0 || error != ENOENT) return error == 0 ? nullptr : strerrordesc_np(error);
  }
  static_assert(kMostQueued == 10'000);
  if (found.count >= kMostQueued) return "there are 10000 already: start the daemon, which carries them out";
  error = WriteNew(in, hidden, call);
  if (error == 0 && fsync(in) != 0) error = errno;
  return error == 0 ? nullptr : strerrordesc_np(error);
}

}  // namespace

const char* WriteQueued(const char* directory, std::string_view call) {
  const int in = OpenDirectory(directory);
  if (in < 0) return strerrordesc_np(errno);
  const char* why = Write(in, call);
  close(in);
  return why;
}

}  // namespace loden::cni
