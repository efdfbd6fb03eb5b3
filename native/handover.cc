#include "handover.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "handover_socket.h"
#include "js.h"
#include "thread.h"

namespace loden {
namespace {

class Socket;
void Deliver(Napi::Env env, Napi::Function on_ready, Socket* socket, void*);
using Channel = Napi::TypedThreadSafeFunction<Socket, void, Deliver>;

// A socket and the thread that tells when it can be read. All calls on it are made by the JS thread and never wait.
// Made and destroyed on the JS thread.
class Socket : public std::enable_shared_from_this<Socket> {
 public:
  // JS thread. Takes the descriptor, also on failure. `hold`: the event loop goes on while it is open.
  Failure Open(Napi::Env env, int fd, bool hold, Napi::Function on_ready);
  // JS thread. The other end sees it at once; nothing is delivered after it. Idempotent.
  void Close() {
    if (closed_) return;
    closed_ = true;
    shutdown(fd_, SHUT_RDWR);
    thread_->Stop();
  }
  bool closed() const { return closed_; }
  int fd() const { return fd_; }
  // JS thread: nothing more will come, so nothing is waited for.
  void End() { ended_ = true; }
  // JS thread: what was ready has been read, tell of more.
  void Rearm() {
    if (ended_) return;
    told_.store(false, std::memory_order_release);
    thread_->Wake();
  }

 private:
  static void EnvClosing(void* self);
  static void ThreadMain(void* self);
  void Loop();

  std::shared_ptr<Socket> self_;  // kept until the channel is finalized
  // Gone with the channel: what JavaScript still holds of a closed socket keeps no descriptor.
  std::unique_ptr<Thread> thread_ = std::make_unique<Thread>();
  Channel channel_;
  int fd_ = -1;
  bool closed_ = false;            // JS thread only
  bool ended_ = false;             // JS thread only
  std::atomic<bool> told_{false};  // JavaScript knows that there is something, and has not looked yet
};

Failure Socket::Open(Napi::Env env, int fd, bool hold, Napi::Function on_ready) {
  fd_ = fd;
  self_ = shared_from_this();
  channel_ = Channel::New(
      env, on_ready, "loden handover", 0, 1, this,
      [](Napi::Env finalizing, void*, Socket* self) {
        napi_remove_env_cleanup_hook(finalizing, &Socket::EnvClosing, self);
        self->closed_ = true;
        self->thread_.reset();
        const std::shared_ptr<Socket> last = std::move(self->self_);
      },
      static_cast<void*>(nullptr));
  if (!hold) channel_.Unref(env);
  // Added after the channel's own hook, so it runs before it: the thread is gone when the channel goes.
  napi_add_env_cleanup_hook(env, &Socket::EnvClosing, this);
  const Failure failure = thread_->Start(&Socket::ThreadMain, this);
  if (failure) {
    close(fd_);
    closed_ = true;
    channel_.Release();
  }
  return failure;
}

void Socket::EnvClosing(void* self) {
  auto* socket = static_cast<Socket*>(self);
  socket->thread_->Stop();
  socket->thread_->Join();
}

void Socket::ThreadMain(void* self) {
  auto* socket = static_cast<Socket*>(self);
  pthread_setname_np(pthread_self(), "loden-handover");
  socket->Loop();
  // JavaScript makes no call on it any more: it has been told to stop before.
  close(socket->fd_);
  socket->channel_.Release();
}

void Socket::Loop() {
  while (!thread_->stopping()) {
    const bool told = told_.load(std::memory_order_acquire);
    pollfd ready[2] = {{thread_->wake_fd(), POLLIN, 0}, {told ? -1 : fd_, POLLIN, 0}};
    poll(ready, 2, -1);
    if (ready[0].revents != 0) thread_->ClearWake();
    if (ready[1].revents != 0) {
      told_.store(true, std::memory_order_release);
      channel_.NonBlockingCall();
    }
  }
}

void Deliver(Napi::Env env, Napi::Function on_ready, Socket* socket, void*) {
  if (env == nullptr || socket->closed()) return;
  on_ready.Call({});
  // An exception in it is an uncaught one, as in any event callback; Node would only warn of it.
  if (env.IsExceptionPending()) napi_fatal_exception(env, env.GetAndClearPendingException().Value());
  if (!socket->closed()) socket->Rearm();
}

Napi::Value Send(const Napi::CallbackInfo& info, Socket& socket) {
  const Napi::Env env = info.Env();
  if (!info[0].IsTypedArray() || info[0].As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) {
    return ThrowType(env, "bytes must be a Uint8Array");
  }
  std::vector<int> fds;
  if (!DescriptorsArgument(info, 1, "fds", kMaxMessageFds, &fds)) return env.Undefined();
  const Napi::Uint8Array bytes = info[0].As<Napi::Uint8Array>();
  if (bytes.ByteLength() == 0 || bytes.ByteLength() > kMaxMessageBytes) {
    return ThrowType(env, "bytes must be 1 to 65536 bytes");
  }
  const std::span<const uint8_t> data(bytes.Data(), bytes.ByteLength());
  const Failure failure =
      socket.closed() ? Failure{EPIPE, "sendmsg"} : SendMessage(socket.fd(), nullptr, 0, data, fds);
  if (failure.error == EAGAIN) return Napi::Boolean::New(env, false);
  if (failure) return Throw(env, failure, "cannot send to the other daemon");
  return Napi::Boolean::New(env, true);
}

Napi::Value Receive(const Napi::CallbackInfo& info, Socket& socket) {
  const Napi::Env env = info.Env();
  if (socket.closed()) return env.Undefined();
  Message message;
  Failure failure;
  switch (ReceiveMessage(socket.fd(), &message, &failure)) {
    case Received::kNothing:
      return env.Undefined();
    case Received::kEnd:
      socket.End();
      return Napi::String::New(env, "end");
    case Received::kRefused:
      return Napi::String::New(env, "refused");
    case Received::kFailed:
      socket.End();
      return Throw(env, failure, "cannot receive from the other daemon");
    case Received::kMessage:
      break;
  }
  Napi::Object result = Napi::Object::New(env);
  result.Set("bytes", Napi::Buffer<uint8_t>::Copy(env, message.bytes.data(), message.bytes.size()));
  Napi::Array fds = Napi::Array::New(env, message.fds.size());
  for (uint32_t i = 0; i < message.fds.size(); i++) fds.Set(i, Napi::Number::New(env, message.fds[i]));
  result.Set("fds", fds);
  return result;
}

// A connection's object; takes the descriptor.
Napi::Value NewConnection(Napi::Env env, int fd, Napi::Function on_ready) {
  ucred peer{};
  socklen_t length = sizeof peer;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) {
    const Failure failure{errno, "getsockopt SO_PEERCRED"};
    close(fd);
    return Throw(env, failure, "cannot tell who is at the other end of the socket");
  }
  auto socket = std::make_shared<Socket>();
  if (const Failure failure = socket->Open(env, fd, true, on_ready)) {
    return Throw(env, failure, "cannot watch a connection");
  }
  Napi::Object who = Napi::Object::New(env);
  who.Set("pid", Napi::Number::New(env, peer.pid));
  who.Set("uid", Napi::Number::New(env, peer.uid));
  who.Set("gid", Napi::Number::New(env, peer.gid));
  Napi::Object object = Napi::Object::New(env);
  object.Set("peer", who);
  object.Set("send", Napi::Function::New(
                         env, [socket](const Napi::CallbackInfo& call) { return Send(call, *socket); }, "send"));
  object.Set("receive",
             Napi::Function::New(
                 env, [socket](const Napi::CallbackInfo& call) { return Receive(call, *socket); }, "receive"));
  object.Set("close", Napi::Function::New(
                          env, [socket](const Napi::CallbackInfo&) { socket->Close(); }, "close"));
  return object;
}

Napi::Value Accept(const Napi::CallbackInfo& info, Socket& listener) {
  const Napi::Env env = info.Env();
  if (!info[0].IsFunction()) return ThrowType(env, "onReady must be a function");
  if (listener.closed()) return env.Undefined();
  int fd = -1;
  const Failure failure = AcceptSeq(listener.fd(), &fd);
  // Who connected may have gone already.
  if (failure.error == EAGAIN || failure.error == ECONNABORTED || failure.error == EINTR) return env.Undefined();
  if (failure) return Throw(env, failure, "cannot accept a connection");
  return NewConnection(env, fd, info[0].As<Napi::Function>());
}

// The arguments (path, onReady) of both functions.
bool PathArgument(const Napi::CallbackInfo& info, std::string* path) {
  if (!info[0].IsString() || !info[1].IsFunction()) {
    ThrowType(info.Env(), "path must be a string and onReady a function");
    return false;
  }
  *path = info[0].As<Napi::String>();
  return true;
}

}  // namespace

Napi::Value HandoverListen(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  std::string path;
  if (!PathArgument(info, &path)) return env.Undefined();
  int fd = -1;
  if (const Failure failure = ListenSeq(path, &fd)) return Throw(env, failure, "cannot listen on " + path);
  auto socket = std::make_shared<Socket>();
  if (const Failure failure = socket->Open(env, fd, false, info[1].As<Napi::Function>())) {
    unlink(path.c_str());
    return Throw(env, failure, "cannot listen on " + path);
  }
  Napi::Object object = Napi::Object::New(env);
  object.Set("accept", Napi::Function::New(
                           env, [socket](const Napi::CallbackInfo& call) { return Accept(call, *socket); }, "accept"));
  object.Set("close", Napi::Function::New(
                          env, [socket](const Napi::CallbackInfo&) { socket->Close(); }, "close"));
  return object;
}

Napi::Value HandoverConnect(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  std::string path;
  if (!PathArgument(info, &path)) return env.Undefined();
  int fd = -1;
  if (const Failure failure = ConnectSeq(path, &fd)) return Throw(env, failure, "cannot connect to " + path);
  return NewConnection(env, fd, info[1].As<Napi::Function>());
}

}  // namespace loden
