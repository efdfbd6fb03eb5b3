#include "exchange.h"

#include <errno.h>
#include <linux/netlink.h>
#include <poll.h>

#include <algorithm>
#include <climits>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <semaphore>
#include <utility>
#include <vector>

#include "clock.h"
#include "js.h"
#include "netlink_socket.h"
#include "thread.h"

namespace loden {
namespace {

// What one exchange may bring back: a dump of about 600,000 routes. Beyond it something is wrong.
constexpr size_t kMaxReplyBytes = 64 * 1024 * 1024;
// A chunk is tens of messages; the kernel's own limit is the send buffer.
constexpr size_t kMaxRequestBytes = 1024 * 1024;

class Exchanger;

// What the functions of the JS object and unfinished jobs hold; when the last lets go, the socket closes.
struct Handle {
  explicit Handle(std::shared_ptr<Exchanger> opened) : exchanger(std::move(opened)) {}
  ~Handle();
  const std::shared_ptr<Exchanger> exchanger;
};

// One call of exchange(). Owned by whichever side is working on it; never shared.
struct Job {
  Job(Napi::Promise::Deferred promise, std::shared_ptr<Handle> keep) : deferred(promise), handle(std::move(keep)) {}

  Napi::Promise::Deferred deferred;  // JS thread only
  std::shared_ptr<Handle> handle;    // JS thread only: destroyed where the job is
  std::vector<uint8_t> request;
  uint32_t first_seq = 0;
  uint32_t last_seq = 0;
  int timeout_ms = 0;

  std::vector<uint8_t> reply;
  bool overrun = false;
  Failure failure;
};

void Deliver(Napi::Env env, Napi::Function, Exchanger* exchanger, Job* job);
using Channel = Napi::TypedThreadSafeFunction<Exchanger, Job, Deliver>;

// The socket, its thread and the way back to JavaScript. Made and destroyed on the JS thread.
class Exchanger : public std::enable_shared_from_this<Exchanger> {
 public:
  // JS thread. On failure nothing is left running.
  Failure Open(Napi::Env env, int protocol, int netns_fd, int rcvbuf);
  // JS thread.
  void Submit(Napi::Env env, std::unique_ptr<Job> job);
  // JS thread. Every job still unfinished comes back with ECANCELED. Idempotent.
  void Close() { thread_.Stop(); }
  bool closed() const { return thread_.stopping(); }
  uint32_t port() const { return port_; }

  // JS thread: a job came back. The loop is held only while jobs are out.
  void Finished(Napi::Env env) {
    if (--pending_ == 0) channel_.Unref(env);
  }

 private:
  static void EnvClosing(void* self);
  static void ThreadMain(void* self);

  // Helper thread.
  void Loop();
  void Run(Job& job);
  // Keeps what belongs to the job; true when the last answer is in.
  bool Take(Job& job);
  // The kernel is not finished with the request, we are: a new socket has no leftovers.
  void Reopen();
  std::unique_ptr<Job> Next();

  // Kept until the channel is finalized, which is when the thread has ended or the environment goes.
  std::shared_ptr<Exchanger> self_;
  Thread thread_;
  Channel channel_;
  size_t pending_ = 0;  // JS thread only

  std::mutex mutex_;
  std::deque<std::unique_ptr<Job>> queue_;  // under mutex_

  // Set before the thread starts, or by it before `opened_`; then only the thread's.
  NetlinkSocket socket_;
  int protocol_ = 0;
  int netns_fd_ = -1;
  int rcvbuf_ = 0;
  Failure open_failure_;
  uint32_t port_ = 0;
  std::binary_semaphore opened_{0};
};

Failure Exchanger::Open(Napi::Env env, int protocol, int netns_fd, int rcvbuf) {
  protocol_ = protocol;
  netns_fd_ = netns_fd;
  rcvbuf_ = rcvbuf;
  self_ = shared_from_this();
  channel_ = Channel::New(
      env, "loden netlink", 0, 1, this,
      [](Napi::Env finalizing, void*, Exchanger* self) {
        napi_remove_env_cleanup_hook(finalizing, &Exchanger::EnvClosing, self);
        self->thread_.Join();
        const std::shared_ptr<Exchanger> last = std::move(self->self_);
      },
      static_cast<void*>(nullptr));
  channel_.Unref(env);
  // Added after the channel's own hook, so it runs before it: the thread is gone when the channel goes.
  napi_add_env_cleanup_hook(env, &Exchanger::EnvClosing, this);

  Failure failure = thread_.Start(&Exchanger::ThreadMain, this);
  if (failure) {
    channel_.Release();
    return failure;
  }
  opened_.acquire();  // setns and socket take microseconds
  return open_failure_;
}

void Exchanger::EnvClosing(void* self) {
  auto* exchanger = static_cast<Exchanger*>(self);
  exchanger->thread_.Stop();
  exchanger->thread_.Join();
}

void Exchanger::Submit(Napi::Env env, std::unique_ptr<Job> job) {
  if (pending_++ == 0) channel_.Ref(env);
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back(std::move(job));
  }
  thread_.Wake();
}

void Exchanger::ThreadMain(void* self) {
  auto* exchanger = static_cast<Exchanger*>(self);
  Failure failure = EnterNetns(exchanger->netns_fd_);
  if (!failure) failure = exchanger->socket_.Open(exchanger->protocol_, exchanger->rcvbuf_, 0, {});
  exchanger->open_failure_ = failure;
  exchanger->port_ = exchanger->socket_.port();
  exchanger->opened_.release();
  if (!failure) exchanger->Loop();
  exchanger->socket_.Close();
  exchanger->channel_.Release();
}

std::unique_ptr<Job> Exchanger::Next() {
  const std::lock_guard lock(mutex_);
  if (queue_.empty()) return nullptr;
  std::unique_ptr<Job> job = std::move(queue_.front());
  queue_.pop_front();
  return job;
}

void Exchanger::Loop() {
  while (!thread_.stopping()) {
    if (std::unique_ptr<Job> job = Next()) {
      Run(*job);
      channel_.NonBlockingCall(job.release());
      continue;
    }
    pollfd wake{thread_.wake_fd(), POLLIN, 0};
    poll(&wake, 1, -1);
    thread_.ClearWake();
  }
  // JavaScript has been told that it is closed, so nothing is added behind this.
  while (std::unique_ptr<Job> job = Next()) {
    job->failure = {ECANCELED, "close"};
    channel_.NonBlockingCall(job.release());
  }
}

void Exchanger::Run(Job& job) {
  const int64_t deadline = NowMs() + job.timeout_ms;
  if (socket_.fd() < 0) Reopen();
  job.failure = socket_.Send(job.request);
  job.request = {};
  if (job.failure) return;
  for (;;) {
    switch (socket_.Receive()) {
      case NetlinkSocket::Got::kData:
        if (Take(job)) return;
        if (!job.failure) continue;
        break;
      case NetlinkSocket::Got::kOverrun:
        job.overrun = true;
        continue;
      case NetlinkSocket::Got::kFailed:
        job.failure = socket_.failure();
        break;
      case NetlinkSocket::Got::kNothing: {
        // The kernel answers before send() returns, and goes on with a dump as we read: after a loss nothing more
        // comes, and the last answer may be among the lost.
        if (job.overrun) return;
        const int64_t left = deadline - NowMs();
        if (left <= 0) {
          job.failure = {ETIMEDOUT, "recvmsg"};
          break;
        }
        pollfd ready[2] = {{socket_.fd(), POLLIN, 0}, {thread_.wake_fd(), POLLIN, 0}};
        poll(ready, 2, static_cast<int>(std::min<int64_t>(left, INT_MAX)));
        if (thread_.stopping()) {
          job.failure = {ECANCELED, "close"};
          return;
        }
        // Woken for a queued job, which Loop() will find without being woken.
        if (ready[1].revents != 0) thread_.ClearWake();
        continue;
      }
    }
    Reopen();
    return;
  }
}

bool Exchanger::Take(Job& job) {
  const uint8_t* data = socket_.data();
  const size_t size = socket_.size();
  const uint32_t span = job.last_seq - job.first_seq;  // sequence numbers wrap
  for (size_t at = 0; at + sizeof(nlmsghdr) <= size;) {
    nlmsghdr header;
    memcpy(&header, data + at, sizeof header);
    if (header.nlmsg_len < sizeof header || header.nlmsg_len > size - at) {
      job.failure = {EBADMSG, "recvmsg"};
      return false;
    }
    const size_t next = std::min<size_t>(at + NLMSG_ALIGN(header.nlmsg_len), size);
    if (header.nlmsg_pid == port_ && header.nlmsg_seq - job.first_seq <= span) {
      if (job.reply.size() + (next - at) > kMaxReplyBytes) {
        job.failure = {EMSGSIZE, "recvmsg"};
        return false;
      }
      job.reply.insert(job.reply.end(), data + at, data + next);
      const bool ends = header.nlmsg_type == NLMSG_ERROR || header.nlmsg_type == NLMSG_DONE;
      if (ends && header.nlmsg_seq == job.last_seq) return true;
    }
    at = next;
  }
  return false;
}

void Exchanger::Reopen() {
  // The same port id, so that portId stays true; this thread has never left the namespace.
  if (socket_.Open(protocol_, rcvbuf_, port_, {})) socket_.Close();
}

void Deliver(Napi::Env env, Napi::Function, Exchanger* exchanger, Job* raw) {
  const std::unique_ptr<Job> job(raw);
  if (env == nullptr) return;  // the environment is going away, and with it whoever waited
  exchanger->Finished(env);
  if (job->failure) {
    job->deferred.Reject(MakeError(env, job->failure, "netlink exchange").Value());
    return;
  }
  Napi::Object result = Napi::Object::New(env);
  result.Set("data", Napi::Buffer<uint8_t>::Copy(env, job->reply.data(), job->reply.size()));
  result.Set("overrun", Napi::Boolean::New(env, job->overrun));
  job->deferred.Resolve(result);
}

Handle::~Handle() {
  if (exchanger) exchanger->Close();
}

// The sequence number of the first message; false unless `bytes` is a row of whole messages that ends with last_seq.
bool CheckRequest(const std::vector<uint8_t>& bytes, uint32_t last_seq, uint32_t* first_seq) {
  uint32_t seq = 0;
  size_t at = 0;
  for (; at < bytes.size();) {
    nlmsghdr header;
    if (bytes.size() - at < sizeof header) return false;
    memcpy(&header, bytes.data() + at, sizeof header);
    if (header.nlmsg_len < sizeof header || header.nlmsg_len > bytes.size() - at) return false;
    seq = header.nlmsg_seq;
    if (at == 0) *first_seq = seq;
    at += NLMSG_ALIGN(header.nlmsg_len);
  }
  return at != 0 && seq == last_seq;
}

Napi::Value Exchange(const Napi::CallbackInfo& info, const std::shared_ptr<Handle>& handle) {
  const Napi::Env env = info.Env();
  int64_t last_seq, timeout_ms;
  if (!info[0].IsTypedArray() || info[0].As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) {
    return ThrowType(env, "bytes must be a Uint8Array");
  }
  if (!IntArgument(info, 1, "lastSeq", 0, UINT32_MAX, &last_seq)) return env.Undefined();
  if (!IntArgument(info, 2, "timeoutMs", 0, INT_MAX, &timeout_ms)) return env.Undefined();
  const Napi::Uint8Array bytes = info[0].As<Napi::Uint8Array>();
  if (bytes.ByteLength() > kMaxRequestBytes) return ThrowType(env, "bytes must be at most 1 MiB");

  auto job = std::make_unique<Job>(Napi::Promise::Deferred::New(env), handle);
  const Napi::Value promise = job->deferred.Promise();
  job->request.assign(bytes.Data(), bytes.Data() + bytes.ByteLength());
  job->last_seq = static_cast<uint32_t>(last_seq);
  job->timeout_ms = static_cast<int>(timeout_ms);
  if (!CheckRequest(job->request, job->last_seq, &job->first_seq)) {
    return ThrowType(env, "bytes must be whole netlink messages, the last of them with sequence number lastSeq");
  }
  if (handle->exchanger->closed()) {
    job->deferred.Reject(MakeError(env, {ECANCELED, "close"}, "netlink exchange").Value());
    return promise;
  }
  handle->exchanger->Submit(env, std::move(job));
  return promise;
}

}  // namespace

Napi::Value NetlinkOpen(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  int64_t protocol, netns_fd, rcvbuf;
  if (!IntArgument(info, 0, "protocol", 0, 255, &protocol)) return env.Undefined();
  if (!IntArgument(info, 1, "netnsFd", -1, INT_MAX, &netns_fd)) return env.Undefined();
  if (!IntArgument(info, 2, "rcvbuf", 0, 1 << 30, &rcvbuf)) return env.Undefined();

  auto exchanger = std::make_shared<Exchanger>();
  const Failure failure =
      exchanger->Open(env, static_cast<int>(protocol), static_cast<int>(netns_fd), static_cast<int>(rcvbuf));
  if (failure) return Throw(env, failure, "cannot open a netlink socket");

  auto handle = std::make_shared<Handle>(exchanger);
  Napi::Object socket = Napi::Object::New(env);
  socket.Set("portId", Napi::Number::New(env, exchanger->port()));
  socket.Set("exchange", Napi::Function::New(
                             env, [handle](const Napi::CallbackInfo& call) { return Exchange(call, handle); },
                             "exchange"));
  socket.Set("close", Napi::Function::New(
                          env, [handle](const Napi::CallbackInfo&) { handle->exchanger->Close(); }, "close"));
  return socket;
}

}  // namespace loden
