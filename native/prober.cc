#include "prober.h"

#include <errno.h>
#include <poll.h>

#include <atomic>
#include <climits>
#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <semaphore>
#include <span>
#include <utility>
#include <vector>

#include "channel.h"
#include "clock.h"
#include "js.h"
#include "netlink_socket.h"
#include "prober_pending.h"
#include "prober_sockets.h"
#include "thread.h"

namespace loden {
namespace {

constexpr size_t kMostQueued = 1024;
// Packets sent, and packets read, at a time: answers to all of a long batch would not fit the receive buffer.
constexpr size_t kSendAtOnce = 32;
constexpr int kBurst = 128;
// Milliseconds from the first result on in which more are gathered: their times are the kernel's, so nothing is lost by waiting.
constexpr int kGather = 4;

// token, what, value
using Results = std::vector<double>;

class Prober;
void Deliver(Napi::Env env, Napi::Function on_results, Prober* prober, Results* results);
using Channel = Napi::TypedThreadSafeFunction<Prober, Results, Deliver>;

// The sockets, their thread and the way back to JavaScript. Made and destroyed on the JS thread.
class Prober : public std::enable_shared_from_this<Prober> {
 public:
  // JS thread. On failure nothing is left running.
  Failure Open(Napi::Env env, int netns_fd, Napi::Function on_results);
  // JS thread. False when too many wait already.
  bool Submit(std::span<const Probe> probes);
  // JS thread. Nothing is delivered after it. Idempotent.
  void Close() { thread_.Stop(); }
  bool closed() const { return thread_.stopping(); }
  // JS thread: the results have arrived, the next may be sent.
  void Arrived() {
    in_flight_.store(false, std::memory_order_release);
    thread_.Wake();
  }

 private:
  static void ThreadMain(void* self);

  // Helper thread.
  void Loop();
  // True: there may be more.
  bool Receive(uint8_t family);
  void Tell(const std::optional<ProbeResult>& result);

  Thread thread_;
  Channel channel_;
  std::atomic<bool> in_flight_{false};

  std::mutex mutex_;
  std::vector<Probe> queue_;  // under mutex_

  // Set before the thread starts, then only the thread's.
  int netns_fd_ = -1;
  ProberSockets sockets_;
  PendingProbes pending_;
  Results results_;
  int64_t due_ = 0;  // when to post, if there is anything to
  Failure open_failure_;
  std::binary_semaphore opened_{0};
};

Failure Prober::Open(Napi::Env env, int netns_fd, Napi::Function on_results) {
  netns_fd_ = netns_fd;
  channel_ = OpenChannel<Channel>(env, on_results, "loden prober", shared_from_this(), &thread_);
  if (const Failure failure = thread_.Start(&Prober::ThreadMain, this, "loden-prober")) {
    channel_.Release();
    return failure;
  }
  opened_.acquire();
  return open_failure_;
}

void Prober::ThreadMain(void* self) {
  auto* prober = static_cast<Prober*>(self);
  Failure failure = EnterNetns(prober->netns_fd_);
  if (!failure) failure = prober->sockets_.Open();
  prober->open_failure_ = failure;
  prober->opened_.release();
  if (!failure) prober->Loop();
  prober->sockets_.Close();
  prober->channel_.Release();
}

bool Prober::Submit(std::span<const Probe> probes) {
  {
    const std::lock_guard lock(mutex_);
    if (queue_.size() + probes.size() > kMostQueued) return false;
    queue_.insert(queue_.end(), probes.begin(), probes.end());
  }
  thread_.Wake();
  return true;
}

void Prober::Loop() {
  std::vector<Probe> todo;
  size_t done = 0;
  bool more = false, asked = false;
  while (!thread_.stopping()) {
    const bool may_post = !results_.empty() && !in_flight_.load(std::memory_order_acquire);
    const int64_t left = due_ - NowMs();
    if (may_post && left <= 0) {
      in_flight_.store(true, std::memory_order_release);
      channel_.NonBlockingCall(new Results(std::exchange(results_, {})));
      continue;
    }
    pollfd ready[3] = {{thread_.wake_fd(), POLLIN, 0}, {sockets_.fd(4), POLLIN, 0}, {sockets_.fd(6), POLLIN, 0}};
    poll(ready, 3, more || asked || done < todo.size() ? 0 : may_post ? static_cast<int>(left) : -1);
    if (ready[0].revents != 0) {
      thread_.ClearWake();
      asked = true;
    }
    if (asked && done == todo.size()) {
      asked = false;
      done = 0;
      todo.clear();
      const std::lock_guard lock(mutex_);
      todo.swap(queue_);
    }
    for (size_t i = 0; i < kSendAtOnce && done < todo.size(); i++) Tell(pending_.Send(todo[done++], sockets_));
    more = false;
    if (ready[1].revents != 0) more = Receive(4);
    if (ready[2].revents != 0) more = Receive(6) || more;
  }
}

bool Prober::Receive(uint8_t family) {
  for (int i = 0; i < kBurst; i++) {
    ProberSockets::Received received;
    switch (sockets_.Receive(family, &received)) {
      case ProberSockets::Got::kNothing:
        return false;
      case ProberSockets::Got::kOther:
        continue;
      case ProberSockets::Got::kAnswer:
        Tell(pending_.Judge(received));
    }
  }
  return true;
}

void Prober::Tell(const std::optional<ProbeResult>& result) {
  if (!result) return;
  if (results_.empty()) due_ = NowMs() + kGather;
  results_.push_back(result->token);
  results_.push_back(static_cast<double>(result->what));
  results_.push_back(result->value);
}

void Deliver(Napi::Env env, Napi::Function on_results, Prober* prober, Results* raw) {
  const std::unique_ptr<Results> results(raw);
  if (env == nullptr) return;  // the environment is going away
  prober->Arrived();
  if (prober->closed()) return;
  Napi::Float64Array values = Napi::Float64Array::New(env, results->size());
  memcpy(values.Data(), results->data(), results->size() * sizeof(double));
  on_results.Call({values});
  // An exception in it is an uncaught one, as in any event callback; Node would only warn of it.
  if (env.IsExceptionPending()) napi_fatal_exception(env, env.GetAndClearPendingException().Value());
}

Napi::Value SendProbes(const Napi::CallbackInfo& info, Prober& prober) {
  const Napi::Env env = info.Env();
  if (!info[0].IsTypedArray() || info[0].As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) {
    return ThrowType(env, "probes must be a Uint8Array");
  }
  const Napi::Uint8Array bytes = info[0].As<Napi::Uint8Array>();
  if (bytes.ByteLength() % sizeof(Probe) != 0) return ThrowType(env, "probes must be 28 bytes each");
  std::vector<Probe> probes(bytes.ByteLength() / sizeof(Probe));
  if (!probes.empty()) memcpy(probes.data(), bytes.Data(), bytes.ByteLength());
  for (const Probe& probe : probes) {
    if (!probe.IsOne()) return ThrowType(env, "no such probe: kind, family, size or port is wrong");
  }
  return Napi::Boolean::New(env, !prober.closed() && prober.Submit(probes));
}

}  // namespace

Napi::Value NewProber(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  int64_t netns_fd;
  if (!IntArgument(info, 0, "netnsFd", -1, INT_MAX, &netns_fd)) return env.Undefined();
  if (!info[1].IsFunction()) return ThrowType(env, "onResults must be a function");
  auto prober = std::make_shared<Prober>();
  const Failure failure = prober->Open(env, static_cast<int>(netns_fd), info[1].As<Napi::Function>());
  if (failure) return Throw(env, failure, "cannot open sockets for probes");

  // It runs until close(), whether or not the object is still held.
  Napi::Object object = Napi::Object::New(env);
  object.Set("send", Napi::Function::New(
                         env, [prober](const Napi::CallbackInfo& call) { return SendProbes(call, *prober); }, "send"));
  object.Set("close", Napi::Function::New(
                          env, [prober](const Napi::CallbackInfo&) { prober->Close(); }, "close"));
  return object;
}

}  // namespace loden
