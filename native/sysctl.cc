#include "sysctl.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include <string_view>

namespace loden {
namespace {

// Nothing that could lead out of /proc/sys, which has no symbolic links.
bool IsInside(std::string_view path) {
  if (path.empty() || path.size() > 255 || path.find('\0') != path.npos) return false;
  for (;;) {
    const size_t slash = path.find('/');
    const std::string_view part = path.substr(0, slash);
    if (part.empty() || part == "." || part == "..") return false;
    if (slash == path.npos) return true;
    path.remove_prefix(slash + 1);
  }
}

Failure Read(int fd, std::string* text) {
  text->resize(Sysctl::kMaxBytes + 1);
  // procfs makes the whole text for one read; a second would be of another moment.
  const ssize_t got = read(fd, text->data(), text->size());
  const int error = got < 0 ? errno : got > static_cast<ssize_t>(Sysctl::kMaxBytes) ? EMSGSIZE : 0;
  text->resize(error == 0 ? static_cast<size_t>(got) : 0);
  text->erase(text->find_last_not_of(" \t\n") + 1);
  return {error, "read"};
}

Failure Write(int fd, const std::string& value) {
  const ssize_t put = write(fd, value.data(), value.size());
  if (put < 0) return {errno, "write"};
  // Numbers are taken one by one: a part of several is no success.
  if (static_cast<size_t>(put) != value.size()) return {EINVAL, "write"};
  return {};
}

}  // namespace

void Sysctl::Run() {
  failure = {};
  if (!IsInside(path) || (value && value->size() > kMaxBytes)) {
    failure = {EINVAL, "open"};
    return;
  }
  const int fd = open(("/proc/sys/" + path).c_str(), (value ? O_WRONLY : O_RDONLY) | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) {
    failure = {errno, "open"};
    return;
  }
  failure = value ? Write(fd, *value) : Read(fd, &text);
  close(fd);
}

}  // namespace loden
