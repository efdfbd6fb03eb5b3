#include "sys.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/timex.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <climits>
#include <cstddef>
#include <cstring>
#include <string>
#include <vector>

#include "handover_socket.h"
#include "js.h"

namespace loden {

// sd_notify(3): one datagram to the socket in NOTIFY_SOCKET; a leading '@' stands for the abstract namespace.
// Descriptors beside it are for FDSTORE=1.
Napi::Value SdNotify(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!info[0].IsString() || !info[1].IsString()) return ThrowType(env, "socketPath and state must be strings");
  const std::string path = info[0].As<Napi::String>();
  const std::string state = info[1].As<Napi::String>();
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() < 2 || path.size() >= sizeof address.sun_path || (path[0] != '/' && path[0] != '@')) {
    return ThrowType(env, "socketPath must be /path or @name, at most 107 bytes");
  }
  memcpy(address.sun_path, path.data(), path.size());
  if (path[0] == '@') address.sun_path[0] = '\0';
  std::vector<int> fds;
  if (!info[2].IsUndefined() && !DescriptorsArgument(info, 2, "fds", kMaxMessageFds, &fds)) return env.Undefined();
  const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return Throw(env, {errno, "socket"}, "cannot notify the service manager");
  const socklen_t length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size());
  const Failure failure = SendMessage(fd, reinterpret_cast<const sockaddr*>(&address), length,
                                      {reinterpret_cast<const uint8_t*>(state.data()), state.size()}, fds);
  close(fd);
  return Napi::Boolean::New(env, !failure);
}

Napi::Value CloseOnExec(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  std::vector<int> fds;
  if (!DescriptorsArgument(info, 0, "fds", 65536, &fds)) return env.Undefined();
  for (const int fd : fds) {
    const int flags = fcntl(fd, F_GETFD);
    if (flags < 0 || fcntl(fd, F_SETFD, flags | FD_CLOEXEC) < 0) {
      return Throw(env, {errno, "fcntl"}, "descriptor " + std::to_string(fd));
    }
  }
  return env.Undefined();
}

Napi::Value FlockTry(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  int64_t fd;
  if (!IntArgument(info, 0, "fd", 0, INT_MAX, &fd)) return env.Undefined();
  while (flock(static_cast<int>(fd), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) return Napi::Boolean::New(env, false);
    if (errno != EINTR) return Throw(env, {errno, "flock"}, "cannot lock the file");
  }
  return Napi::Boolean::New(env, true);
}

Napi::Value PeerCred(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  int64_t fd;
  if (!IntArgument(info, 0, "fd", 0, INT_MAX, &fd)) return env.Undefined();
  ucred peer{};
  socklen_t length = sizeof peer;
  if (getsockopt(static_cast<int>(fd), SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) {
    return Throw(env, {errno, "getsockopt SO_PEERCRED"}, "cannot tell who is at the other end of the socket");
  }
  Napi::Object result = Napi::Object::New(env);
  result.Set("pid", Napi::Number::New(env, peer.pid));
  result.Set("uid", Napi::Number::New(env, peer.uid));
  result.Set("gid", Napi::Number::New(env, peer.gid));
  return result;
}

Napi::Value BootTimeMs(const Napi::CallbackInfo& info) {
  timespec now{};
  clock_gettime(CLOCK_BOOTTIME, &now);
  return Napi::Number::New(info.Env(), static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) / 1e6);
}

// adjtimex(2) without a mode only reads, which anybody may. TIME_ERROR: nobody keeps the clock right.
Napi::Value ClockSynchronised(const Napi::CallbackInfo& info) {
  timex state{};
  const int clock = adjtimex(&state);
  return clock < 0 ? info.Env().Null() : Napi::Boolean::New(info.Env(), clock != TIME_ERROR);
}

}  // namespace loden
