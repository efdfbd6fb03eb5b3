#include "sys.h"

#include <errno.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <climits>
#include <cstddef>
#include <cstring>
#include <string>

#include "js.h"

namespace loden {

// sd_notify(3): one datagram to the socket in NOTIFY_SOCKET; a leading '@' stands for the abstract namespace.
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
  const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return Throw(env, {errno, "socket"}, "cannot notify the service manager");
  const socklen_t length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size());
  const ssize_t sent = sendto(fd, state.data(), state.size(), MSG_NOSIGNAL, reinterpret_cast<const sockaddr*>(&address),
                              length);
  close(fd);
  return Napi::Boolean::New(env, sent == static_cast<ssize_t>(state.size()));
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

}  // namespace loden
