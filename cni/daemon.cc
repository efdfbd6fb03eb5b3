#include "daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <new>

#include "contract.h"
#include "when.h"

namespace loden::cni {
namespace {

// Seconds since the socket was taken away in which its coming back is worth waiting for, and milliseconds of that wait.
constexpr int64_t kRestart = 10;
constexpr int kRestartWait = 5000;
// Milliseconds to wait for a daemon that was killed: its socket is still there, systemd starts it again after one second.
// Nothing tells when that was, so it is waited for each time, but not for long.
constexpr int kCrashWait = 3000;
// Milliseconds between two tries, and how many of them, where nothing tells when to try: a socket is bound before it is
// listened on, usually at once.
constexpr int kRetry = 10;
constexpr int kRetries = 20;

constexpr std::string_view kStart =
    "start it (systemctl start loden) and look at its log (journalctl -u loden); then it is tried again";
constexpr std::string_view kBusy =
    "see what it is busy with (loden status, journalctl -u loden); then it is tried again";

std::string_view DirectoryOf(std::string_view path) { return path.substr(0, std::max<size_t>(path.rfind('/'), 1)); }

bool StatDirectory(const char* path, struct stat* out) {
  TextOf<PATH_MAX> directory;
  directory.Put(DirectoryOf(path));
  return stat(directory.c_str(), out) == 0;
}

}  // namespace

// A descriptor, or a negative errno.
int Daemon::Connect(const Deadline& deadline) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const size_t length = strlen(socket_);
  if (length >= sizeof address.sun_path) return -ENAMETOOLONG;
  memcpy(address.sun_path, socket_, length);
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  // It waits while too many others wait to be accepted, as long as it may send.
  const int left = std::max(deadline.left(), 1);
  const timeval time{left / 1000, left % 1000 * 1000};
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof time);
  int connected;
  do {
    connected = connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address);
  } while (connected != 0 && errno == EINTR && !deadline.past());
  if (connected == 0 && fcntl(fd, F_SETFL, O_NONBLOCK) == 0) return fd;
  const int error = errno;
  close(fd);
  return -error;
}

// The daemon removes its socket when it ends.
bool Daemon::WasJustThere() const {
  struct stat directory;
  timespec now{};
  if (!StatDirectory(socket_, &directory) || clock_gettime(CLOCK_REALTIME, &now) != 0) return false;
  const int64_t ago = int64_t{now.tv_sec} - directory.st_mtim.tv_sec;
  return ago >= -1 && ago < kRestart;
}

bool Daemon::IsSocket() const {
  struct stat there;
  return stat(socket_, &there) == 0 && S_ISSOCK(there.st_mode);
}

int Daemon::ConnectAfterRestart(const Deadline& wait) {
  TextOf<PATH_MAX> directory;
  directory.Put(DirectoryOf(socket_));
  const int notices = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
  // Without it (too few instances for so many plugins at once) there is nothing to be told by.
  const bool told =
      notices >= 0 && inotify_add_watch(notices, directory.c_str(), IN_CREATE | IN_MOVED_TO | IN_DELETE_SELF) >= 0;
  int fd;
  for (int tries = 0;; ++tries) {
    fd = Connect(wait);
    if (fd >= 0 || (fd != -ENOENT && fd != -ECONNREFUSED) || wait.past()) break;
    const bool bound = fd == -ECONNREFUSED && tries < kRetries;
    const int step = bound ? kRetry : told && fd == -ENOENT ? wait.left() : 25 * kRetry;
    pollfd notice{told ? notices : -1, POLLIN, 0};
    if (poll(&notice, 1, std::min(step, wait.left())) > 0) {
      tries = 0;
      alignas(inotify_event) char events[4096];
      while (read(notices, events, sizeof events) > 0) {
      }
    }
  }
  if (notices >= 0) close(notices);
  return fd;
}

Daemon::Reached Daemon::Ask(std::string_view body, const Deadline& end, bool patient) {
  const Deadline deadline = end.AtMost(kTimeout);
  const int seconds = (deadline.left() + 500) / 1000;
  int fd = Connect(deadline);
  if (fd == -ENOENT && WasJustThere()) {
    fd = ConnectAfterRestart(deadline.AtMost(kRestartWait));
  } else if (fd == -ECONNREFUSED && patient && IsSocket()) {
    fd = ConnectAfterRestart(deadline.AtMost(kCrashWait));
  }
  if (fd == -EAGAIN) fd = Connect(deadline);
  if (fd < 0) {
    Explain(-fd, seconds);
    return Reached::kAbsent;
  }
  const Reached reached = Exchange(fd, body, deadline, seconds);
  close(fd);
  return reached;
}

Daemon::Reached Daemon::Exchange(int fd, std::string_view body, const Deadline& deadline, int seconds) {
  TextOf<512> head;
  PutRequestHead(&head, kResource, body.size());
  std::string_view parts[2] = {head.view(), body};
  answer_.~HttpAnswer();
  new (&answer_) HttpAnswer(place_);
  for (bool sending = true;;) {
    pollfd ready{fd, static_cast<short>(sending ? POLLIN | POLLOUT : POLLIN), 0};
    const int polled = poll(&ready, 1, deadline.left());
    if (polled < 0 && errno != EINTR) break;
    // Also when something is always ready: bytes may come for ever without an answer in them.
    if (polled == 0 || deadline.past()) {
      TextOf<64> what;
      what.Put("has not answered for ").Number(seconds).Put(" s");
      return Because(Reached::kSilent, what.view(), kBusy);
    }
    if (polled < 0) continue;
    if (sending && (ready.revents & POLLOUT) != 0) {
      iovec vectors[2];
      for (int i : {0, 1}) vectors[i] = {const_cast<char*>(parts[i].data()), parts[i].size()};
      msghdr message{};
      message.msg_iov = vectors;
      message.msg_iovlen = 2;
      const ssize_t sent = sendmsg(fd, &message, MSG_NOSIGNAL);
      // Whoever does not take all of it may have answered all the same.
      if (sent < 0 && errno != EAGAIN && errno != EINTR) sending = false;
      for (size_t left = sent > 0 ? static_cast<size_t>(sent) : 0; std::string_view & part : parts) {
        const size_t taken = std::min(left, part.size());
        part.remove_prefix(taken);
        left -= taken;
      }
      if (parts[0].empty() && parts[1].empty()) sending = false;
    }
    if ((ready.revents & (POLLIN | POLLHUP | POLLERR)) == 0) continue;
    const std::span<char> room = answer_.Room();
    const ssize_t got = recv(fd, room.data(), room.size(), 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (got < 0) break;
    switch (got > 0 ? answer_.Take(static_cast<size_t>(got)) : answer_.End()) {
      case HttpAnswer::State::kMore:
        continue;
      case HttpAnswer::State::kDone:
        return Reached::kAnswered;
      case HttpAnswer::State::kBad:
        if (got == 0) break;
        return Because(Reached::kGarbage, answer_.why(), "see who listens there: is it of the plugin's version?");
    }
    break;
  }
  return Because(Reached::kLost, "ended the connection before it had answered", kStart);
}

Daemon::Reached Daemon::Because(Reached reached, std::string_view what, std::string_view advice) {
  why_.Cut(0);
  advice_.Cut(0);
  why_.Put("the loden daemon at ").Put(socket_).Put(reached == Reached::kGarbage ? ": " : " ").Put(what);
  advice_.Put(advice);
  return reached;
}

void Daemon::Explain(int error, int seconds) {
  struct stat there;
  why_.Cut(0);
  advice_.Cut(0);
  advice_.Put(kStart);
  if (error == ENOENT) {
    why_.Put("the loden daemon does not run: there is no socket ").Put(socket_);
    if (StatDirectory(socket_, &there)) {
      why_.Put(" since ");
      PutWhen(&why_, there.st_mtim.tv_sec);
    } else {
      why_.Put(", nor its directory");
    }
    return;
  }
  const bool found = stat(socket_, &there) == 0;
  if (error == ECONNREFUSED && found && S_ISSOCK(there.st_mode)) {
    why_.Put("the loden daemon does not run: nobody listens on ").Put(socket_).Put(", which it made ");
    PutWhen(&why_, there.st_mtim.tv_sec);
    return;
  }
  if (error == EAGAIN) {
    why_.Put("the loden daemon at ").Put(socket_).Put(" has not accepted a connection for ").Number(seconds).Put(" s");
    advice_.Cut(0);
    advice_.Put(kBusy);
    return;
  }
  why_.Put("cannot speak to the loden daemon at ").Put(socket_).Put(": ");
  if (found && !S_ISSOCK(there.st_mode)) {
    why_.Put("that is no socket");
  } else {
    why_.Put(strerrordesc_np(error));
  }
  advice_.Cut(0);
  advice_.Put("compare \"socket\" in the network configuration with the daemon's --run-dir");
}

}  // namespace loden::cni
